"""nipype's plugins for schedulers, made to survive a job that is killed and a scheduler that does not answer."""

from __future__ import annotations

import logging
import time
from typing import Any

from nipype.pipeline import plugins
from nipype.pipeline.plugins.base import SGELikeBatchManagerBase

from bids_distclip.errors import TryAgain

log = logging.getLogger('bids_distclip')

#: Seconds for which a scheduler may fail to say whether a job is done, as while its controller starts anew.
PATIENCE = 600.0


class _Surviving:
    """What every plugin of a scheduler gets; stands before it among the bases.

    The stock plugins add a list of lines to the text that tells of a job without a result, which ends the whole graph,
    and they take a question that the scheduler did not answer for a job that failed.
    """

    #: Whether a job was given up of which the scheduler did not say that it has ended.
    lost_sight = False
    _silent_since: float | None = None

    def _report_crash(self, node: Any, result: Any = None) -> str:
        if result is not None and isinstance(result['traceback'], str):
            result = {**result, 'traceback': result['traceback'].splitlines(keepends=True)}
        return super()._report_crash(node, result=result)  # type: ignore[misc]

    def _is_pending(self, taskid: Any) -> bool:
        try:
            pending = super()._is_pending(taskid)  # type: ignore[misc]
        except Exception as error:
            now = time.monotonic()
            if self._silent_since is None:
                self._silent_since = now
                log.warning('The scheduler does not say what becomes of the jobs; it is asked again. (%s)',
                            ' '.join(str(error).split())[-200:])
            if now - self._silent_since < PATIENCE:
                return True
            self.lost_sight = True
            raise TryAgain(f'The scheduler did not say for {PATIENCE:.0f} seconds what became of a job.',
                           cure='start the same command again once it answers; what is done is kept.') from error
        self._silent_since = None
        return pending


def scheduler_plugin(name: str, *, plugin_args: dict[str, Any]) -> Any:
    """Return nipype's plugin of that name; one that hands jobs to a scheduler survives what happens to them.

    Raises
    ------
    AttributeError
        If nipype has no such plugin.
    """
    stock = getattr(plugins, f'{name}Plugin')
    if issubclass(stock, SGELikeBatchManagerBase):
        stock = type(f'Surviving{name}', (_Surviving, stock), {})
    return stock(plugin_args=plugin_args)
