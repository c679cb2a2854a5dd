"""Work that needs no conversation, spread over processes of one thread each."""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from types import TracebackType
from typing import Self, TypeVar

import torch
from tqdm import tqdm

Task = TypeVar('Task')
Found = TypeVar('Found')


class Workers:
    """Context manager: `jobs` processes, started when there is work for more than one. With one job everything happens here.

    Ctrl-C lets the tasks that have begun end, drops the others and goes on upward.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def each(self, work: Callable[[Task], Found], tasks: Sequence[Task], what: str) -> Iterator[tuple[Task, Found | Exception]]:
        """(task, result or the exception that it raised) of every task, as they end. `work` and tasks must be picklable."""
        with tqdm(total=len(tasks), desc=what, disable=not sys.stderr.isatty(), leave=False) as bar:
            for task, found in _here(work, tasks) if min(self.jobs, len(tasks)) <= 1 else self._elsewhere(work, tasks):
                bar.update()
                yield task, found

    def _elsewhere(self, work: Callable[[Task], Found], tasks: Sequence[Task]) -> Iterator[tuple[Task, Found | Exception]]:
        with _one_thread_for_children():
            if self._executor is None:
                # Spawned, not forked: torch's threads do not survive a fork.
                self._executor = ProcessPoolExecutor(self.jobs, multiprocessing.get_context('spawn'), initializer=_begin)
            futures = {self._executor.submit(work, task): task for task in tasks}
            for future in as_completed(futures):
                error = future.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                yield futures[future], future.result() if error is None else error


def prepare_processor() -> None:
    """For this process: denormal numbers, which rays through nearly empty space are full of, count as zero (docs/benchmarks.md)."""
    torch.set_flush_denormal(True)


def _here(work: Callable[[Task], Found], tasks: Sequence[Task]) -> Iterator[tuple[Task, Found | Exception]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for task in tasks:
            try:
                found = work(task)
            except Exception as error:  # noqa: BLE001  handed to the caller, who knows whose it is
                found = error
            yield task, found
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def _one_thread_for_children() -> Iterator[None]:
    """Libraries read OMP_NUM_THREADS when a process starts, and the pool starts one whenever it needs one."""
    before = os.environ.get('OMP_NUM_THREADS')
    os.environ['OMP_NUM_THREADS'] = '1'
    try:
        yield
    finally:
        os.environ.pop('OMP_NUM_THREADS') if before is None else os.environ.update(OMP_NUM_THREADS=before)


def _begin() -> None:
    """The terminal sends Ctrl-C to everybody; the parent decides what becomes of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepare_processor()
    torch.set_num_threads(1)
