"""One frozen record of a run: everything a user chose, to and from TOML."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bids_distclip.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

DEFAULT_MODALITIES = ('T1w', 'T2w', 'PDw', 'FLAIR', 'T2starw')


class Settings(BaseModel):
    """What one run was asked to do. Paths are absolute; ``mem_gb`` is in gigabytes (10^9 bytes)."""

    model_config = ConfigDict(frozen=True, extra='forbid')

    bids_dir: Path
    output_dir: Path
    levels: tuple[Literal['participant', 'group'], ...] = ('participant',)

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    modalities: tuple[str, ...] = DEFAULT_MODALITIES
    bids_filter_file: Path | None = None
    bids_database_dir: Path | None = None
    bids_database_wipe: bool = False
    skip_bids_validation: bool = False
    derivatives: dict[str, Path] = Field(default_factory=dict)
    missing_metadata: Literal['warn', 'skip', 'error'] = 'warn'

    engine: str = 'distclip'
    weights: Path | None = None
    planes: Literal[1, 3] | None = None
    batch_size: int | None = Field(default=None, ge=1)
    tissue_brightness: Literal['held', 'rendered'] = 'held'
    bias_correction: Literal['n4', 'none'] = 'n4'
    target_image: Path | None = None
    target_metadata: Path | None = None
    target_protocol: tuple[str, ...] = ()
    synthesize: bool = False
    random_seed: int = Field(default=0, ge=0)

    output_desc: Literal['harmonized', 'preproc'] = 'harmonized'
    on_doubt: Literal['abstain', 'warn'] = 'abstain'
    output_level: Literal['minimal', 'standard', 'full'] = 'standard'
    report_figures: Literal['all', 'none'] = 'all'
    report_viewer: Literal['none', 'niivue'] = 'none'

    work_dir: Path | None = None
    clean_workdir: Literal['never', 'start', 'success'] = 'success'
    nprocs: int | None = Field(default=None, ge=1)
    omp_nthreads: int | None = Field(default=None, ge=1)
    mem_gb: float | None = Field(default=None, gt=0)
    device: str = Field(default='auto', pattern=r'^(auto|cpu|cuda|cuda:\d+)$')
    gpu_jobs: int | None = Field(default=None, ge=1)
    use_plugin: Path | None = None

    site_column: str | None = None
    keep_columns: tuple[str, ...] = ()

    dry_run: bool = False
    reports_only: bool = False
    write_graph: bool = False
    stop_on_first_crash: bool = False
    verbose: int = Field(default=0, ge=0)

    def to_toml(self) -> str:
        """Return the record as TOML; values that are not set are left out."""
        raw = self.model_dump(mode='json', exclude_none=True)
        return tomli_w.dumps(raw)


def read_config(path: Path) -> dict[str, Any]:
    """Return the keys of a ``--config-file`` as they stand in it; raises UsageError if it is not TOML."""
    try:
        return tomllib.loads(Path(path).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            f'The config file cannot be read ({error}).', file=path,
            cure='give a TOML file such as the config.toml a former run wrote into its logs folder.',
        ) from error


def make_settings(config: Mapping[str, Any], **given: Any) -> Settings:
    """Build the record from a config file's keys, over which ``given`` (the command line) wins.

    Raises
    ------
    bids_distclip.errors.UsageError
        If a key is unknown or a value is wrong.
    """
    merged = {**config, **given}
    paths: dict[str, Any] = {name: _absolute(merged[name]) for name in _PATHS if merged.get(name) is not None}
    if isinstance(merged.get('derivatives'), Mapping):
        paths['derivatives'] = {
            name: _absolute(path) if isinstance(path, (str, Path)) else path
            for name, path in merged['derivatives'].items()
        }
    try:
        return Settings(**{**merged, **paths})
    except ValidationError as error:
        first = error.errors()[0]
        name = '.'.join(str(part) for part in first['loc']) or 'settings'
        raise UsageError(
            f'The setting {name} is wrong: {first["msg"]} (given: {first.get("input")!r}).',
            cure='see bids_distclip --help for the options and their values.',
        ) from error


def _absolute(path: str | Path) -> Path:
    return Path(path).expanduser().absolute()


_PATHS = (
    'bids_dir', 'output_dir', 'bids_filter_file', 'bids_database_dir', 'weights', 'target_image',
    'target_metadata', 'work_dir', 'use_plugin',
)
