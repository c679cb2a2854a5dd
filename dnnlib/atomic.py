"""Files that are either the old one or the new one, whenever the power fails."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from dnnlib.errors import StorageError, describe_os_error

_TEMPORARY = '.tmp-'


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, mode: str = 'wb') -> Iterator[IO[Any]]:
    """Yield a file that becomes `path` when the block ends without an error; until then, and after an error, `path` is untouched.

    The temporary file is in the same folder, because only there a rename is atomic. `mode` is 'wb' or 'w' (UTF-8, newlines as written).
    Raises StorageError when the disk is full or the folder cannot be written to.
    """
    assert mode in ('wb', 'w'), mode
    path = Path(path)
    temporary = path.with_name(f'{_TEMPORARY}{uuid.uuid4().hex}-{path.name}')
    text = {} if 'b' in mode else {'encoding': 'utf-8', 'newline': ''}
    try:
        with open(temporary, mode.replace('w', 'x'), **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"Cannot write '{path}': {describe_os_error(error)}. Free some space or choose another folder.") from error
    finally:
        with contextlib.suppress(OSError):  # gone already when all went well; the first error is the one to report when not
            os.unlink(temporary)


def sync_folder(folder: str | os.PathLike) -> None:
    """Make the names in a folder durable: a renamed file is only as safe as the folder's entry for it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Delete the temporary files of writers that were killed. Only for the process that holds the folder's RunLock."""
    for leftover in Path(folder).glob(f'{_TEMPORARY}*'):
        leftover.unlink(missing_ok=True)
