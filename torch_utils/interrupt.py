"""Requests to stop: the first signal asks, the second one insists."""

import os
import signal
from types import FrameType, TracebackType
from typing import Any, Self

_STDERR = 2
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Context manager that turns SIGINT, SIGTERM and SIGUSR1 into a flag that the program looks at between two steps.

    `requested` says whether a signal has come; `exit_code` is what the program should end with when it has saved its work: 130 after
    SIGINT, 143 after SIGTERM or SIGUSR1 (which schedulers send as their warning), 0 when nothing came. A second signal ends the process at
    once with the code of that signal. Only for the main thread, where Python runs its signal handlers.
    """

    def __init__(self) -> None:
        self.requested = False
        self.exit_code = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        code = 130 if number == signal.SIGINT else 143
        if self.requested:
            os._exit(code)
        self.requested = True
        self.exit_code = code
        if os.environ.get('RANK', '0') == '0':
            # Not print, which this very handler may have interrupted in the middle of its buffer.
            name = signal.Signals(number).name
            os.write(_STDERR, f'{name}: stopping after this step, once the state is saved. Once more to stop at once.\n'.encode())
