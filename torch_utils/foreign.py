"""What a file seems to be, judged by its first bytes and never by opening it as that."""

import struct
import zipfile
from pathlib import Path

_START = 512
_MAX_HEADER = 100_000_000  # bytes; the format allows no more


def describe_file(path: Path) -> tuple[str, bool]:
    """Return a description ('a safetensors file', 'a pickle', 'a web page', ...) and whether it is a pickle in some wrapping.

    Pickles are named because reading one executes it.
    """
    size = path.stat().st_size
    with open(path, 'rb') as file:
        start = file.read(_START)
    if size == 0:
        return 'an empty file', False
    # First of all ours, because its first bytes are a number, which may happen to look like the magic of something else.
    if _starts_like_safetensors(start):
        return 'a safetensors file', False
    if start[:1] == b'\x80' and start[1:2] in (b'\x02', b'\x03', b'\x04', b'\x05'):
        return 'a pickle', True
    if start.startswith(b'PK'):
        return _describe_zip(path)
    for magic, what in _MAGIC.items():
        if start.startswith(magic):
            return what, False
    text = start.lstrip(b'\xef\xbb\xbf \t\r\n')
    for first, what in _FIRST_CHARACTERS.items():
        if text.startswith(first):
            return what, False
    if path.suffix in ('.pkl', '.pickle'):
        return 'a pickle of an old kind', True
    return 'a file of an unknown kind', False


_MAGIC = {
    b'\x1f\x8b': 'a gzip archive',
    b'\xfd7zXZ': 'an xz archive',
    b'\x28\xb5\x2f\xfd': 'a Zstandard archive',
    b'\x89PNG': 'a PNG image',
    b'\xff\xd8\xff': 'a JPEG image',
    b'\x89HDF': 'an HDF5 file',
    b'\x93NUMPY': 'a NumPy array',
    b'GGUF': 'a GGUF file',
    b'version https://git-lfs': 'a Git LFS pointer, without the file that it stands for',
}
_FIRST_CHARACTERS = {  # after white space
    b'<': 'a web page (perhaps the answer of a server that wanted a login)',
    b'{': 'a JSON file',
    b'[': 'a JSON file',
}


def _describe_zip(path: Path) -> tuple[str, bool]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return 'a damaged zip archive', False
    if any(name.rpartition('/')[2] == 'data.pkl' for name in names):
        return 'a file of torch.save, which holds a pickle', True
    if any(name.rpartition('/')[2] == 'dataset.json' for name in names):
        return 'a zip archive with a data set', False
    return 'a zip archive', False


def _starts_like_safetensors(start: bytes) -> bool:
    """Return whether the file begins with a plausible length and then a JSON object; what follows is for the library to judge."""
    return len(start) > 8 and struct.unpack('<Q', start[:8])[0] <= _MAX_HEADER and start[8:9] == b'{'
