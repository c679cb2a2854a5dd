"""Where files outside the repository, such as the weights of feature networks, are looked for. Nothing here uses the network."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from dnnlib.errors import MissingInputError


def locate(names: str | Sequence[str], explicit: str | os.PathLike | None = None, what: str = 'file') -> Path:
    """Return the first file that exists under one of `names`, or `explicit` when that is given.

    Looked through, in this order: $UNPOSED_CACHE, $TORCH_HOME/hub/checkpoints (~/.cache/torch/hub/checkpoints), ~/.cache/unposed.
    Raises MissingInputError that lists every path that was tried.
    """
    if explicit is not None:
        path = Path(explicit).expanduser()
        if not path.is_file():
            found = 'is a folder' if path.is_dir() else 'does not exist'
            raise MissingInputError(f"The {what} '{path}' {found}. Give the path of the file.")
        return path
    names = [names] if isinstance(names, str) else list(names)
    candidates = [folder / name for folder in search_folders() for name in names]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    looked = '\n  '.join(str(candidate) for candidate in candidates)
    raise MissingInputError(f'The {what} was not found. Looked for:\n  {looked}\nPut the file at one of these places, or give its path.')


def search_folders() -> list[Path]:
    """Return the folders that `locate` looks through; the environment variables are read at every call."""
    home = Path.home()
    cache = os.environ.get('UNPOSED_CACHE')
    torch_home = os.environ.get('TORCH_HOME')
    folders = [Path(cache).expanduser()] if cache else []
    folders.append((Path(torch_home).expanduser() if torch_home else home / '.cache' / 'torch') / 'hub' / 'checkpoints')
    return [*folders, home / '.cache' / 'unposed']


def sha256_of(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
