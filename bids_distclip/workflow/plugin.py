"""nipype's MultiProc, made to survive a worker that the system kills, and to finish what it began."""

from __future__ import annotations

import multiprocessing as mp
import os
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from nipype.pipeline.plugins.multiproc import MultiProcPlugin, process_initializer

from bids_distclip.errors import TryAgain

#: Steps by the first word of their name, the last ones of an image first.
_LAST_FIRST = ('report', 'records', 'write', 'harmonize', 'gather', 'targets', 'target', 'prepare')


class SurvivingMultiProc(MultiProcPlugin):
    """MultiProc with a fresh pool after a worker died, which takes up the furthest step that is ready.

    The stock plugin waits forever for the dead worker's result; here the steps in flight fail and the rest runs. And it
    takes steps in the order of the graph: every image of a dataset would be prepared before the first one is written.
    With ``alone`` among its arguments nothing runs beside a step, whatever it takes.
    """

    def _sort_jobs(self, jobids: Iterable[int], scheduler: str | None = 'tsort') -> list[int]:
        if scheduler not in (None, 'tsort'):
            order = super()._sort_jobs(jobids, scheduler=scheduler)
        else:
            ranks = {name: rank for rank, name in enumerate(_LAST_FIRST)}
            order = sorted(jobids, key=lambda job: ranks.get(self.procs[job].name.partition('_')[0], len(ranks)))
        if not self.plugin_args.get('alone'):
            return order
        return [] if self.pending_tasks else order[:1]

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        try:
            return super()._submit_job(node, updatehash=updatehash)
        except BrokenProcessPool:
            self.pool = ProcessPoolExecutor(
                max_workers=self.processors, initializer=process_initializer, initargs=(os.getcwd(),),
                mp_context=mp.get_context(self.plugin_args.get('mp_context')),
            )
            return super()._submit_job(node, updatehash=updatehash)

    def stop(self) -> None:
        """End the workers at once; without this the process would wait for the steps in flight before it ends."""
        for worker in list((self.pool._processes or {}).values()):
            worker.terminate()

    def _async_callback(self, args: Future) -> None:
        if args.exception() is None:
            super()._async_callback(args)

    def _get_result(self, taskid: int) -> Any:
        future = self._task_obj.get(taskid)
        if future is not None and future.done() and future.exception() is not None:
            error = TryAgain(
                f'A worker process ended before its step did ({future.exception()}).',
                cure='most often memory ran out: give more to the job, or use --nprocs 1.',
            )
            # nipype tells a step's failure by lines of text; an exception here would end the whole run.
            return {'result': None, 'traceback': [f'{error}\n'], 'taskid': taskid}
        return super()._get_result(taskid)
