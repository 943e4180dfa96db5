"""The command line of the BIDS App. Only what a user gives lands in the namespace: defaults live in settings."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bids_distclip import __version__
from bids_distclip.cli.targets import add_engine_options, add_target_options, positive
from bids_distclip.cli.values import MemoryAction, Parser


class ExecSpecAction(argparse.Action):
    """Print the Boutiques descriptor of the app, and stop: how BEP027 asks an app what it accepts."""

    def __init__(self, option_strings, dest, **kwargs) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, **kwargs)

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Print what the parser accepts."""
        from bids_distclip.cli.spec import descriptor

        print(json.dumps(descriptor(), indent=2))
        parser.exit()


def build_parser() -> Parser:
    """Return the parser of ``bids_distclip``."""
    parser = Parser(
        prog='bids_distclip', argument_default=argparse.SUPPRESS, allow_abbrev=False,
        description='Harmonize the anatomical MRI of a BIDS dataset between scanners.',
        epilog='Exit codes: 0 done; 1 an image failed; 16 invalid dataset; 17 unknown level; 18 nothing selected; '
        '64 usage; 65 bad data; 66 no input; 73 cannot write; 74 read or write broke off; 75 try again.',
    )
    parser.add_argument('bids_dir', type=Path, help='the BIDS dataset to read')
    parser.add_argument('output_dir', type=Path, help='the folder of the derivative dataset to write')
    parser.add_argument('analysis_level', nargs='+', metavar='{participant,group}',
                        help='participant harmonizes; group makes tables over what is in output_dir')
    parser.add_argument('--version', action='version', version=f'bids_distclip {__version__}')
    parser.add_argument('--bids-exec-spec', action=ExecSpecAction, help='print the Boutiques descriptor and stop')
    parser.add_argument('-v', '--verbose', action='count', help='say more; twice for everything')
    _add_input_options(parser)
    add_target_options(parser)
    add_engine_options(parser)
    _add_output_options(parser)
    _add_group_options(parser)
    _add_resource_options(parser)
    _add_run_options(parser)
    return parser


def _add_input_options(parser: Parser) -> None:
    group = parser.add_argument_group('input')
    group.add_argument('--participant-label', '--participant_label', '--subject-label', '--subject_label',
                       dest='participants', nargs='+', metavar='LABEL',
                       help='people, with or without sub-, or a text file with one per line')
    group.add_argument('--session-label', '--session_label', '--session-id', '--session_id', dest='sessions',
                       nargs='+', metavar='LABEL', help='sessions, with or without ses-, or a text file')
    group.add_argument('-m', '--modalities', nargs='+', metavar='SUFFIX',
                       help='suffixes to read (default: T1w T2w PDw FLAIR T2starw)')
    group.add_argument('--bids-filter-file', '--bids_filter_file', type=Path, metavar='FILE',
                       help='JSON of pybids filters per suffix')
    group.add_argument('--bids-database-dir', '--bids_database_dir', type=Path, metavar='DIR',
                       help='keep the index of the dataset here')
    group.add_argument('--bids-database-wipe', action='store_true', help='index anew')
    group.add_argument('--skip-bids-validation', '--skip_bids_validation', '--skip-bids-validator',
                       '--skip_bids_validator', action='store_true', help='do not run the BIDS validator')
    group.add_argument('-d', '--derivatives', '--datasets', nargs='+', action='extend', metavar='NAME=PATH',
                       help='derivative datasets to take brain masks from; a path alone is named after its folder')
    group.add_argument('--missing-metadata', choices=('warn', 'skip', 'error'),
                       help='what to do with an image without acquisition metadata (default: warn)')


def _add_output_options(parser: Parser) -> None:
    group = parser.add_argument_group('output')
    group.add_argument('--output-desc', choices=('harmonized', 'preproc'),
                       help='desc- of the outputs (default harmonized); preproc is what other apps look for')
    group.add_argument('--output-level', choices=('minimal', 'standard', 'full'),
                       help='minimal: image and sidecar; standard (default): also masks and tissue; full: also '
                       'uncertainty')
    group.add_argument('--report-figures', choices=('all', 'none'),
                       help='none: pages with numbers and no pictures, which are most of what a small image costs '
                       '(default all)')
    group.add_argument('--report-viewer', choices=('none', 'niivue'),
                       help='niivue: pages show each brain in 3-D as well, which needs the extra [reports] and masks '
                       '(default none)')


def _add_group_options(parser: Parser) -> None:
    group = parser.add_argument_group('group level')
    group.add_argument('--site-column', '--site_column', metavar='COLUMN',
                       help='column of participants.tsv that names the site (default: site or scanner if there, else '
                       'the scanner in the metadata, else the session)')
    group.add_argument('--keep-columns', '--keep_columns', nargs='+', metavar='COLUMN',
                       help='columns of participants.tsv that must still be told after (default: age and '
                       'sex, if they are there)')


def _add_resource_options(parser: Parser) -> None:
    group = parser.add_argument_group('resources')
    group.add_argument('-w', '--work-dir', '--work_dir', type=Path, metavar='DIR',
                       help='folder for what is in between (default: the temporary folder)')
    group.add_argument('--clean-workdir', choices=('never', 'start', 'success'),
                       help='when to empty this app\'s part of the work folder (default: success)')
    group.add_argument('--nprocs', '--n-cpus', '--n_cpus', '--nthreads', '--ncpus', type=positive, metavar='N',
                       help='processor cores to use (default: what this job may use)')
    group.add_argument('--omp-nthreads', '--omp_nthreads', type=positive, metavar='N', help='cores per step')
    group.add_argument('--mem', '--mem-mb', '--mem_mb', '--mem-gb', '--mem_gb', dest='mem_gb', action=MemoryAction,
                       metavar='SIZE', help='memory to use: 16G, 16000M; a bare number is megabytes')
    group.add_argument('--gpu-jobs', '--n-gpu-procs', type=positive, metavar='N',
                       help='harmonize steps at once on cards (default: one per visible card)')
    group.add_argument('--use-plugin', '--nipype-plugin-file', type=Path, metavar='FILE',
                       help='YAML with a nipype plugin and its plugin_args')


def _add_run_options(parser: Parser) -> None:
    group = parser.add_argument_group('run')
    group.add_argument('--config-file', type=Path, metavar='FILE',
                       help='TOML of settings, such as a former run\'s config.toml; the command line wins')
    group.add_argument('--dry-run', action='store_true', help='list what would be done with every file, and stop')
    group.add_argument('--reports-only', action='store_true', help='build the pages anew from what is in output_dir')
    group.add_argument('--write-graph', action='store_true', help='write the graph into the logs folder')
    group.add_argument('--stop-on-first-crash', action='store_true', help='stop as soon as one image fails')
    group.add_argument('--notrack', action='store_true', help='accepted; this app never tracks anybody')
