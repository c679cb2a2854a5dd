"""The errors that a user can cause or suffer, their exit codes, and the one place where a program turns an error into a message.

Exit codes follow sysexits.h: 64 usage, 65 data, 66 missing input, 70 numerics, 73 run folder, 74 storage, 75 try again later; a program
that was asked to stop ends with 128 + the signal (130, 143). A traceback is for developers: it is shown with `--debug` or
`UNPOSED_DEBUG=1`.
"""

import difflib
import functools
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import click

EXIT_CODE_FILE = 'UNPOSED_EXIT_CODE_FILE'  # names the file in which a process that a launcher started leaves its exit code


class UnposedError(Exception):
    """An error whose message is written for the user: what was asked, what was found, what to do."""

    exit_code = 1


class UsageError(UnposedError):
    """The command line or the configuration asks for something that does not exist or does not fit."""

    exit_code = 64


class DataError(UnposedError):
    """A file was found, but what is in it is wrong."""

    exit_code = 65


class MissingInputError(UnposedError):
    """An input was not found where it was looked for."""

    exit_code = 66


class NumericalError(UnposedError):
    """A loss, gradient or weight is not finite."""

    exit_code = 70


class RunFolderError(UnposedError):
    """The run folder cannot be created, or another process is using it."""

    exit_code = 73


class StorageError(UnposedError):
    """Reading or writing failed: disk full, read-only, permission denied."""

    exit_code = 74


class TemporaryError(UnposedError):
    """It did not work this time, and may work later."""

    exit_code = 75


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the closest candidate, or '' when none is close; made to be appended to a message."""
    candidates = list(candidates)
    folded = {candidate.casefold(): candidate for candidate in candidates}
    close = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    return f" Did you mean '{folded[close[0]]}'?" if close else ''


def command_line(main: Callable[..., Any]) -> Callable[..., NoReturn]:
    """Wrap a program's main function: whatever it raises becomes one line on stderr and an exit code, and the process ends.

    `main` returns None or an exit code.
    """

    @functools.wraps(main)
    def wrapped(*args: Any, **kwargs: Any) -> NoReturn:
        try:
            result = main(*args, **kwargs)
            sys.stdout.flush()
            code = result if isinstance(result, int) else 0
        except BaseException as error:  # noqa: BLE001  the outermost frame: everything ends here, and nothing is swallowed
            code = _report(error)
        _leave(code)

    return wrapped


def run_command(command: 'click.Command') -> NoReturn:
    """Run a click command as the whole program: `if __name__ == '__main__': run_command(main)`.

    Warnings of the log go to stderr, and so does what makes a user wait: kernels that are being built.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')  # names of files may be in no encoding at all
    logging.basicConfig(format='%(message)s')
    logging.getLogger('custom_ops.jit').setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, _terminate)
    command_line(functools.partial(command.main, standalone_mode=False))()


class Terminated(BaseException):
    """SIGTERM came; like KeyboardInterrupt no error, so that only clean-up takes notice of it on the way out."""


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Unwind instead of dying on the spot, so that temporary files go."""
    raise Terminated


def _report(error: BaseException) -> int:
    """Say on stderr what went wrong, in one line where the cause is known; return the exit code."""
    if isinstance(error, SystemExit):
        return _system_exit_code(error)
    if isinstance(error, BrokenPipeError):
        # The reader of our output went away (`| head`). Point stdout elsewhere, else the interpreter complains while it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    if _wants_traceback():
        traceback.print_exception(error)
    code, message = _classify(error)
    if message is None:
        if not _wants_traceback():
            traceback.print_exception(error)
    else:
        print(message, file=sys.stderr)
    return code


def _classify(error: BaseException) -> tuple[int, str | None]:
    """Return (exit code, message); the message is None for an error that is our own bug and deserves its traceback."""
    if isinstance(error, UnposedError):
        return error.exit_code, f'error: {error}'
    if isinstance(error, KeyboardInterrupt):
        return 130, 'stopped: interrupted'
    if isinstance(error, Terminated):
        return 143, 'stopped: terminated'
    if isinstance(error, OSError):
        return StorageError.exit_code, f'error: {describe_os_error(error)}'
    return _classify_click(error)


def _classify_click(error: BaseException) -> tuple[int, str | None]:
    """Treat click's own exceptions; click is imported only by programs that use it."""
    click = sys.modules.get('click')
    if click is None:
        return 1, None
    if isinstance(error, click.exceptions.Abort):
        return 130, 'stopped: interrupted'
    if isinstance(error, click.FileError):
        return MissingInputError.exit_code, f'error: {error.format_message()}'
    if isinstance(error, click.ClickException):
        context = getattr(error, 'ctx', None)
        hint = f" Try '{context.command_path} --help'." if context is not None else ''
        return UsageError.exit_code, f'error: {error.format_message().rstrip()}{hint}'
    return 1, None


def describe_os_error(error: OSError) -> str:
    """Say which file could not be used and why, as one sentence without an errno."""
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return f'{error.strerror or error}: {" -> ".join(names)}' if names else str(error.strerror or error)


def _system_exit_code(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    print(error.code, file=sys.stderr)
    return 1


def _wants_traceback() -> bool:
    return '--debug' in sys.argv or os.environ.get('UNPOSED_DEBUG', '') not in ('', '0')


def _leave(code: int) -> NoReturn:
    """End the process, after noting the exit code for the launcher, if any: the first failure is the cause, later ones are echoes."""
    path = os.environ.get(EXIT_CODE_FILE)
    if path is not None and code != 0:
        note_exit_code(path, code)
    if path is not None or 'TORCHELASTIC_RUN_ID' in os.environ:
        # A rank among others: threads of its process group may abort the interpreter while it finalises, and hide the exit code.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def note_exit_code(path: str, code: int) -> None:
    """Write `code` to `path` unless another process has already written one, or the launcher has gone and taken the folder with it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except (FileExistsError, FileNotFoundError):
        return
    with os.fdopen(descriptor, 'w', encoding='ascii') as file:
        file.write(str(code))
