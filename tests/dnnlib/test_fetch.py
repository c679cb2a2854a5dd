"""Files are found where they are said to be looked for, and a missing one lists all these places."""

import hashlib

import pytest

from dnnlib.errors import MissingInputError
from dnnlib.fetch import locate, sha256_of


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Three empty places, in the order of looking."""
    monkeypatch.setenv('UNPOSED_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    folders = [tmp_path / 'cache', tmp_path / 'torch' / 'hub' / 'checkpoints', tmp_path / 'home' / '.cache' / 'unposed']
    for folder in folders:
        folder.mkdir(parents=True)
    return folders


def test_earlier_places_win(places) -> None:
    for folder in reversed(places):
        (folder / 'b.pt').touch()
        assert locate(['a.pt', 'b.pt']) == folder / 'b.pt'


def test_missing(places) -> None:
    with pytest.raises(MissingInputError, match='inception weights') as raised:
        locate(['a.pt', 'b.pt'], what='inception weights')
    for folder in places:
        assert str(folder / 'a.pt') in str(raised.value)
        assert str(folder / 'b.pt') in str(raised.value)


def test_explicit(places, tmp_path) -> None:
    (places[0] / 'a.pt').touch()
    (tmp_path / 'mine').touch()
    assert locate('a.pt', explicit=tmp_path / 'mine') == tmp_path / 'mine'
    with pytest.raises(MissingInputError, match='does not exist'):
        locate('a.pt', explicit=tmp_path / 'gone')
    with pytest.raises(MissingInputError, match='is a folder'):
        locate('a.pt', explicit=tmp_path)


def test_sha256(tmp_path) -> None:
    (tmp_path / 'file').write_bytes(b'content')
    assert sha256_of(tmp_path / 'file') == hashlib.sha256(b'content').hexdigest()
