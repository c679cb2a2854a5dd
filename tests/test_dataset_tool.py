"""dataset_tool.py against hostile data: every case has its required outcome, in every mode, and nothing is ever half-written."""

import errno
import functools
import io
import json
import math
import struct
import tracemalloc
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dataset_tool
from dnnlib.errors import DataError, MissingInputError, StorageError, UnposedError, UsageError, command_line
from training.cameras.camera import Camera
from training.cameras.convention import to_nerf_json
from training.cameras.orbit import orbit
from training.data import tool
from training.data.archive import open_dataset
from training.data.framing import frame
from training.data.pixels import UnusableImage, decode, read_header
from training.data.png16 import read_png16
from training.data.source import open_source
from training.data.tool import ToolConfig, check, convert
from training.data.toyworld.poses import Pose, camera25

REAL = Path(__file__).resolve().parents[2] / 'shared' / 'data'


def picture(seed: int = 0, size: tuple[int, int] = (16, 16), mode: str = 'RGB') -> Image.Image:
    """A deterministic smooth picture."""
    y, x = np.mgrid[: size[1], : size[0]]
    pixels = np.stack([(x * 9 + seed * 31) % 256, (y * 11 + seed * 17) % 256, ((x + y) * 5 + seed) % 256], -1).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = 'PNG', **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has almost no pixels."""
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'\0' * 64)) + chunk(b'IEND', b'')


def rotated_by_exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(picture(1, (24, 16)), 'JPEG', exif=exif, quality=95)


def grey16() -> bytes:
    return encoded(Image.fromarray((np.arange(256).reshape(16, 16) * 257).astype(np.uint16)))


def palette() -> bytes:
    return encoded(picture().quantize(16))


def gif() -> bytes:
    return encoded(picture(0), 'GIF', save_all=True, append_images=[picture(1), picture(2)])


NOT_IMAGES = {
    'empty.png': b'',
    'cut.png': encoded(noise())[:-60],
    'cut.jpg': encoded(noise(), 'JPEG')[:-80],
    'text.png': b'hello world\n' * 20,
    'page.jpg': b'<!DOCTYPE html><html><body>404 not found</body></html>',
    'ends.png': encoded(picture())[:20],
}
LAYOUTS = {
    'grey8.png': encoded(picture(0, mode='L')),
    'grey16.png': grey16(),
    'palette.png': palette(),
    'bilevel.png': encoded(picture(0, mode='1')),
    'rgba.png': encoded(picture(0, mode='RGBA')),
    'greyalpha.png': encoded(picture(0, mode='LA')),
    'float.tiff': encoded(Image.fromarray(np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)), 'TIFF'),
    'animated.gif': gif(),
}
HOPELESS = {  # images whose colours or scale would have to be guessed
    'cmyk.jpg': encoded(picture(0, mode='CMYK'), 'JPEG'),
    'floats.tiff': encoded(Image.fromarray(np.full((16, 16), 37.5, np.float32)), 'TIFF'),
    'nan.tiff': encoded(Image.fromarray(np.full((16, 16), np.nan, np.float32)), 'TIFF'),
}
GEOMETRY = {'wide.png': encoded(picture(2, (24, 16))), 'large.png': encoded(picture(3, (32, 32))), 'turned.jpg': rotated_by_exif()}
BOMBS = {'bomb.png': png_header(30000, 30000), 'sixty.png': png_header(8000, 8000)}
GOOD = {f'good{i}.png': encoded(picture(i)) for i in range(6)}


def run(source: Path, dest: Path | None = None, **options) -> tool.Report:
    return convert(ToolConfig(str(source), None if dest is None else str(dest), **options))


def message(source: Path, dest: Path | None = None, error: type[Exception] = DataError, **options) -> str:
    with pytest.raises(error) as caught:
        run(source, dest, **options)
    if dest is not None:
        assert not dest.exists()
        assert not list(dest.parent.glob('.tmp-*'))
    return str(caught.value)


@pytest.mark.parametrize('zipped', [False, True])
def test_strict_lists_every_bad_file(tmp_path: Path, zipped: bool) -> None:
    bad = NOT_IMAGES | LAYOUTS | HOPELESS | GEOMETRY | BOMBS
    source = write(tmp_path / 'source', GOOD | bad)
    (source / 'folder.png').mkdir()
    if zipped:
        with zipfile.ZipFile(tmp_path / 'source.zip', 'w') as archive:
            for path in sorted(source.rglob('*')):
                archive.write(path, path.relative_to(source))
        source = tmp_path / 'source.zip'
    text = message(source, tmp_path / 'out.zip', on_bad='strict')
    for name in [*bad, 'folder.png']:
        assert f'  {name}: ' in text, name
    assert not any(name in text for name in GOOD)


def test_convert_keeps_what_can_be_kept_and_counts_the_rest(tmp_path: Path) -> None:
    bad = NOT_IMAGES | HOPELESS | BOMBS
    source = write(tmp_path / 'source', GOOD | LAYOUTS | GEOMETRY | bad)
    report = run(source, tmp_path / 'out.zip', resolution=(16, 16), max_bad=0.9)
    assert report.count == len(GOOD | LAYOUTS | GEOMETRY)
    assert {p.where for p in report.dropped} == set(bad)
    assert report.mended['not square'] == 2
    assert report.mended['several frames'] == 1
    assert check(tmp_path / 'out.zip').count == report.count
    dataset = open_dataset(tmp_path / 'out.zip')
    assert all(dataset[i].image.shape == (3, 16, 16) for i in range(len(dataset)))


def test_too_many_dropped_files_are_refused(tmp_path: Path) -> None:
    source = write(tmp_path, GOOD | NOT_IMAGES)
    text = message(source, tmp_path / 'out.zip')
    assert all(name in text for name in NOT_IMAGES)
    assert '6 of 12 files' in text
    assert '--max-bad 0.5' in text
    assert run(source, tmp_path / 'out.zip', max_bad=0.5).count == len(GOOD)


def test_skip_leaves_out_whatever_is_not_plain(tmp_path: Path) -> None:
    source = write(tmp_path, GOOD | LAYOUTS | NOT_IMAGES | {'wide.png': GEOMETRY['wide.png']})
    report = run(source, tmp_path / 'out.zip', on_bad='skip', max_bad=1.0)
    assert report.count == len(GOOD)
    assert len({p.where for p in report.dropped}) == len(LAYOUTS | NOT_IMAGES) + 1
    assert '15 of 21' in message(source, tmp_path / 'two.zip', on_bad='skip')


def test_what_systems_leave_behind_is_ignored_with_a_count(tmp_path: Path) -> None:
    junk = ['._good0.png', '__MACOSX/good1.png', '.DS_Store', 'Thumbs.db', 'notes.txt', 'sub/.hidden.png']
    source = write(tmp_path / 'source', GOOD | dict.fromkeys(junk, b'\0\5\x16\7'))
    (source / 'linked.png').symlink_to(source / 'good0.png')
    (source / 'circle').symlink_to(source)
    report = run(source, tmp_path / 'out.zip', on_bad='strict')
    assert report.count == len(GOOD) + 1
    assert sum(report.ignored.values()) == 7
    assert 'ignored' in report.text()


def pixels_of(data: bytes, background: tuple[int, int, int] = (255, 255, 255)) -> np.ndarray:
    return np.asarray(decode(data, background))


def test_pixel_layouts_are_converted_exactly() -> None:
    assert (pixels_of(LAYOUTS['grey8.png']) == np.asarray(picture(0, mode='L'))[:, :, None]).all()
    assert (pixels_of(grey16()) == np.arange(256).reshape(16, 16, 1)).all()
    ramp = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16) + 77
    assert (pixels_of(encoded(Image.fromarray(ramp)))[:, :, 0] == np.round(ramp / 257)).all()
    assert (pixels_of(LAYOUTS['bilevel.png']) == np.asarray(picture(0, mode='1').convert('L'))[:, :, None]).all()
    assert (pixels_of(palette()) == np.asarray(picture().quantize(16).convert('RGB'))).all()
    assert np.array_equal(pixels_of(LAYOUTS['float.tiff'])[:, :, 0].ravel(), np.arange(256))
    first = Image.open(io.BytesIO(gif()))
    assert (pixels_of(gif()) == np.asarray(first.convert('RGB'))).all()


def test_transparency_over_the_stated_background() -> None:
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0], rgba[0, 1], rgba[1, 0] = (10, 20, 30, 255), (10, 20, 30, 0), (100, 0, 200, 128)
    out = pixels_of(encoded(Image.fromarray(rgba)), (0, 255, 50))
    assert out[0, 0].tolist() == [10, 20, 30]
    assert out[0, 1].tolist() == [0, 255, 50]
    assert out[1, 0].tolist() == [round(100 * 128 / 255), round(255 * 127 / 255), round((200 * 128 + 50 * 127) / 255)]
    keyed = encoded(Image.fromarray(rgba[:, :, :3]), transparency=(10, 20, 30))
    assert read_header(keyed, 50).layout == 'RGB with a transparent colour'
    assert pixels_of(keyed)[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize('channels', [2, 3, 4])
def test_sixteen_bit_colour_png(channels: int) -> None:
    rng = np.random.default_rng(0)
    smooth = (np.mgrid[:20, :15].sum(0)[:, :, None] * 1500 + np.arange(channels) * 4000).astype(np.uint16)
    values = smooth + rng.integers(0, 300, smooth.shape, dtype=np.uint16)
    body = b''
    above = [0] * (15 * channels * 2)
    for y, row in enumerate(values.astype('>u2')):
        line, pixel, kind = list(row.tobytes()), channels * 2, y % 5
        left, corner = [0] * pixel + line, [0] * pixel + above
        guess = {
            0: lambda i: 0, 1: lambda i: left[i], 2: lambda i: above[i], 3: lambda i: (left[i] + above[i]) // 2,  # noqa: B023
            4: lambda i: min((left[i], above[i], corner[i]), key=lambda v: abs(left[i] + above[i] - corner[i] - v)),  # noqa: B023
        }[kind]
        body += bytes([kind]) + bytes((line[i] - guess(i)) % 256 for i in range(len(line)))
        above = line
    header = struct.pack('>IIBBBBB', 15, 20, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    packed = zlib.compress(body)
    data = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', packed[:50]) + chunk(b'IDAT', packed[50:]) + chunk(b'IEND', b'')
    assert np.array_equal(read_png16(data), values)
    assert read_header(data, 50).layout == '16 bits per channel'
    if channels == 3:
        assert np.array_equal(pixels_of(data), np.round(values / 257))
    else:
        assert pixels_of(data).shape == (20, 15, 3)
    with pytest.raises(UnusableImage):
        decode(data[:-20], (0, 0, 0))


def cmyk_profile() -> bytes:
    """A minimal CMYK profile (ICC.1, lut8): lightness 1 - K, no colour."""
    clut = bytes(v for corner in range(16) for v in (0 if corner & 1 else 255, 128, 128))
    identity = bytes(range(256))
    matrix = struct.pack('>9i', *(65536 * (i % 4 == 0) for i in range(9)))
    lut = b'mft1' + bytes(4) + bytes([4, 3, 2, 0]) + matrix + identity * 4 + clut + identity * 3
    lut += bytes(-len(lut) % 4)
    size = 128 + 4 + 12 + len(lut)
    header = struct.pack('>I4sI4s4s4s', size, b'lcms', 0x02400000, b'prtr', b'CMYK', b'Lab ') + bytes(12) + b'acsp' + bytes(28)
    header += struct.pack('>3i', 63190, 65536, 54061)
    return header.ljust(128, b'\0') + struct.pack('>I4sII', 1, b'A2B0', 144, len(lut)) + lut


def test_cmyk_through_its_profile_or_not_at_all() -> None:
    inks = np.zeros((8, 8, 4), np.uint8)
    inks[:, 4:, 3] = 255
    image = Image.frombytes('CMYK', (8, 8), inks.tobytes())
    out = pixels_of(encoded(image, 'TIFF', icc_profile=cmyk_profile()))
    assert out[:, :4].min() > 245
    assert out[:, 4:].max() < 10
    for profile in (None, b'not a profile', cmyk_profile()[:150]):
        with pytest.raises(UnusableImage, match='CMYK'):
            decode(encoded(image, 'TIFF', icc_profile=profile), (0, 0, 0))


def test_exif_turns_the_picture() -> None:
    header = read_header(rotated_by_exif(), 50)
    assert (header.width, header.height, header.rotated) == (16, 24, True)
    upright = pixels_of(rotated_by_exif()).astype(int)
    assert np.abs(upright - np.rot90(np.asarray(picture(1, (24, 16))), -1)).mean() < 8


def test_bombs_are_never_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, 'load', lambda self: pytest.fail('pixels were decoded'))
    for name, data in BOMBS.items():
        text = message(write(tmp_path / name, {name: data}), on_bad='strict')
        assert 'megapixels' in text or 'enormous' in text


def test_a_png_with_two_headers_is_no_way_around_the_limit() -> None:
    large, small = (struct.pack('>IIBBBBB', size, size, 16, 2, 0, 0, 0) for size in (1500, 8))
    pixels = zlib.compress(bytes(1500 * (1500 * 6 + 1)))
    twice = b'\x89PNG\r\n\x1a\n' + b''.join(chunk(*part) for part in ((b'IHDR', large), (b'IHDR', small), (b'IDAT', pixels), (b'IEND', b'')))
    with pytest.raises(UnusableImage):
        read_header(twice, 1)
        decode(twice, (0, 0, 0))


def test_damaged_files_never_crash() -> None:
    rng = np.random.default_rng(1)
    seeds = [encoded(picture(), kind) for kind in ('PNG', 'JPEG', 'WEBP', 'BMP')]
    seeds += [gif(), LAYOUTS['float.tiff'], grey16(), rotated_by_exif()]
    outcomes = set()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for k in range(600):
            data = bytearray(seeds[k % len(seeds)])
            for _ in range(1 + k % 5):
                data[rng.integers(len(data))] = rng.integers(256)
            data = bytes(data[: rng.integers(1, len(data))] if k % 3 == 0 else data)
            try:
                header = read_header(data, 50)
                outcomes.add(decode(data, (0, 0, 0)).mode if header.width * header.height < 1e6 else 'large')
            except UnusableImage as error:
                outcomes.add('unusable')
                assert '\n' not in str(error)
    assert {'RGB', 'unusable'} <= outcomes


CAMERA = [float(v) for v in camera25(Pose(20, 10))]


def altered(**changes: float) -> list[float]:
    out = list(CAMERA)
    for key, value in changes.items():
        out[int(key[1:])] = value
    return out


def mirrored_camera() -> list[float]:
    return [-v if i in (0, 4, 8) else v for i, v in enumerate(CAMERA)]


def opengl_camera() -> list[float]:
    return [-v if i < 12 and i % 4 in (1, 2) else v for i, v in enumerate(CAMERA)]


def transposed_camera() -> list[float]:
    return [float(v) for v in np.array(CAMERA[:16]).reshape(4, 4).T.ravel()] + CAMERA[16:]


BAD_LABELS = {
    'string': '"cat"', 'fraction': '1.5', 'negative': '-1', 'huge': '1000000000', 'boolean': 'true', 'null': 'null', 'short': '[1, 2, 3]',
    'nested': '[[1], [2]]', 'object': '{"klass": 3}', 'empty': '{}', 'numbers as text': json.dumps([str(v) for v in CAMERA]),
    'class in object': '{"class": "cat", "camera": null}', 'camera is text': '{"class": 1, "camera": "front"}',
}
BAD_CAMERAS = {
    'nan': altered(c3=math.nan), 'infinity': altered(c16=math.inf), 'zero': [0.0] * 25, 'mirrored': mirrored_camera(),
    'sheared': altered(c1=0.5),
    'scaled 1000': altered(c3=CAMERA[3] * 1000, c7=CAMERA[7] * 1000, c11=CAMERA[11] * 1000), 'pixels': altered(c16=800.0, c20=800.0),
    'transposed': transposed_camera(), 'opengl': opengl_camera(), 'last row': altered(c24=0.0),
}


def labelled(folder: Path, labels: str, images: dict[str, bytes] = GOOD) -> Path:
    return write(folder, images | {'dataset.json': json_of(labels)})


def json_of(labels: str) -> bytes:
    return f'{{"labels": [\n{labels}\n]}}'.encode()


def entries(values: dict[str, str]) -> str:
    return ',\n'.join(f'["{name}", {value}]' for name, value in values.items())


@pytest.mark.parametrize('on_bad', ['strict', 'skip', 'convert'])
@pytest.mark.parametrize('case', [*BAD_LABELS, *BAD_CAMERAS])
def test_bad_labels_are_refused_in_every_mode(tmp_path: Path, case: str, on_bad: str) -> None:
    camera = case in BAD_CAMERAS
    good, bad = (json.dumps(CAMERA), json.dumps(BAD_CAMERAS[case])) if camera else ('0', BAD_LABELS[case])
    values = dict.fromkeys(GOOD, good) | {'good3.png': bad}
    text = message(labelled(tmp_path, entries(values)), tmp_path / 'out.zip', on_bad=on_bad)
    assert 'good3.png' in text
    assert 'dataset.json line 5' in text
    assert text.count('good') == 1 or not camera


def test_all_label_troubles_are_reported_at_once(tmp_path: Path) -> None:
    values = dict.fromkeys(GOOD, '1') | {'good1.png': '"a"', 'good4.png': '-3'}
    del values['good5.png']
    source = labelled(tmp_path, entries(values) + ',\n["good0.png", 2],\n["absent.png", 0],\n"odd",\n[]', GOOD | {'text.png': b'no image'})
    text = message(source, tmp_path / 'out.zip')
    expected = ['good1.png', 'good4.png', 'good5.png: has no label', 'good0.png): is labelled twice', 'absent.png', 'line 9', 'line 10']
    for words in [*expected, 'text.png: is not an image']:
        assert words in text, words


def test_labels_of_absent_images(tmp_path: Path) -> None:
    source = labelled(tmp_path, entries(dict.fromkeys(GOOD, '1') | {'absent.png': '1'}))
    assert 'absent.png' in message(source, tmp_path / 'out.zip', on_bad='strict')
    report = run(source, tmp_path / 'out.zip')
    assert (report.count, report.num_classes) == (len(GOOD), 2)
    assert report.ignored == {'labels without an image': 1}


@pytest.mark.parametrize('data', [
    b'{"labels": [', b'[1, 2]', b'{"labels": 3}', b'\xff\xfe\x00', b'[' * 100000, b'{"labels": null, "classes": [1]}', b'',
    b'{"labels": null, "sources": ["good0.png"]}', b'{"labels": null, "sources": {"good0.png": 3}}',
])
def test_broken_json(tmp_path: Path, data: bytes) -> None:
    assert 'dataset.json' in message(write(tmp_path, GOOD | {'dataset.json': data}), tmp_path / 'out.zip')


def test_labels_survive_the_conversion(tmp_path: Path) -> None:
    values = {name: json.dumps({'class': i % 3, 'camera': CAMERA}) for i, name in enumerate(GOOD)}
    run(labelled(tmp_path, entries(values)), tmp_path / 'out.zip')
    dataset = open_dataset(tmp_path / 'out.zip')
    assert (dataset.num_classes, dataset.has_cameras, len(dataset)) == (3, True, len(GOOD))
    for i in range(len(dataset)):
        assert dataset[i].class_id == i % 3
        assert np.array_equal(dataset[i].camera25, np.float32(CAMERA))
        assert np.array_equal(dataset[i].image.transpose(1, 2, 0), np.asarray(picture(i)))
    assert not open_dataset(run_to(tmp_path, classes='none')).num_classes


@pytest.mark.parametrize('labels', ['null', 'classes', 'cameras'])
def test_images_remember_the_files_that_they_were_made_from(tmp_path: Path, labels: str) -> None:
    value = {'null': 'null', 'classes': '1', 'cameras': json.dumps(CAMERA)}[labels]
    source = write(tmp_path, GOOD) if labels == 'null' else labelled(tmp_path, entries(dict.fromkeys(GOOD, value)))
    (source / 'good1.png').rename(source / 'Grüße "1".png') if labels == 'null' else None
    names = sorted(path.name for path in source.glob('*.png'))
    run(source, tmp_path / 'once.zip')
    run(tmp_path / 'once.zip', tmp_path / 'twice.zip')
    for made in ('once.zip', 'twice.zip'):
        dataset = open_dataset(tmp_path / made)
        assert [dataset.label(index).source for index in range(len(dataset))] == names
    assert open_dataset(source).label(0).source is None, 'it was made from nothing: it is the file'


def run_to(folder: Path, **options) -> Path:
    dest = folder / 'again.zip'
    run(folder, dest, overwrite=True, **options)
    return dest


def test_a_turned_picture_with_a_camera_is_refused(tmp_path: Path) -> None:
    names = [*GOOD, 'turned.jpg']
    source = labelled(tmp_path, entries(dict.fromkeys(names, json.dumps(CAMERA))), GOOD | {'turned.jpg': rotated_by_exif()})
    assert 'turned.jpg: has a camera and is rotated' in message(source, tmp_path / 'out.zip', resolution=(16, 16))


def zip_of(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, 'w', compression) as archive, warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of the duplicate names
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name.rstrip('*')), data, compress_type=compression)
    return path


@pytest.mark.parametrize('on_bad', ['strict', 'skip', 'convert'])
@pytest.mark.parametrize(('name', 'word'), [
    ('../evil.png', 'outside'), ('a/../../evil.png', 'outside'), ('/evil.png', 'absolute'), ('C:/evil.png', 'absolute'),
    ('a\\evil.png', 'backslash'), ('good0.png*', 'twice'),
])
def test_dangerous_names(tmp_path: Path, name: str, word: str, on_bad: str) -> None:
    before = set(tmp_path.parent.rglob('evil.png'))
    text = message(zip_of(tmp_path / 'a.zip', GOOD | {name: GOOD['good0.png']}), tmp_path / 'out.zip', on_bad=on_bad)
    assert word in text
    assert set(tmp_path.parent.rglob('evil.png')) == before
    with pytest.raises(DataError, match=word):
        open_dataset(tmp_path / 'a.zip')


def test_damaged_archives(tmp_path: Path) -> None:
    path = zip_of(tmp_path / 'a.zip', GOOD)
    data = path.read_bytes()
    for cut in (0, 10, len(data) // 2, len(data) - 5):
        path.write_bytes(data[:cut])
        assert 'not a whole zip' in message(path, tmp_path / 'out.zip')
    at = data.index(GOOD['good2.png']) + 60
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    for on_bad in ('strict', 'skip', 'convert'):
        assert 'good2.png: the archive is damaged here (Bad CRC-32' in message(path, tmp_path / 'out.zip', on_bad=on_bad)
    encrypted = bytearray(data)
    encrypted[data.index(b'PK\x03\x04') + 6] |= 1
    encrypted[data.index(b'PK\x01\x02') + 8] |= 1
    path.write_bytes(encrypted)
    assert 'good0.png: is encrypted' in message(path, tmp_path / 'out.zip')


def test_links_and_bombs_in_archives(tmp_path: Path) -> None:
    path = tmp_path / 'a.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in GOOD.items():
            archive.writestr(name, data)
        link = zipfile.ZipInfo('link.png')
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, '/etc/passwd')
        archive.writestr('bomb.bmp', bytes(20 << 20), zipfile.ZIP_DEFLATED)
    text = message(path, tmp_path / 'out.zip')
    assert 'link.png: is a symbolic link' in text
    assert 'bomb.bmp: unpacks to more than 200 times' in text


@pytest.mark.parametrize('method', [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_an_archive_that_lies_about_its_sizes(tmp_path: Path, method: int) -> None:
    path, lie = tmp_path / 'a.zip', struct.pack('<I', 1000)
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('bomb.bmp', bytes(200 << 20), method)
        honest = struct.pack('<I', archive.getinfo('bomb.bmp').file_size)
    path.write_bytes(path.read_bytes().replace(honest, lie))
    tracemalloc.start()
    text = message(path, tmp_path / 'out.zip')
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 'bomb.bmp' in text and peak < 20 << 20


def test_what_check_sees_is_what_training_sees(tmp_path: Path) -> None:
    labels = json_of(entries(dict.fromkeys(GOOD, '1')))
    wrapped = zip_of(tmp_path / 'wrapped.zip', {f'mine/{name}': data for name, data in (GOOD | {'dataset.json': labels}).items()})
    folders = write(tmp_path / 'folders', {f'{kind}/{name}': data for kind in ('cat', 'dog') for name, data in GOOD.items()})
    for path in (wrapped, folders):
        with pytest.raises(DataError, match=f'2 classes, of which training would see nothing.*--source {path}'):
            check(path)
        run(path, tmp_path / f'{path.stem}-made.zip')
        assert check(tmp_path / f'{path.stem}-made.zip').num_classes == open_dataset(tmp_path / f'{path.stem}-made.zip').num_classes == 2


def test_damaged_zips_and_labels_never_crash(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    labels = json_of(entries(dict.fromkeys(GOOD, json.dumps({'class': 1, 'camera': CAMERA}))))
    whole = zip_of(tmp_path / 'a.zip', GOOD | {'dataset.json': labels}).read_bytes()
    refused = 0
    for k in range(250):
        damaged = bytearray(whole if k % 2 else labels)
        for _ in range(1 + k % 4):
            damaged[rng.integers(len(damaged))] = rng.integers(256)
        if k % 2:
            (tmp_path / 'a.zip').write_bytes(damaged)
        else:
            zip_of(tmp_path / 'a.zip', GOOD | {'dataset.json': bytes(damaged)})
        try:
            run(tmp_path / 'a.zip')
        except UnposedError:
            refused += 1
    assert refused > 100


def tree(sizes: dict[str, int]) -> dict[str, bytes]:
    return {f'{folder}/{i}.png': encoded(picture(i + 10 * k)) for k, (folder, count) in enumerate(sizes.items()) for i in range(count)}


@pytest.mark.parametrize('wrapper', ['', 'wrapped/', 'a/b/'])
def test_class_folders(tmp_path: Path, wrapper: str) -> None:
    files = tree({'n02': 3, 'n01': 2, 'n10/images': 1}) | {'classes.json': b'{"n01": "fish", "n02": "bird", "n99": "none"}'}
    report = run(zip_of(tmp_path / 'a.zip', {wrapper + name: data for name, data in files.items()}), tmp_path / 'out.zip')
    assert report.class_names == ('fish', 'bird', 'n10')
    dataset = open_dataset(tmp_path / 'out.zip')
    assert [dataset[i].class_id for i in range(6)] == [0, 0, 1, 1, 1, 2]
    assert dataset.class_names == report.class_names


def test_folders_that_are_no_classes(tmp_path: Path) -> None:
    assert run(write(tmp_path / 'numbered', tree({'00000': 2, '00001': 2}))).num_classes == 0
    assert run(write(tmp_path / 'loose', tree({'a': 2, 'b': 1}) | GOOD)).num_classes == 0
    assert run(write(tmp_path / 'one', tree({'cats': 3}))).num_classes == 0
    assert run(tmp_path / 'one', classes='folder').class_names == ('cats',)
    assert 'splits (train, val)' in message(write(tmp_path / 'splits', tree({'train': 2, 'val': 1})), error=UsageError)
    assert 'has 6 outside' in message(tmp_path / 'loose', error=UsageError, classes='folder')


def test_max_images_takes_evenly_from_all_classes(tmp_path: Path) -> None:
    run(write(tmp_path / 'a', tree({'x': 8, 'y': 8, 'z': 8})), tmp_path / 'out.zip', max_images=6)
    dataset = open_dataset(tmp_path / 'out.zip')
    assert [dataset[i].class_id for i in range(6)] == [0, 0, 1, 1, 2, 2]


def test_sizes_need_a_resolution(tmp_path: Path) -> None:
    source = write(tmp_path / 'a', GOOD | {'large.png': GEOMETRY['large.png']})
    assert '16x16 (6), 32x32 (1)' in message(source, tmp_path / 'out.zip', error=UsageError)


@pytest.mark.parametrize(('transform', 'size', 'resolution'), [
    ('center-crop', (40, 24), (16, 16)), ('center-crop', (24, 41), None), ('pad', (40, 24), (16, 16)), ('pad', (24, 40), None),
    ('center-crop-wide', (40, 40), (32, 20)), ('center-crop-wide', (64, 20), (32, 20)),
])
def test_a_pixel_keeps_its_ray(transform: str, size: tuple[int, int], resolution: tuple[int, int] | None) -> None:
    """Cropping, scaling and padding change pixels and intrinsics together: a point of the picture is still seen along the same ray."""
    framing = frame(size, transform, resolution)
    k = np.array([[1.3, 0.02, 0.45], [0.0, 1.3 * size[0] / size[1], 0.53], [0, 0, 1]])
    column, row = np.array([size[0] * 0.5, size[0] * 0.6]), np.array([size[1] * 0.5, size[1] * 0.4])
    directions = np.linalg.solve(k, np.stack([column / size[0], row / size[1], np.ones(2)]))
    u, v, _ = framing.intrinsics(k) @ directions
    left, top, width, height = framing.crop
    x = (column - left) * framing.scaled[0] / width + framing.place[0]
    y = (row - top) * framing.scaled[1] / height + framing.place[1]
    assert np.allclose(u * framing.canvas[0], x)
    assert np.allclose(v * framing.canvas[1], y)
    assert framing.canvas[0] == framing.canvas[1]
    assert framing.apply(picture(0, size), (0, 0, 0)).size == framing.canvas


def test_framing_moves_the_picture_where_the_rays_say() -> None:
    image = Image.new('RGB', (60, 40))
    image.paste((255, 255, 255), (38, 8, 42, 12))
    for transform, resolution in (('center-crop', (20, 20)), ('pad', (30, 30)), ('center-crop-wide', (30, 15))):
        framing = frame(image.size, transform, resolution)
        out = np.asarray(framing.apply(image, (0, 0, 0)), dtype=float)[:, :, 0]
        y, x = np.indices(out.shape) + 0.5
        centre = np.array([(x * out).sum(), (y * out).sum()]) / out.sum() / framing.canvas
        expected = framing.intrinsics(np.eye(3)) @ (40 / 60, 10 / 40, 1)
        assert np.abs(centre - expected[:2]).max() < 0.01, transform


def test_nerf_cameras(tmp_path: Path) -> None:
    yaw = torch.tensor([0.0, 0.7, -2.0])
    cameras = orbit(yaw, torch.tensor([0.1, 0.5, -0.2]), 3.0, focal=1.4)
    k = cameras.intrinsics.clone()
    k[:, 1, 1] *= 24 / 16  # square pixels in a picture of 24x16
    wide = Camera(cameras.world_from_camera, k)
    document = to_nerf_json(wide, [f'./train/r_{i}' for i in range(3)], 24, 16)
    files = {f'train/r_{i}.png': encoded(picture(i, (24, 16))) for i in range(3)} | {'train/r_0_depth.png': encoded(picture(9, (24, 16)))}
    files['transforms_train.json'] = json.dumps(document).encode()
    report = run(write(tmp_path / 'nerf', files), tmp_path / 'out.zip', resolution=(8, 8))
    assert (report.count, report.has_cameras, report.num_classes) == (3, True, 0)
    assert report.ignored['images that no transforms.json lists'] == 1
    dataset = open_dataset(tmp_path / 'out.zip')
    for i in range(3):
        numbers = dataset[i].camera25
        assert np.allclose(numbers[:16].reshape(4, 4), cameras.world_from_camera[i], atol=1e-5)
        # The centred square of a 24x16 picture has focal length 1.4 * 24 / 16 in units of its own side.
        assert np.allclose(numbers[16:].reshape(3, 3), [[2.1, 0, 0.5], [0, 2.1, 0.5], [0, 0, 1]], atol=1e-5)
    del document['frames'][0]['transform_matrix']
    (tmp_path / 'nerf' / 'transforms_train.json').write_text(json.dumps(document))
    assert 'transform_matrix' in message(tmp_path / 'nerf', tmp_path / 'out2.zip', resolution=(8, 8))
    document['frames'][0]['transform_matrix'] = [[1, 2], 'x']
    (tmp_path / 'nerf' / 'transforms_train.json').write_text(json.dumps(document))
    assert 'transforms_train.json' in message(tmp_path / 'nerf', tmp_path / 'out2.zip', resolution=(8, 8))


def test_the_result_is_the_same_whoever_works(tmp_path: Path) -> None:
    source = write(tmp_path / 'a', GOOD | LAYOUTS | GEOMETRY)
    for i, workers in enumerate((1, 3, 8)):
        run(source, tmp_path / f'{i}.zip', workers=workers, resolution=(8, 8))
    first = (tmp_path / '0.zip').read_bytes()
    assert first == (tmp_path / '1.zip').read_bytes() == (tmp_path / '2.zip').read_bytes()
    with zipfile.ZipFile(tmp_path / '0.zip') as archive:
        assert all(info.compress_type == zipfile.ZIP_STORED and info.date_time[0] == 1980 for info in archive.infolist())
        assert archive.namelist()[0] == '00000/img00000000.png'
    run(source, tmp_path / 'folder', resolution=(8, 8))
    stored, unpacked = open_dataset(tmp_path / '0.zip'), open_dataset(tmp_path / 'folder')
    assert all(np.array_equal(stored[i].image, unpacked[i].image) for i in range(len(stored)))
    assert check(tmp_path / 'folder').count == len(stored) == len(unpacked)


@pytest.mark.parametrize('dest', ['out.zip', 'out'])
@pytest.mark.parametrize('trouble', [KeyboardInterrupt(), OSError(errno.ENOSPC, 'No space left on device')])
def test_nothing_is_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dest: str, trouble: BaseException) -> None:
    source = write(tmp_path / 'a', GOOD)
    (tmp_path / 'out.zip').write_bytes(b'the old one')
    calls = []

    def fail(self, name: str, data: bytes) -> None:
        calls.append(name)
        if len(calls) == 4:
            raise trouble

    from training.data import writer

    monkeypatch.setattr(writer._ZipWriter, 'add_file', fail)
    monkeypatch.setattr(writer._FolderWriter, 'add_file', fail)
    with pytest.raises(KeyboardInterrupt if isinstance(trouble, KeyboardInterrupt) else StorageError):
        run(source, tmp_path / dest, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a', 'out.zip']
    assert (tmp_path / 'out.zip').read_bytes() == b'the old one'


def test_destinations(tmp_path: Path) -> None:
    source = write(tmp_path / 'a', GOOD)
    dest = run_to(source)
    with pytest.raises(UsageError, match='--overwrite'):
        run(source, dest)
    with pytest.raises(UsageError, match='inside the source'):
        run(source, source / 'folder')
    with pytest.raises(UsageError, match='source itself'):
        run(dest, dest, overwrite=True)
    with pytest.raises(StorageError, match='does not exist'):
        run(source, tmp_path / 'no' / 'where.zip')
    run(source, tmp_path / 'b')
    run(source, tmp_path / 'b', overwrite=True, max_images=2)
    assert len(open_dataset(tmp_path / 'b')) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a', 'b']


def test_a_stored_set_is_read_strictly(tmp_path: Path) -> None:
    write(tmp_path / 'a', GOOD)
    dataset = open_dataset(tmp_path / 'a')
    assert (len(dataset), dataset.resolution, dataset.num_classes, dataset.has_cameras) == (6, 16, 0, False)
    (tmp_path / 'a' / 'good3.png').write_bytes(LAYOUTS['grey8.png'])
    with pytest.raises(DataError, match=r'good3.png is L 16x16'):
        dataset[3]
    (tmp_path / 'a' / 'good4.png').write_bytes(NOT_IMAGES['cut.png'])
    with pytest.raises(DataError, match=r'good4.png (cannot be decoded|is not an image)'):
        dataset[4]
    text = message(tmp_path / 'a', on_bad='strict')
    assert 'good3.png' in text
    assert 'good4.png' in text
    with pytest.raises(DataError, match='no images'):
        open_dataset(write(tmp_path / 'empty', {'x.txt': b''}))
    with pytest.raises(MissingInputError):
        open_dataset(tmp_path / 'nowhere')
    with pytest.raises(UsageError, match='neither'):
        open_dataset(tmp_path / 'a' / 'good0.png')


def test_fingerprints(tmp_path: Path) -> None:
    a, b = zip_of(tmp_path / 'a.zip', GOOD), zip_of(tmp_path / 'b.zip', GOOD)
    changed = zip_of(tmp_path / 'c.zip', GOOD | {'good2.png': encoded(picture(2).rotate(90))})
    assert open_dataset(a).fingerprint() == open_dataset(b).fingerprint() != open_dataset(changed).fingerprint()
    # Stored PNGs of one size are files of one size.
    run(a, tmp_path / 'folder'), run(changed, tmp_path / 'other'), run(b, tmp_path / 'same')
    sizes = [[path.stat().st_size for path in sorted((tmp_path / where).rglob('*.png'))] for where in ('folder', 'other')]
    assert sizes[0] == sizes[1] and len(set(sizes[0])) == 1
    folder, other, same = (open_dataset(tmp_path / where).fingerprint() for where in ('folder', 'other', 'same'))
    assert folder == same != other


def test_a_forked_reader_has_its_own_handle(tmp_path: Path) -> None:
    import multiprocessing
    import pickle

    dataset = open_dataset(zip_of(tmp_path / 'a.zip', GOOD))
    expected = [dataset[i].image.sum() for i in range(6)]
    with multiprocessing.get_context('fork').Pool(2) as pool:
        assert pool.map(functools.partial(_sum_of, dataset), [0, 1, 2, 3, 4, 5] * 5) == expected * 5
    assert pickle.loads(pickle.dumps(dataset))[2].image.sum() == expected[2]


def _sum_of(dataset, index: int) -> int:
    return dataset[index].image.sum()


def test_synthetic_to_zip(tmp_path: Path) -> None:
    name = 'synthetic:car,mug?resolution=8&count=5&poses=uniform'
    report = convert(ToolConfig(name, str(tmp_path / 'out.zip')))
    assert (report.count, report.num_classes, report.has_cameras) == (5, 2, True)
    stored, drawn = open_dataset(tmp_path / 'out.zip'), open_dataset(name)
    assert stored.class_names == ('car', 'mug')
    for i in range(5):
        assert np.array_equal(stored[i].image, drawn[i].image)
        assert np.array_equal(stored[i].camera25, drawn[i].camera25)
        assert stored[i].class_id == drawn[i].class_id


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        command_line(functools.partial(dataset_tool.main.main, list(arguments), standalone_mode=False))()
    return caught.value.code or 0


def test_the_door(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, dest = str(write(tmp_path / 'a', GOOD)), str(tmp_path / 'out.zip')
    assert command('--source', source, '--dest', dest, '--resolution', '8x8', '--background', '#102030') == 0
    assert 'wrote' in capsys.readouterr().out
    assert command('--check', dest) == 0
    assert 'is fine: 6 images, 8x8, no classes, no cameras' in capsys.readouterr().out
    assert command('--source', source, '--dest', dest) == 64
    assert command('--source', source) == 64
    assert command('--check', dest, '--source', source) == 64
    wrong = ('--resolution 8', '--resolution 8x4', '--background blueish', '--on-bad pray', '--workers 0', '--max-bad 2')
    for options in wrong:
        assert command('--source', source, '--dest', str(tmp_path / 'b.zip'), *options.split()) == 64
    assert command('--source', str(tmp_path / 'nothing'), '--dest', str(tmp_path / 'b.zip')) == 66
    assert command('--source', source, '--dest', str(tmp_path / 'no' / 'b.zip')) == 74
    (tmp_path / 'a' / 'bad.png').write_bytes(b'')
    assert command('--source', source, '--dest', str(tmp_path / 'b.zip'), '--on-bad', 'strict') == 65
    assert 'bad.png: is empty' in capsys.readouterr().err
    assert command('--check', source) == 65
    assert command('--help') == 0


@pytest.mark.parametrize('name', ['photos', 'tiny-imagenet-20.zip'])
def test_photographs(tmp_path: Path, name: str) -> None:
    if not (REAL / name).exists():
        write(tmp_path / 'photos', {f'{i}.png': encoded(picture(i, (30 + i, 40))) for i in range(5)})
        assert run(tmp_path / 'photos', tmp_path / 'out.zip', resolution=(32, 32)).count == 5
        return
    source = open_source(REAL / name)
    report = run(REAL / name, tmp_path / 'out.zip', resolution=(32, 32), max_images=30, on_bad='convert')
    assert report.count == 30
    assert report.num_classes == (20 if 'tiny' in name else 0)
    assert len(source.names) >= 30
    assert check(tmp_path / 'out.zip').resolution == (32, 32)
