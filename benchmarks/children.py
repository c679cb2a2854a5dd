"""Processes of their own, for what would disturb the measuring one: memory that others freed, and compilers that crash."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from benchmarks.cases.case import Case, NotMeasurable, prepare


def in_child(function: Callable, *arguments: object) -> Any:
    """What `function(*arguments)` returns in a new process; both must be picklable. Raises NotMeasurable when the process does not survive."""
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as executor:  # torch's threads do not survive a fork
        try:
            return executor.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise NotMeasurable('its process crashed or was killed') from error


def problem_with(case: Case, contestant: str, device: torch.device, threads: int) -> str | None:
    """What goes wrong when a contestant runs once; None if nothing does. To be called in a child: it may crash."""
    prepare(threads)
    try:
        for part in case.build(contestant, device):
            part.run()
    except Exception as error:  # noqa: BLE001  whatever a compiler may raise is its answer
        return f'{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else "no message"}'
    return None
