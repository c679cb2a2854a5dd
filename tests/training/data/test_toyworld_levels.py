"""Backgrounds of toyworld: one direction has one colour up to L2, every camera has its own clutter at L3, the same bits everywhere."""

import hashlib
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dnnlib.errors import MissingInputError, UsageError
from training.cameras.convention import from_eg3d
from training.data.archive import open_dataset
from training.data.synthetic import SyntheticConfig, parse_spec
from training.data.toyworld.background import BACKGROUNDS, CLUTTER_LEAVES, CLUTTER_SIZES
from training.data.toyworld.cubemap import CubeMap, Faces, _equiangular
from training.data.toyworld.leaves import draw_leaves
from training.data.toyworld.numbers import Draws
from training.data.toyworld.poses import Pose, camera25
from training.data.toyworld.tracer import View, ray_directions
from training.data.toyworld.world import Toyworld, ToyworldConfig, render_scenes, view_of

PINNED = {
    'background=texture&resolution=16&count=12': 'e7b2de0f',
    'background=clutter&resolution=16&count=12&poses=uniform': 'a5068233',
    'background=texture&style=carved&resolution=16&count=8&poses=sphere&seed=2': '83359a57',
    'background=photo&resolution=16&count=12&poses=uniform&photos=': 'd86593ff',
}
PHOTOS, SIZE = 5, 24


@pytest.fixture(scope='module')
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photographs without noise from a library: photo k has the red 40 k, and a pattern in green and blue."""
    folder = tmp_path_factory.mktemp('many photos=?')
    row, column = np.mgrid[:SIZE, :SIZE]
    for k in range(PHOTOS):
        green, blue = (row * row + 7 * k * column) % 256, (column * (k + 3) * row) % 256
        Image.fromarray(np.stack([np.full_like(row, 40 * k), green, blue], -1).astype(np.uint8)).save(folder / f'{k}.png')
    return folder


def backgrounds(photos: Path, kind: str, count: int = 3) -> list:
    world = Toyworld(ToyworldConfig(background=kind), open_dataset(photos) if kind == 'photo' else None)
    return [world.scene(i).background for i in range(count)]


@pytest.mark.parametrize('query', PINNED)
def test_bits_are_pinned(query: str, photos: Path) -> None:
    dataset = open_dataset(f'synthetic:toyworld8?{query}' + (str(photos) if query.endswith('photos=') else ''))
    digest = hashlib.sha256()
    with ThreadPoolExecutor(3) as pool:
        for item in pool.map(dataset.__getitem__, range(len(dataset))):
            digest.update(item.image.tobytes() + item.camera25.tobytes() + str(item.class_id).encode())
    assert digest.hexdigest()[:8] == PINNED[query], 'the pictures have changed: raise BITS in training/data/synthetic.py and pin them anew'


@pytest.mark.parametrize('kind', BACKGROUNDS)
def test_one_direction_has_one_colour_unless_it_is_clutter(kind: str, photos: Path) -> None:
    here = view_of(camera25(Pose(20, 10)))
    elsewhere = View(here.world_from_camera + np.array([[0, 0, 0, 0.7], [0, 0, 0, -0.2], [0, 0, 0, 0.4], [0, 0, 0, 0]]), here.intrinsics)
    turned, side, fine = view_of(camera25(Pose(31, 17))), 24, 480
    differences = []
    for background in backgrounds(photos, kind):
        a = background.seen(here, side)
        assert a.shape == (side * side, 3)
        assert (a >= 0).all()
        assert (a <= 1).all()
        assert np.array_equal(a, background.seen(here, side))
        if kind != 'clutter':
            assert np.array_equal(a, background.seen(elsewhere, side)), 'a far background does not move with the camera'
        else:
            assert np.abs(a - background.seen(elsewhere, side)).mean() > 0.08
        # The same directions among the pixels of a camera that looks another way.
        local = ray_directions(here, side) @ turned.world_from_camera[:3, :3]
        u, v = (turned.intrinsics[k, k] * local[:, k] / local[:, 2] + 0.5 for k in (0, 1))
        both = (u > 0) & (u < 1) & (v > 0) & (v < 1)
        assert 0.2 < both.mean() < 0.9
        b = background.seen(turned, fine).reshape(fine, fine, 3)[(v[both] * fine).astype(int), (u[both] * fine).astype(int)]
        differences.append(np.median(np.abs(b - a[both])))
    assert np.mean(differences) > 0.08 if kind == 'clutter' else max(differences) < 0.01, differences


@pytest.mark.parametrize('kind', BACKGROUNDS)
def test_the_resolution_does_not_change_the_scene(kind: str, photos: Path) -> None:
    view = view_of(camera25(Pose(-50, 30)))
    for background in backgrounds(photos, kind):
        coarse, fine = (background.seen(view, side).reshape(side, side, 3) for side in (20, 60))
        # The middle of a pixel is the middle of the middle one of nine.
        assert (np.abs(coarse - fine[1::3, 1::3]).max(-1) < 1e-9).mean() > 0.99


@pytest.mark.parametrize('kind', ['photo', 'texture', 'clutter'])
def test_scenes_have_other_backgrounds(kind: str, photos: Path) -> None:
    view = view_of(camera25(Pose(0, 10)))
    one, two, three = (background.seen(view, 24) for background in backgrounds(photos, kind))
    assert min(np.abs(one - two).mean(), np.abs(two - three).mean(), np.abs(one - three).mean()) > 0.05
    assert one.reshape(24, 24, 3).std((0, 1)).max() > 0.05, 'there is something to see'


def test_clutter_belongs_to_scene_and_camera() -> None:
    dataset = open_dataset('synthetic:toyworld8?background=clutter&resolution=16&count=4&poses=uniform')
    camera = from_eg3d(torch.from_numpy(np.stack([dataset[i].camera25 for i in range(4)])))
    scenes = [dataset.world.scene(i) for i in range(4)]
    assert np.array_equal(render_scenes(scenes, camera, 16).image, np.stack([dataset[i].image for i in range(4)]))
    label = camera25(Pose(0, 0))
    assert (label == 0).any()
    negative = np.where(label == 0, np.float32(-0.0), label)
    seen = [scenes[0].background.seen(view_of(x), 8) for x in (label, negative, np.nextafter(label, np.float32(9)))]
    assert np.array_equal(seen[0], seen[1]), 'equal numbers are one camera'
    assert np.abs(seen[0] - seen[2]).mean() > 0.05, 'the next float is another one'


def test_leaves_against_brute_force() -> None:
    leaves = draw_leaves(Draws(0, 1), 'a', CLUTTER_LEAVES, CLUTTER_SIZES)
    centres = (np.arange(37) + 0.5) / 37
    picture = leaves.painted(centres)
    covered = 0
    for row, column in [(r, c) for r in range(0, 37, 2) for c in range(1, 37, 2)]:
        point = np.array([centres[column], centres[row], 1.0])
        owner = CLUTTER_LEAVES
        for k in range(CLUTTER_LEAVES):
            a, b = leaves.frames[k] @ point
            if (math.hypot(a, b) if leaves.discs[k] else max(abs(a), abs(b))) < 1:
                owner = k
        covered += owner < CLUTTER_LEAVES
        along = float(leaves.frames[owner, 0] @ point)
        dark = leaves.stripes[owner] != 0 and (leaves.stripes[owner] * along) % 1 < 0.5
        expected = np.clip(leaves.colours[owner] * (1 + leaves.slopes[owner] * along) * (0.6 if dark else 1), 0, 1)
        assert np.allclose(picture[row, column], expected, atol=1e-12), (row, column)
    assert covered > 200
    widths = 1 / np.linalg.norm(leaves.frames[:-1, :, :2], axis=2).min(1)
    assert CLUTTER_SIZES[0] - 1e-12 < widths.min()
    assert widths.max() < CLUTTER_SIZES[1] + 1e-12


@dataclass(frozen=True)
class Marked(Faces):
    """Face k is (k + 1) / 8 in red; green grows to the right, blue downwards."""

    def face(self, number: int) -> np.ndarray:
        v, u = (np.mgrid[:64, :64] + 0.5) / 64
        return np.stack([np.full_like(u, (number + 1) / 8), u, v], -1)


def test_faces_of_the_cube_are_upright_and_equiangular() -> None:
    cube = CubeMap((1.0, 0.0), Marked())
    walls = [(1, 0, 0), (0, 0, 1), (-1, 0, 0), (0, 0, -1)]
    for k, (x, _, z) in enumerate(walls):
        right = np.array([-z, 0, x])  # of somebody who stands upright and looks at the wall
        for across, down in [(0, 0), (0.6, 0.2), (-0.3, -0.7)]:
            direction = np.array([x, 0.0, z]) + across * right + np.array([0, -down, 0])
            red, green, blue = cube.colours(direction[None])[0]
            assert red == (k + 1) / 8
            assert abs(green - (0.5 + 2 / math.pi * math.atan(across))) < 0.003
            assert abs(blue - (0.5 + 2 / math.pi * math.atan(down))) < 0.003
    assert [cube.colours(np.array([[0.1, y, 0.2]]))[0, 0] * 8 for y in (1.0, -1.0)] == [5, 6]
    t = np.linspace(-1, 1, 1001)
    assert np.abs(_equiangular(t) - (0.5 + 2 / math.pi * np.arctan(t))).max() < 0.0025
    turned = CubeMap((0.6, 0.8), Marked())
    d = np.random.default_rng(0).normal(size=(500, 3))
    back = np.stack([0.6 * d[:, 0] - 0.8 * d[:, 2], d[:, 1], 0.8 * d[:, 0] + 0.6 * d[:, 2]], 1)
    assert np.allclose(turned.colours(d), cube.colours(back))
    assert np.allclose(cube.colours(3 * d), cube.colours(d))


def test_photographs_are_what_is_seen(photos: Path) -> None:
    """Every photograph has a red of its own, which bilinear weights keep: only these are seen, and in the end all of them."""
    reds = set()
    for background in backgrounds(photos, 'photo', 12):
        seen = background.seen(view_of(camera25(Pose(0, 20))), 16)[:, 0] * 255
        assert np.abs(seen - 40 * np.round(seen / 40)).max() < 1e-9
        reds |= set(np.round(seen / 40).astype(int).tolist())
    assert reds == set(range(PHOTOS))


def test_the_fingerprint_knows_the_photographs(photos: Path, tmp_path: Path) -> None:
    spec = f'synthetic:car?background=photo&resolution=8&count=2&photos={photos}'
    other, same = tmp_path / 'other', tmp_path / 'same'
    for folder in (other, same):
        folder.mkdir()
        for k in range(PHOTOS):
            (folder / f'{k}.png').write_bytes((photos / f'{k}.png').read_bytes())
    Image.new('RGB', (SIZE, SIZE)).save(other / '5.png')
    first, second, third = (open_dataset(spec.replace(str(photos), str(folder))) for folder in (photos, same, other))
    assert first.fingerprint() == second.fingerprint() == open_dataset(spec).fingerprint()
    assert np.array_equal(first[1].image, second[1].image)
    assert first.fingerprint() != third.fingerprint()
    assert first.fingerprint() != open_dataset(spec.replace('count=2', 'count=3')).fingerprint()


def test_photos_in_names(photos: Path, tmp_path: Path) -> None:
    spec = f'synthetic:car?photos={photos}&background=photo'
    assert parse_spec(spec).photos == str(photos)
    assert parse_spec(parse_spec(spec).spec()) == parse_spec(spec)
    assert 'photos' not in parse_spec('synthetic:car').spec()
    for bad in ('synthetic:car?background=photo', f'synthetic:car?photos={photos}', f'synthetic:car?background=env&photos={photos}'):
        with pytest.raises(UsageError, match='background=photo'):
            open_dataset(bad)
    with pytest.raises(UsageError, match='background photo'):
        Toyworld(ToyworldConfig(background='photo'))
    with pytest.raises(UsageError, match="'&'"):
        replace(SyntheticConfig(('car',)), background='photo', photos='a&b')
    with pytest.raises(MissingInputError):
        open_dataset(f'synthetic:car?background=photo&photos={tmp_path / "nothing"}')
