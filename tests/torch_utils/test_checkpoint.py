"""What is written comes back; what is damaged is noticed, named and kept aside; what would execute code is not opened."""

import errno
import json
import os
import pickle
import zipfile

import pytest
import safetensors.torch
import torch

from dnnlib.errors import DataError, MissingInputError, NumericalError, StorageError
from torch_utils import checkpoint

WEIGHTS = {'G': {'a.weight': torch.arange(6.0).reshape(2, 3), 'n': torch.tensor(3)}, 'D': {'b': torch.ones(2, dtype=torch.bfloat16)}}
PARTS = {
    'networks': {'G': {'w': torch.linspace(0, 1, 1000)}},
    'optimisers': {
        'G': {'state': {0: {'step': torch.tensor(5.0)}}, 'param_groups': [{'betas': (0.0, 0.99), 'params': [0], 'foreach': None}]}
    },
    'progress': {'nimg': 1000, 'seconds': 1.5, 'name': 'x', 'flag': True},
}


def equal(first, second) -> bool:
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    return first == second


# Weights.


def test_weights_round_trip(tmp_path) -> None:
    path, config, extra = tmp_path / 'w.safetensors', {'z_dim': 512, 'near': None}, {'kimg': 200, 'name': 'é'}
    checkpoint.save_weights(path, WEIGHTS, config, extra)
    tensors, header = checkpoint.load_weights(path)
    assert equal(tensors, WEIGHTS)
    assert header == {'schema': 1, 'config': config, 'extra': extra}
    checkpoint.save_weights(path, WEIGHTS['G'], {}, {})
    assert equal(checkpoint.load_weights(path)[0], WEIGHTS['G'])
    assert os.listdir(tmp_path) == ['w.safetensors']


def test_weights_files_are_reproducible(tmp_path) -> None:
    for name in ('a', 'b'):
        checkpoint.save_weights(tmp_path / name, WEIGHTS, {'x': 1, 'y': [2]}, {'z': 'z'})
    assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()


def test_tied_and_strided_weights(tmp_path) -> None:
    shared = torch.arange(12.0).reshape(3, 4)
    checkpoint.save_weights(tmp_path / 'w', {'a': shared, 'b': shared, 'c': shared.T, 'd': shared[:, 1]}, {}, {})
    assert equal(checkpoint.load_weights(tmp_path / 'w')[0], {'a': shared, 'b': shared, 'c': shared.T, 'd': shared[:, 1]})


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_must_be_finite(tmp_path, value) -> None:
    with pytest.raises(NumericalError, match='G/w'):
        checkpoint.save_weights(tmp_path / 'w', {'G': {'w': torch.tensor([1.0, value])}}, {}, {})
    assert os.listdir(tmp_path) == []


class Evil:
    """Unpickling this creates a file."""

    def __init__(self, path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, 'w')


def write_torch(path, proof) -> None:
    torch.save({'w': torch.ones(2), 'evil': Evil(proof)}, path)


def write_zip(path, name: str) -> None:
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr(name, 'x')


@pytest.mark.parametrize(
    ('write', 'says', 'importable'),
    [
        (lambda path, proof: path.write_bytes(pickle.dumps({'G': Evil(proof)}, 2)), 'seems to be a pickle', True),
        (lambda path, proof: path.write_bytes(pickle.dumps({'G': Evil(proof)}, 4)), 'seems to be a pickle', True),
        (write_torch, 'a file of torch.save', True),
        (lambda path, proof: write_zip(path, '00000/img.png'), 'a zip archive', False),
        (lambda path, proof: write_zip(path, 'dataset.json'), 'a zip archive with a data set', False),
        (lambda path, proof: path.write_bytes(b'PK\x03\x04 broken'), 'a damaged zip archive', False),
        (lambda path, proof: path.write_bytes(b'\n<!DOCTYPE html><html>'), 'a web page', False),
        (lambda path, proof: path.write_bytes(b'version https://git-lfs.github.com/spec/v1\noid'), 'a Git LFS pointer', False),
        (lambda path, proof: path.write_bytes(b'{"labels": null}'), 'a JSON file', False),
        (lambda path, proof: path.write_bytes(b'\x1f\x8b\x08\x00aaaaaaaa'), 'a gzip archive', False),
        (lambda path, proof: path.write_bytes(b''), 'an empty file', False),
        (lambda path, proof: path.write_bytes(b'\x80'), 'a file of an unknown kind', False),
        (lambda path, proof: path.write_bytes(os.urandom(3) + b'\x00' * 50), 'seems to be a', False),
    ],
)
def test_foreign_files_are_named_and_never_opened(tmp_path, write, says, importable) -> None:
    path, proof = tmp_path / 'weights.safetensors', tmp_path / 'executed'
    write(path, proof)
    with pytest.raises(DataError, match=says) as raised:
        checkpoint.load_weights(path)
    assert ('Unpickling can run any program' in str(raised.value)) == importable
    assert not proof.exists()


def test_old_pickles_are_known_by_their_names(tmp_path) -> None:
    (tmp_path / 'x.pkl').write_bytes(pickle.dumps([1], 0))
    with pytest.raises(DataError, match='a pickle of an old kind'):
        checkpoint.load_weights(tmp_path / 'x.pkl')


def test_a_header_whose_length_looks_like_a_magic(tmp_path) -> None:
    """A header of 640 bytes begins with the first bytes of a pickle, one of 0x4b50 with those of a zip."""
    path = tmp_path / 'w.safetensors'

    def write(filler: int) -> int:
        header = json.dumps({'schema': 1, 'config': {}, 'extra': {'x': 'y' * filler}})
        path.write_bytes(safetensors.torch.save({'w': torch.ones(1)}, {'unposed': header}))
        return int.from_bytes(path.read_bytes()[:8], 'little')

    for length in (0x0280, 0x4B50):
        assert write(length - write(0)) == length
        assert checkpoint.load_weights(path)[0]['w'].item() == 1


def test_missing_weights(tmp_path) -> None:
    with pytest.raises(MissingInputError, match='does not exist'):
        checkpoint.load_weights(tmp_path / 'none')
    with pytest.raises(MissingInputError, match='is a folder'):
        checkpoint.load_weights(tmp_path)


def test_safetensors_of_others_and_of_the_future(tmp_path) -> None:
    path, w = tmp_path / 'w', {'w': torch.ones(1)}
    path.write_bytes(safetensors.torch.save(w))
    with pytest.raises(DataError, match='another program'):
        checkpoint.load_weights(path)
    path.write_bytes(safetensors.torch.save(w, {'unposed': json.dumps({'schema': 99, 'config': {}, 'extra': {}})}))
    with pytest.raises(DataError, match='schema 99'):
        checkpoint.load_weights(path)
    for header in ('{', '[]', '{}', '[' * 100_000, '{"schema": NaN, "config": {}, "extra": {}}'):
        path.write_bytes(safetensors.torch.save(w, {'unposed': header}))
        with pytest.raises(DataError, match='damaged'):
            checkpoint.load_weights(path)


def test_a_name_that_is_a_tensor_and_a_network(tmp_path) -> None:
    path = tmp_path / 'a.safetensors'
    header = {'unposed': json.dumps({'schema': 1, 'config': {}, 'extra': {}})}
    safetensors.torch.save_file({'G': torch.zeros(1), 'G/w': torch.ones(1)}, path, header)
    with pytest.raises(DataError, match="'G' is a tensor and a network at once"):
        checkpoint.load_weights(path)


def test_truncated_weights(tmp_path) -> None:
    path = tmp_path / 'w'
    checkpoint.save_weights(path, WEIGHTS, {}, {})
    data = path.read_bytes()
    for length in [0, 1, 8, 9, 50, *range(100, len(data), 31), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(DataError):
            checkpoint.load_weights(path)


# Training states.


def save(folder, nimg: int, parts=PARTS):
    return checkpoint.save_state(folder, f'training-state-{nimg:09d}', parts, {'nimg': nimg, 'world_size': 2})


def test_state_round_trip(tmp_path) -> None:
    path = save(tmp_path, 1000)
    assert path == tmp_path / 'training-state-000001000.pt'
    assert equal(checkpoint.load_state(path), PARTS)
    manifest = checkpoint.read_manifest(path)
    assert (manifest['nimg'], manifest['world_size'], manifest['parts']) == (1000, 2, sorted(PARTS))
    assert sorted(os.listdir(tmp_path)) == ['training-state-000001000.json', 'training-state-000001000.pt']


def test_only_plain_things_are_saved(tmp_path) -> None:
    with pytest.raises(TypeError, match=r"parts\['a'\]\[1\] is a Evil"):
        save(tmp_path, 1, {'a': [1, Evil('x')]})


def damage(path, how: str, offset: float) -> None:
    data = bytearray(path.read_bytes())
    position = int(offset * (len(data) - 1))
    if how == 'truncate':
        path.write_bytes(data[:position])
    elif how == 'flip':
        data[position] ^= 1 << int(offset * 1000) % 8
        path.write_bytes(data)
    else:
        path.unlink()


@pytest.mark.parametrize(
    ('how', 'offsets'), [('truncate', (0, 0.01, 0.3, 0.7, 0.999)), ('flip', (0, 0.02, 0.33, 0.5, 0.77, 1)), ('delete', (0,))]
)
@pytest.mark.parametrize('suffix', ['.pt', '.json'])
def test_damaged_states_are_kept_aside(tmp_path, how, offsets, suffix) -> None:
    for offset in offsets:
        folder = tmp_path / str(offset)
        folder.mkdir()
        good, bad = save(folder, 900), save(folder, 1000)
        target = bad.with_suffix(suffix)
        before = target.read_bytes()
        damage(target, how, offset)
        if suffix == '.json' and how == 'flip' and json_means_the_same(before, target.read_bytes()):
            continue
        said = []
        with pytest.raises((DataError, MissingInputError)):
            checkpoint.load_state(bad)
        assert checkpoint.newest_state(folder, said.append) == good, (how, offset)
        assert len(said) == 1
        assert 'training-state-000001000' in said[0]
        assert 'bad-training-state-000001000' in said[0]
        assert not bad.exists()
        assert (folder / f'bad-{bad.name}').exists() == (not (how == 'delete' and suffix == '.pt'))
        assert equal(checkpoint.load_state(good), PARTS)
        assert checkpoint.newest_state(folder, said.append) == good
        assert len(said) == 1


def json_means_the_same(before: bytes, after: bytes) -> bool:
    """A flipped bit in white space, or in what does not bear on the data, is harmless."""
    try:
        first, second = json.loads(before), json.loads(after)
    except ValueError:
        return False
    bearing = ('format', 'schema', 'size', 'sha256', 'parts')
    return all(first[key] == second.get(key) for key in bearing) and isinstance(second.get('nimg'), int)


def test_swapped_states_are_noticed(tmp_path) -> None:
    first, second = save(tmp_path, 1), save(tmp_path, 2, PARTS | {'task': {}})
    first.rename(tmp_path / 'x')
    second.rename(first)
    (tmp_path / 'x').rename(second)
    assert checkpoint.newest_state(tmp_path, lambda _: None) is None
    assert len(list(tmp_path.glob('bad-*'))) == 4


def test_bad_names_are_not_reused(tmp_path) -> None:
    for _ in range(3):
        save(tmp_path, 5).write_bytes(b'broken')
        assert checkpoint.newest_state(tmp_path, lambda _: None) is None
    assert len(list(tmp_path.glob('bad-*.pt'))) == 3


def test_a_new_schema_is_refused_by_name(tmp_path) -> None:
    path = save(tmp_path, 5)
    manifest = json.loads(path.with_suffix('.json').read_text())
    path.with_suffix('.json').write_text(json.dumps(manifest | {'schema': 99}))
    with pytest.raises(DataError, match='schema 99'):
        checkpoint.load_state(path)


def test_a_part_that_is_not_there_is_an_error(tmp_path) -> None:
    path = save(tmp_path, 5)
    manifest = json.loads(path.with_suffix('.json').read_text())
    path.with_suffix('.json').write_text(json.dumps(manifest | {'parts': [*manifest['parts'], 'task']}))
    with pytest.raises(DataError, match=r"missing \['task'\]"):
        checkpoint.load_state(path)


def test_a_state_that_would_execute_code_is_refused(tmp_path) -> None:
    """Even with a manifest that fits."""
    path, proof = save(tmp_path, 5), tmp_path / 'executed'
    write_torch(path, proof)
    data = path.read_bytes()
    manifest = json.loads(path.with_suffix('.json').read_text())
    path.with_suffix('.json').write_text(json.dumps(manifest | {'size': len(data), 'sha256': checkpoint.hashlib.sha256(data).hexdigest()}))
    with pytest.raises(DataError, match='holds something else than data'):
        checkpoint.load_state(path)
    assert not proof.exists()


def test_the_newest_has_most_images_whatever_the_clock_says(tmp_path) -> None:
    paths = [save(tmp_path, nimg) for nimg in (999, 1000, 5)]
    os.utime(paths[2], (2**33, 2**33))
    assert checkpoint.newest_state(tmp_path) == paths[1]
    assert checkpoint.newest_state(tmp_path / 'none') is None


def test_other_files_of_a_run_are_left_alone(tmp_path) -> None:
    others = ('training_options.json', 'stats.jsonl', 'log.txt', 'network-snapshot-000001.safetensors', 'my-latents-000999999.pt', 'my-latents-000999999.json')
    for name in others:
        (tmp_path / name).write_text('{"format": 1}')
    (tmp_path / '.tmp-1-x').touch()
    assert checkpoint.newest_state(tmp_path) is None
    for nimg in range(3):
        save(tmp_path, nimg)
        checkpoint.prune_states(tmp_path, 1)
    assert set(os.listdir(tmp_path)) == {*others, newest := checkpoint.newest_state(tmp_path).name, newest.replace('.pt', '.json')}


def test_a_look_at_the_newest_state_changes_nothing(tmp_path) -> None:
    assert checkpoint.latest_manifest(tmp_path) is None
    for nimg in (2, 10, 1):
        save(tmp_path, nimg)
    damaged = save(tmp_path, 11)
    damaged.with_suffix('.json').write_text('{')
    before = set(os.listdir(tmp_path))
    assert checkpoint.latest_manifest(tmp_path)['nimg'] == 10 and set(os.listdir(tmp_path)) == before


class FullDisk:
    """A file on a disk that takes `room` more bytes."""

    def __init__(self, file, room: list[int]) -> None:
        self.file, self.room = file, room

    def write(self, data) -> int:
        taken = min(len(data), self.room[0])
        self.file.write(data[:taken])
        self.room[0] -= taken
        if taken < len(data):
            raise OSError(errno.ENOSPC, 'No space left on device')
        return taken

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.file.close()

    def __getattr__(self, name: str):
        return getattr(self.file, name)


@pytest.mark.parametrize('room', [0, 100, 'not for the manifest'])
def test_full_disk_keeps_what_was_there(tmp_path, monkeypatch, room) -> None:
    good = save(tmp_path, 1000)
    weights = tmp_path / 'w.safetensors'
    checkpoint.save_weights(weights, WEIGHTS, {}, {})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    left = [good.stat().st_size + 50 if isinstance(room, str) else room]
    with monkeypatch.context() as patched:
        patched.setattr('dnnlib.atomic.open', lambda *args, **kwargs: FullDisk(open(*args, **kwargs), left), raising=False)  # noqa: SIM115
        for write in (lambda: save(tmp_path, 1000), lambda: save(tmp_path, 2000)):
            with pytest.raises(StorageError, match='No space left on device'):
                write()
            left[0] = 100
        with pytest.raises(StorageError, match='No space left on device'):
            checkpoint.save_weights(weights, WEIGHTS, {'longer': 'x' * 1000}, {})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name in before} == before
    assert not list(tmp_path.glob('.tmp-*'))
    said = []
    assert checkpoint.newest_state(tmp_path, said.append) == good
    assert equal(checkpoint.load_weights(weights)[0], WEIGHTS)


@pytest.mark.parametrize('calls_before_death', range(9))
def test_power_loss_while_overwriting_the_only_state(tmp_path, monkeypatch, calls_before_death) -> None:
    """Whatever was the last thing that reached the disk, the old state or the new one is there."""
    old, new = PARTS, PARTS | {'task': {'p': 0.5}}
    save(tmp_path, 1000, old)
    calls = []

    def dies(module, name: str) -> None:
        original = getattr(module, name)

        def function(*args, **kwargs):
            if len(calls) >= calls_before_death:
                raise KeyboardInterrupt  # and so does every later call, for nothing runs after a power loss
            calls.append(name)
            return original(*args, **kwargs)

        patched.setattr(module, name, function)

    with monkeypatch.context() as patched:
        dies(os, 'link')
        dies(os, 'replace')
        dies(checkpoint.Path, 'replace')
        dies(checkpoint.Path, 'unlink')
        try:
            save(tmp_path, 1000, new)
        except KeyboardInterrupt:
            died = True
        else:
            died = False
    assert died == (calls_before_death < 8)
    newest = checkpoint.newest_state(tmp_path, lambda _: None)
    assert newest is not None
    found = checkpoint.load_state(newest)
    assert equal(found, old) or equal(found, new)
    if not died:
        assert sorted(os.listdir(tmp_path)) == ['training-state-000001000.json', 'training-state-000001000.pt']


def test_prune(tmp_path) -> None:
    paths = [save(tmp_path, nimg) for nimg in range(5)]
    paths[4].write_bytes(b'broken')
    paths[1].with_suffix('.json').unlink()
    checkpoint.prune_states(tmp_path, keep=2)
    assert [path.exists() for path in paths] == [False, False, True, True, True]
    assert not list(tmp_path.glob('.trash-*'))
    checkpoint.prune_states(tmp_path, keep=1)
    assert checkpoint.newest_state(tmp_path, lambda _: None) == paths[3]


@pytest.mark.parametrize('kill_after', range(6))
def test_a_kill_while_pruning_leaves_a_good_state(tmp_path, monkeypatch, kill_after) -> None:
    paths = [save(tmp_path, nimg) for nimg in range(4)]
    calls = []

    def dies(name: str):
        original = getattr(checkpoint.Path, name)

        def method(self, *args, **kwargs):
            if len(calls) == kill_after:
                raise KeyboardInterrupt
            calls.append(name)
            return original(self, *args, **kwargs)

        return method

    with monkeypatch.context() as patched:
        for name in ('rename', 'unlink'):
            patched.setattr(checkpoint.Path, name, dies(name))
        with pytest.raises(KeyboardInterrupt):
            checkpoint.prune_states(tmp_path, keep=2)
    assert checkpoint.newest_state(tmp_path) == paths[3]
    checkpoint.prune_states(tmp_path, keep=2)
    assert len(os.listdir(tmp_path)) == 4
