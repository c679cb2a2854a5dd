"""Files that outlive a process: weights for everybody, training states for the run that wrote them. Reading one never executes anything.

A weights file is one safetensors file; its header holds the configuration as JSON. A training state is `stem.pt`, which torch.load reads
with weights_only=True, and `stem.json`, a manifest with the size and SHA-256 of the former. The manifest is written last, so a state whose
manifest fits is complete; what a crash, a full disk or a failing one leaves behind does not fit and is never loaded.
"""

import contextlib
import hashlib
import io
import json
import os
import pickle
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from dnnlib.atomic import atomic_write, remove_leftovers
from dnnlib.errors import DataError, MissingInputError, NumericalError
from dnnlib.fetch import sha256_of
from torch_utils.foreign import describe_file

_HEADER_KEY = 'unposed'  # one key, because safetensors writes several in an order that changes from run to run
_WEIGHTS_SCHEMA = 1
_STATE_SCHEMA = 1
_STATE_FORMAT = 'unposed-training-state'
_REJECTED, _TRASH = 'bad-', '.trash-'
STATE_NAME = 'training-state-'  # then the images seen

StateDict = dict[str, Tensor]


# Weights.


def save_weights(path: str | os.PathLike, tensors: StateDict | dict[str, StateDict], config: dict[str, Any], extra: dict[str, Any]) -> None:
    """Write tensors, or state dicts by the name of their network, as one safetensors file; `config` and `extra` go into its header as JSON.

    The same content gives the same bytes. Raises NumericalError for a tensor that is not finite, StorageError when it cannot be written.
    """
    flat: StateDict = {}
    for name, value in tensors.items():
        flat |= {name: value} if isinstance(value, Tensor) else {f'{name}/{inner}': tensor for inner, tensor in value.items()}
    bad = [name for name, tensor in flat.items() if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())]
    if bad:
        raise NumericalError(f"'{path}' was not written: {len(bad)} tensors are not finite ({', '.join(bad[:5])}).")
    header = json.dumps({'schema': _WEIGHTS_SCHEMA, 'config': config, 'extra': extra}, allow_nan=False, sort_keys=True)
    # A copy of each, because safetensors refuses tensors that share memory, such as tied weights.
    data = safetensors.torch.save(
        {name: tensor.detach().cpu().clone().contiguous() for name, tensor in flat.items()}, {_HEADER_KEY: header}
    )
    with atomic_write(path) as file:
        file.write(data)


def load_weights(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (tensors as they were given to save_weights, header {'schema', 'config', 'extra'}); the tensors are on the CPU.

    Raises MissingInputError if there is no such file, and DataError, saying what the file seems to be, if it is not one of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInputError(f"The weights file '{path}' {'is a folder' if path.is_dir() else 'does not exist'}.")
    what, is_foreign_pickle = describe_file(path)
    if what != 'a safetensors file':
        advice = (
            ' Unpickling can run any program, so it was not opened. Weights are read from safetensors files only, such as train.py writes.'
            if is_foreign_pickle
            else ' Give a .safetensors file that train.py wrote.'
        )
        raise DataError(f"'{path}' is not a weights file: it seems to be {what}.{advice}")
    try:
        with safetensors.safe_open(path, framework='pt', device='cpu') as file:
            metadata = file.metadata() or {}
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except (safetensors.SafetensorError, OSError, RuntimeError) as error:
        raise DataError(f"'{path}' is a damaged safetensors file: {error}. Download or copy it again.") from error
    header = _weights_header(path, metadata)
    both = {name.partition('/')[0] for name in flat if '/' in name} & flat.keys()
    if both:
        raise DataError(f"'{path}' is damaged: '{min(both)}' is a tensor and a network at once. Download or copy it again.")
    tensors: dict[str, Any] = {}
    for name, tensor in flat.items():
        group, slash, inner = name.partition('/')
        if slash:
            tensors.setdefault(group, {})[inner] = tensor
        else:
            tensors[name] = tensor
    return tensors, header


def _weights_header(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """Return the JSON of the header, checked as far as this package can judge it."""
    if _HEADER_KEY not in metadata:
        raise DataError(
            f"'{path}' is a safetensors file of another program: its header holds no configuration of ours. Give one that train.py wrote."
        )
    header = _parse_json(metadata[_HEADER_KEY])
    if not isinstance(header, dict) or not {'schema', 'config', 'extra'} <= header.keys():
        raise DataError(f"The header of '{path}' is damaged. Download or copy the file again.")
    if header['schema'] != _WEIGHTS_SCHEMA:
        raise DataError(
            f"'{path}' has schema {header['schema']}, and this version reads schema {_WEIGHTS_SCHEMA}. Use the version that wrote it."
        )
    return header


# Training states.


def save_state(folder: str | os.PathLike, stem: str, parts: dict[str, Any], meta: dict[str, Any]) -> Path:
    """Write `folder/stem.pt` and its manifest, both atomically, the manifest last; return the path of the former.

    `parts` maps names to nested dicts, lists and tuples of tensors, numbers, strings, booleans and None. `meta` must hold 'nimg' (images
    seen), by which states are ordered, and goes into the manifest. Raises NumericalError for a tensor that is not finite and StorageError when
    it cannot be written; what was there before is then intact.
    """
    assert 'nimg' in meta, 'meta must say how many images were seen'
    _check_plain(parts, 'parts')
    bad = list(_not_finite(parts, 'parts'))
    if bad:
        raise NumericalError(
            f"The training state '{stem}' was not written: {len(bad)} tensors are not finite ({', '.join(bad[:5])}). "
            'Start a new run with a lower learning rate or stronger regularisation; resuming this one would repeat it.'
        )
    buffer = io.BytesIO()
    torch.save(parts, buffer)
    data = buffer.getbuffer()
    manifest = meta | {
        'format': _STATE_FORMAT,
        'schema': _STATE_SCHEMA,
        'size': len(data),
        'sha256': hashlib.sha256(data).hexdigest(),
        'parts': sorted(parts),
    }
    path = Path(folder) / f'{stem}.pt'
    with _earlier_kept(path):
        with atomic_write(path) as file:
            file.write(data)
        with atomic_write(_manifest_path(path), 'w') as file:
            file.write(json.dumps(manifest, indent=1, allow_nan=False) + '\n')
    return path


def load_state(path: str | os.PathLike) -> dict[str, Any]:
    """Return the parts of the state `path` (stem.pt), on the CPU, after checking it against its manifest.

    Raises MissingInputError if there is no such file, DataError if it is damaged, incomplete or of another version.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInputError(f"The training state '{path}' does not exist.")
    problem = _problem(path)
    if problem is not None:
        raise DataError(f"The training state '{path}' cannot be used: {problem}.")
    try:
        parts = torch.load(path, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise DataError(
            f"The training state '{path}' holds something else than data, although it fits its manifest; nothing was executed."
        ) from error
    listed = read_manifest(path)['parts']
    if sorted(parts) != listed:
        missing, extra = sorted(set(listed) - set(parts)), sorted(set(parts) - set(listed))
        raise DataError(f"The training state '{path}' does not hold what its manifest lists: missing {missing}, not listed {extra}.")
    return parts


def read_manifest(path: str | os.PathLike) -> dict[str, Any]:
    """Return the manifest of the state `path` (stem.pt): what was given as `meta`, and format, schema, size, sha256, parts."""
    manifest = _read_manifest(Path(path))
    if manifest is None:
        raise DataError(f"The training state '{path}' has no readable manifest '{_manifest_path(Path(path)).name}'.")
    return manifest


def newest_state(folder: str | os.PathLike, say: Callable[[str], None] | None = None) -> Path | None:
    """Return the state with the most images seen that fits its manifest, or None. Newer ones that do not fit are renamed to bad-*.

    `say` is called with a sentence about each of those; by default it is printed on stderr. Only for the process that holds the RunLock.
    """
    folder = Path(folder)
    remove_leftovers(folder)
    for path in _states(folder):
        problem = _problem(path)
        if problem is None:
            return path
        names = ' and '.join(_set_aside(path))
        message = f"The training state '{path}' is not used: {problem}. Kept as {names}; looking for an older one."
        if say is None:
            print(f'warning: {message}', file=sys.stderr)
        else:
            say(message)
    return None


def latest_manifest(folder: str | os.PathLike) -> dict[str, Any] | None:
    """Return the manifest of the state with the most images seen, or None: a look that locks, checks and changes nothing."""
    manifests = (_read_manifest(path) for path in _states(Path(folder)))
    return next((manifest for manifest in manifests if manifest is not None), None)


def prune_states(folder: str | os.PathLike, keep: int) -> None:
    """Delete all but the newest `keep` (>= 1) states that fit their manifests, never the last good one, and what killed writers left.

    A damaged state that is newer than those is left for newest_state to report. Only for the process that holds the RunLock.
    """
    assert keep >= 1, keep
    folder = Path(folder)
    remove_leftovers(folder)
    good = 0
    for path in _states(folder):
        if good < keep:
            good += _problem(path) is None
            continue
        # The manifest goes first: from then on the rest is rubbish, whenever the process is killed.
        for doomed in (_manifest_path(path), path):
            if doomed.exists():
                doomed.rename(folder / f'{_TRASH}{doomed.name}')
    for trash in folder.glob(f'{_TRASH}*'):
        trash.unlink(missing_ok=True)


@contextlib.contextmanager
def _earlier_kept(path: Path) -> Iterator[None]:
    """While a state is written over a good one of the same name, keep the latter under a second name.

    For the two files change one after the other. A second name is a link and costs nothing; on a file system without links, what a crash
    in that instant leaves is the state before this one.
    """
    if _problem(path) is not None:
        try:
            yield
        except BaseException:
            path.unlink(missing_ok=True)  # without its manifest it is no state, and only fills the disk
            raise
        return
    earlier = path.with_name(f'{path.stem}-earlier.pt')
    links = ((path, earlier), (_manifest_path(path), _manifest_path(earlier)))
    with contextlib.suppress(OSError):
        for source, link in links:
            link.unlink(missing_ok=True)
            os.link(source, link)
    try:
        yield
    except BaseException:
        for source, link in links:
            if link.exists():
                link.replace(source)
        raise
    for _, link in reversed(links):
        link.unlink(missing_ok=True)


def _check_plain(value: Any, where: str) -> None:
    """Raise TypeError, a bug of ours, for what torch.load would refuse to read back."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_plain(item, f'{where}[{key!r}]')
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_plain(item, f'{where}[{index}]')
    elif not isinstance(value, Tensor) and type(value) not in (int, float, str, bool, type(None)):
        raise TypeError(f'{where} is a {type(value).__name__}; a training state holds tensors and plain values')


def _not_finite(value: Any, where: str) -> Iterator[str]:
    """Yield where in nested parts a tensor holds NaN or infinity: resuming from it could only fail."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, item in items:
        yield from _not_finite(item, f'{where}[{key!r}]')
    if isinstance(value, Tensor) and value.is_floating_point() and not bool(torch.isfinite(value).all()):
        yield where


def _states(folder: Path) -> list[Path]:
    """Return the stem.pt of every state, also those of which only the manifest is left, newest first. Times of files mean nothing."""
    # Files of a user's own, such as latents, are none of ours: they have neither the name that training gives nor a manifest.
    paths = {
        path for path in folder.glob('*.pt')
        if not path.name.startswith((_REJECTED, '.')) and (path.name.startswith(STATE_NAME) or _read_manifest(path) is not None)
    }
    for manifest_path in folder.glob('*.json'):
        path = manifest_path.with_suffix('.pt')
        if not manifest_path.name.startswith((_REJECTED, '.')) and path not in paths and _read_manifest(path) is not None:
            paths.add(path)
    return sorted(paths, key=_age_key, reverse=True)


def _age_key(path: Path) -> tuple[int, str]:
    """Return the images seen, by the manifest or else by the number in the name, and the name."""
    manifest = _read_manifest(path)
    if manifest is not None:
        return manifest['nimg'], path.name
    numbers = re.findall(r'\d+', path.stem)
    return int(numbers[-1]) if numbers else -1, path.name


def _problem(path: Path) -> str | None:
    """Return why a state cannot be used, or None if it is complete."""
    manifest = _read_manifest(path)
    if not path.is_file():
        return 'its file is missing'
    if manifest is None:
        return f'its manifest {_manifest_path(path).name} is missing or damaged'
    if manifest['schema'] != _STATE_SCHEMA:
        return f'it has schema {manifest["schema"]}, and this version reads schema {_STATE_SCHEMA}'
    size = path.stat().st_size
    if size != manifest['size']:
        return f'it has {size} bytes instead of {manifest["size"]}'
    if sha256_of(path) != manifest['sha256']:
        return 'its SHA-256 differs from that in its manifest'
    return None


def _set_aside(path: Path) -> list[str]:
    """Rename what exists of a state to bad-*, overwriting nothing; return the new names."""
    names = []
    for part in (path, _manifest_path(path)):
        if not part.exists():
            continue
        target, attempt = part.with_name(f'{_REJECTED}{part.name}'), 1
        while target.exists():
            attempt += 1
            target = part.with_name(f'{_REJECTED}{attempt}-{part.name}')
        part.rename(target)
        names.append(target.name)
    return names


def _manifest_path(path: Path) -> Path:
    return path.with_suffix('.json')


def _read_manifest(path: Path) -> dict[str, Any] | None:
    """Return the manifest of stem.pt, or None if it is not one of ours or lacks something."""
    types = {'format': str, 'schema': int, 'nimg': int, 'size': int, 'sha256': str, 'parts': list}
    try:
        text = _manifest_path(path).read_bytes()
    except OSError:
        return None
    manifest = _parse_json(text)
    if not isinstance(manifest, dict) or manifest.get('format') != _STATE_FORMAT:
        return None
    return manifest if all(isinstance(manifest.get(key), kind) for key, kind in types.items()) else None


def _parse_json(text: str | bytes) -> Any:
    """Return what strict JSON says, or None if it is no such thing, however it is malformed."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # ValueError covers bytes that are no UTF-8 too
        return None
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f'{name} is not JSON')
