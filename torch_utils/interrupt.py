"""Requests to stop: the first signal asks, the second one insists."""

import os
import signal
import time
from types import FrameType, TracebackType
from typing import Any, Self

_STDERR = 2
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
# A scheduler signals every process of a job, and the one that started the others passes the same request on: that is no second one yet.
INSISTS_AFTER_S = 2.0


class StopRequest:
    """Context manager that turns SIGINT, SIGTERM, SIGUSR1 and SIGHUP into a flag that the program looks at between two steps.

    `requested` says whether a signal has come; `exit_code` is what the program should end with when it has saved its work: 130 after
    SIGINT, 143 after SIGTERM, SIGUSR1 (which schedulers send as their warning) or SIGHUP (the terminal has gone; unless nohup asked to
    ignore that), 0 when nothing came. A second signal, at least two seconds later, ends the process at once with the code of that signal. Only for the main
    thread, where Python runs its signal handlers.
    """

    def __init__(self) -> None:
        self.requested = False
        self.exit_code = 0
        self._asked_at = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in heeded():
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        code = 130 if number == signal.SIGINT else 143
        if self.requested:
            if time.monotonic() - self._asked_at >= INSISTS_AFTER_S:
                os._exit(code)
            return
        self.requested, self._asked_at = True, time.monotonic()
        self.exit_code = code
        if os.environ.get('RANK', '0') == '0':
            # Not print, which this very handler may have interrupted in the middle of its buffer.
            name = signal.Signals(number).name
            os.write(_STDERR, f'{name}: stopping after this step, once the state is saved. Once more, in a moment, to stop at once.\n'.encode())


def heeded() -> list[signal.Signals]:
    """The signals that ask to stop; nohup has SIGHUP ignored, and so it stays."""
    return [number for number in _SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
