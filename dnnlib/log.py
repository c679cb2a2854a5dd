"""What the terminal shows, kept in log.txt."""

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import TextIO

from dnnlib.errors import describe_os_error


@contextlib.contextmanager
def tee(path: str | os.PathLike) -> Iterator[None]:
    """While the block runs, append everything that Python prints on stdout and stderr to the file `path` as well.

    An exception that leaves the block is logged with its traceback. A progress bar, which overwrites its line, is logged as it last stood.
    When the log can no longer be written (disk full), the program goes on without it and says so once.
    """
    with open(path, 'a', encoding='utf-8', errors='backslashreplace') as file:
        log = _Log(file)
        with contextlib.redirect_stdout(_Tee(sys.stdout, log)), contextlib.redirect_stderr(_Tee(sys.stderr, log)):
            try:
                yield
            except BaseException:
                log.add(traceback.format_exc())
                raise
            finally:
                log.end()


class _Log:
    """The file, written line by line so that a killed program leaves what it had said."""

    def __init__(self, file: TextIO) -> None:
        self._file: TextIO | None = file
        self._line = ''

    def add(self, text: str) -> None:
        *complete, self._line = (self._line + text).split('\n')
        for line in complete:
            self._write(line.rstrip('\r') + '\n')
        # Of a line that a progress bar overwrites, only what follows the last return to its start is worth keeping.
        _, carriage_return, last = self._line.rpartition('\r')
        if carriage_return and last:
            self._line = last

    def end(self) -> None:
        if self._line:
            self._write(self._line + '\n')
            self._line = ''

    def _write(self, line: str) -> None:
        if self._file is None:
            return
        try:
            self._file.write(line.rpartition('\r')[2])
            self._file.flush()
        except OSError as error:
            name = self._file.name
            with contextlib.suppress(OSError):  # it tries once more to write what the disk did not take
                self._file.close()
            self._file = None
            print(f"warning: the log '{name}' is no longer written: {describe_os_error(error)}", file=sys.__stderr__)


class _Tee(io.TextIOBase):
    """A stream that writes to the terminal and to the log."""

    def __init__(self, terminal: TextIO, log: _Log) -> None:
        self._terminal = terminal
        self._log = log

    def write(self, text: str) -> int:
        self._log.add(text)
        self._to_terminal(lambda: self._terminal.write(text))
        return len(text)

    def flush(self) -> None:
        self._to_terminal(self._terminal.flush)

    def _to_terminal(self, write: Callable[[], object]) -> None:
        """A terminal that has gone (a connection that dropped, `| head`) ends nothing: the log goes on."""
        try:
            write()
        except OSError:
            with contextlib.suppress(OSError, ValueError):  # else the interpreter would stumble over what is still buffered
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._terminal.fileno())
                os.close(nowhere)

    def isatty(self) -> bool:
        return self._terminal.isatty()

    def fileno(self) -> int:
        return self._terminal.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:
        return self._terminal.encoding
