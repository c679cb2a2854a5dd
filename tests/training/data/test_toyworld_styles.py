"""Styles, maps and labels of toyworld: the carved style looks different and is as true as the plain one; mapped scenes too."""

import hashlib
import json

import numpy as np
import pytest
import torch

from dnnlib.errors import UsageError
from training.cameras.camera import Camera
from training.cameras.convention import from_eg3d
from training.cameras.rays import rays
from training.data.archive import open_dataset
from training.data.synthetic_source import SyntheticSource
from training.data.toyworld.affine import moved
from training.data.toyworld.catalogue import CATALOGUE
from training.data.toyworld.grain import CHECKS, SMOOTH, SPECKLES, STRIPES, Grain, grained
from training.data.toyworld.polyhedra import CARVED, CHAMFERED, GEM, HEXAGONAL, POLYHEDRA
from training.data.toyworld.poses import Pose, camera25
from training.data.toyworld.shapes import BOX, CYLINDER, ELLIPSOID
from training.data.toyworld.world import Scene, Toyworld, ToyworldConfig, render_scenes

PINNED = {
    'synthetic:toyworld8?style=carved&resolution=16&count=24': 'eaecaa1b',
    'synthetic:head?style=carved&background=clutter&poses=sphere&resolution=16&count=8&seed=3': 'd55aeb39',
    'synthetic:toyworld8?resolution=16&count=24&cameras=shuffled': '772c9734',
}
SQUASHED = np.array([[0.8, 0.2, 0.1, 0.05], [-0.1, 1.1, 0.0, -0.1], [0.3, 0.0, 0.4, 0.1]])
MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])


def only(name: str, style: str = 'carved', seed: int = 2) -> Toyworld:
    return Toyworld(ToyworldConfig(classes=(name,), seed=seed, style=style))


def camera_at(azimuth: float, elevation: float) -> Camera:
    return from_eg3d(torch.from_numpy(camera25(Pose(azimuth, elevation))[None]))


@pytest.mark.parametrize('spec', PINNED)
def test_bits_are_pinned(spec: str) -> None:
    dataset = open_dataset(spec)
    digest = hashlib.sha256()
    for i in range(len(dataset)):
        item = dataset[i]
        digest.update(item.image.tobytes() + item.camera25.tobytes() + str(item.class_id).encode())
    assert digest.hexdigest()[:8] == PINNED[spec], 'the pictures have changed: raise BITS in training/data/synthetic.py and pin them anew'


def inside(scene: Scene, points: np.ndarray) -> np.ndarray:
    """Whether points [K, 3] lie in any part: by membership, not by intersection, and not by the tables of slabs."""
    hit = np.zeros(len(points), dtype=bool)
    for kind, matrix in zip(scene.parts.kinds, scene.parts.local_from_world, strict=True):
        x, y, z = np.abs(points @ matrix[:, :3].T + matrix[:, 3]).T
        cube = np.maximum(np.maximum(x, y), z) < 1
        hit |= {
            ELLIPSOID: x * x + y * y + z * z < 1,
            BOX: cube,
            CYLINDER: (x * x + z * z < 1) & (y < 1),
            GEM: cube & (x + y + z < 1.2),
            CHAMFERED: cube & (x + y < 1.6) & (y + z < 1.6) & (z + x < 1.6),
            # A hexagon with corners on the unit circle at 0, 60, ... degrees: below the line through two corners, and below their height.
            HEXAGONAL: (y < 1) & (z < np.sin(np.pi / 3)) & (z < np.sqrt(3) * (1 - x)),
        }[int(kind)]
    return hit


@pytest.mark.parametrize('change', ['none', 'squashed', 'mirrored'])
@pytest.mark.parametrize('name', CATALOGUE)
def test_truth_against_brute_force(name: str, change: str) -> None:
    side, camera = 20, camera_at(35, 20).to(torch.float64)
    scene, back = only(name).scene(3), np.eye(4)
    if change != 'none':
        scene = only(name, 'plain').scene(3) if change == 'squashed' else scene
        forth = np.vstack([SQUASHED, [0, 0, 0, 1]]) if change == 'squashed' else MIRROR
        back = np.linalg.inv(forth)
    unmoved, scene = scene, scene if change == 'none' else moved(scene, forth)
    truth = render_scenes([scene], camera, side)
    bundle = rays(camera, side)
    origins, directions = bundle.origins[0].numpy(), bundle.directions[0].numpy()
    distance = truth.distance[0, 0].ravel().astype(np.float64)
    hit = np.isfinite(distance)

    def taken(points: np.ndarray) -> np.ndarray:
        return inside(unmoved, points.reshape(-1, 3) @ back[:3, :3].T + back[:3, 3]).reshape(points.shape[:-1])

    steps = np.linspace(1.2, 4.2, 1001)
    along = taken(origins[:, None] + steps[None, :, None] * directions[:, None])
    first = np.where(along.any(1), steps[along.argmax(1)], np.inf)
    found = np.isfinite(first)
    assert 0.03 < hit.mean() < 0.7
    assert not (found & ~hit).any()
    assert np.mean(~found[hit]) < 0.1
    behind = first[found] - distance[found]
    assert behind.min() >= -1e-6
    assert np.quantile(behind, 0.9) <= 0.003 + 1e-6
    points, normals = origins[hit] + distance[hit, None] * directions[hit], truth.normals[0].reshape(3, -1).T[hit]
    assert not taken(points - 1e-5 * directions[hit]).any()
    assert taken(points + 1e-5 * directions[hit]).mean() > 0.97
    assert taken(points - 1e-5 * normals).mean() > 0.97
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    assert ((normals * directions[hit]).sum(1) < 1e-6).all()


@pytest.mark.parametrize(('style', 'change'), [('carved', None), ('carved', SQUASHED), ('plain', SQUASHED), ('plain', MIRROR)])
def test_normals_agree_with_the_depth(style: str, change: np.ndarray | None) -> None:
    side, camera = 160, camera_at(-40, 25)
    scenes = [only(name, style).scene(1) for name in ('car', 'head', 'mug', 'boat')]
    scenes = scenes if change is None else [moved(scene, change) for scene in scenes]
    truth = render_scenes(scenes, camera, side)
    bundle = rays(camera.to(torch.float64), side)
    points = bundle.origins[0].numpy() + truth.distance.reshape(len(scenes), -1, 1) * bundle.directions[0].numpy()
    points, normals = points.reshape(-1, side, side, 3), truth.normals.transpose(0, 2, 3, 1)
    right, left, down, up = points[:, 1:-1, 2:], points[:, 1:-1, :-2], points[:, 2:, 1:-1], points[:, :-2, 1:-1]
    # Where the four neighbours are on one smooth face: their normals nearly agree, and the depth has no step and no kink.
    around = [normals[:, 1:-1, 2:], normals[:, 1:-1, :-2], normals[:, 2:, 1:-1], normals[:, :-2, 1:-1]]
    centre = normals[:, 1:-1, 1:-1]
    smooth = np.all([(n * centre).sum(-1) > 0.995 for n in around], axis=0)
    with np.errstate(invalid='ignore'):
        across, along, middle = right - left, down - up, points[:, 1:-1, 1:-1]
        for a, b, step in ((right, left, across), (down, up, along)):
            smooth &= np.linalg.norm(a + b - 2 * middle, axis=-1) < 0.05 * np.linalg.norm(step, axis=-1)
    by_depth = np.cross(along[smooth], across[smooth])
    by_depth /= np.linalg.norm(by_depth, axis=1, keepdims=True)
    assert smooth.sum() > 5000
    cosine = (by_depth * centre[smooth]).sum(1)
    assert np.quantile(cosine, 0.02) > 0.995, np.quantile(cosine, [0.001, 0.01, 0.02, 0.1])
    assert np.median(cosine) > 0.9999


def test_moving_a_scene_is_moving_the_camera_the_other_way() -> None:
    c, s = np.cos(0.4), np.sin(0.4)
    motion = np.array([[c, 0, s, 0.1], [0, 1, 0, -0.05], [-s, 0, c, 0.2], [0, 0, 0, 1]])
    camera = camera_at(10, 15).to(torch.float64)
    back = Camera(torch.from_numpy(np.linalg.inv(motion))[None] @ camera.world_from_camera, camera.intrinsics)
    for style in ('plain', 'carved'):
        scene = only('dog', style).scene(0)
        a, b = render_scenes([moved(scene, motion)], camera, 48), render_scenes([scene], back, 48)
        same = np.isclose(a.depth, b.depth, atol=1e-5) | (np.isinf(a.depth) & np.isinf(b.depth))
        assert same.mean() > 0.999
        turned = np.einsum('ij,njhw->nihw', motion[:3, :3], b.normals)
        assert np.median(np.abs(a.normals - turned)[np.isfinite(a.depth).repeat(3, 1)]) < 1e-5
        still = render_scenes([moved(scene, np.eye(4)), scene], camera, 24)
        assert np.array_equal(still.image[0], still.image[1])
        assert np.allclose(moved(moved(scene, motion), np.linalg.inv(motion)).parts.local_from_world, scene.parts.local_from_world)
    assert np.abs(a.image.astype(int) - render_scenes([scene], camera, 48).image).mean() > 2


@pytest.mark.parametrize('bad', [np.zeros((3, 4)), np.diag([1.0, 1, 0, 1]), np.eye(3), np.eye(4) * 2, np.full((3, 4), np.nan)])
def test_maps_that_are_none(bad: np.ndarray) -> None:
    with pytest.raises(UsageError, match='moved'):
        moved(only('car').scene(0), bad)


@pytest.mark.parametrize('name', CATALOGUE)
def test_styles_differ_in_looks_alone(name: str) -> None:
    plain, carved = only(name, 'plain', 9), only(name, 'carved', 9)
    differences, overlaps = [], []
    for i in range(6):
        assert plain.pose(i) == carved.pose(i)
        a, b = plain.scene(i), carved.scene(i)
        assert (a.mode, a.class_name) == (b.mode, b.class_name) == (plain.mode_id(i), name)
        assert np.array_equal(a.parts.local_from_world, b.parts.local_from_world)
        assert [CARVED[kind] for kind in a.parts.kinds.tolist()] == b.parts.kinds.tolist()
        one, two = (render_scenes([scene], camera_at(40, 15), 32) for scene in (a, b))
        covered = np.maximum(one.alpha, two.alpha)
        differences.append(np.abs(one.image.astype(int) - two.image).sum() / 3 / covered.sum())
        overlaps.append(np.minimum(one.alpha, two.alpha).sum() / covered.sum())
    assert np.mean(differences) > 25, differences
    assert 0.6 < np.mean(overlaps) < 0.95, overlaps


def test_carved_fronts_differ_and_silhouettes_tell_classes() -> None:
    cameras, masks = {a: camera_at(a, 12) for a in (0, 60, 180)}, {}
    for name in CATALOGUE:
        scenes = [only(name, seed=9).scene(i) for i in range(6)]
        views = {a: render_scenes(scenes, camera, 32) for a, camera in cameras.items()}
        masks[name] = views[60].alpha.mean(0)[0]
        assert np.abs(views[0].image.astype(int) - views[180].image[..., ::-1]).mean() / views[0].alpha.mean() > 15, name
        for other, mask in masks.items():
            overlap = np.minimum(mask, masks[name]).sum() / np.maximum(mask, masks[name]).sum()
            assert other == name or overlap < 0.72, (name, other, overlap)


@pytest.mark.parametrize('style', ['plain', 'carved'])
@pytest.mark.parametrize('name', ['car', 'mug', 'dog', 'plane'])
def test_the_hue_reveals_the_mode(name: str, style: str) -> None:
    world, right = only(name, style, 4), []
    angle = 2 * np.pi * (CATALOGUE[name].hue + np.arange(3) / 3)
    for i in range(30):
        truth = render_scenes([world.scene(i)], camera_at(40, 15), 32)
        r, g, b = truth.image[0][:, truth.alpha[0, 0] == 1] / 255
        # The mean of colours in the plane of hues, where the modes lie at a third of a turn.
        x, y = (r - (g + b) / 2).sum(), (np.sqrt(0.75) * (g - b)).sum()
        right.append(int(np.argmax(x * np.cos(angle) + y * np.sin(angle))) == world.mode_id(i))
    assert np.mean(right) > 0.9


def test_polyhedra_lie_in_the_cube_and_grain_is_a_function_of_the_place() -> None:
    axis = np.linspace(-1.2, 1.2, 49)
    points = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3)
    for kind, slabs in POLYHEDRA.items():
        within = (np.abs(points @ slabs.T) <= 1).all(1)
        assert np.abs(points[within]).max() <= 1 + 1e-12
        share = within.mean() * (2.45 / 2) ** 3  # of the cube; by hand: octahedron less six tips, prism of sqrt(27)/2, cube less its edges
        assert abs(share - {GEM: (4 / 3 * 1.2**3 - 6 * 2 / 3 * 0.2**3) / 8, HEXAGONAL: 27**0.5 / 2 / 4}.get(kind, share)) < 0.03
        assert 0.25 < share < 0.9
    rng = np.random.default_rng(1)
    local = list(rng.uniform(-1, 1, (3, 6000)))
    part = np.arange(6000) % 4
    grain = Grain(np.array([SMOOTH, STRIPES, CHECKS, SPECKLES]), np.array([[9.0, 9, 9], [4, 0, 0], [5, 5, 5], [9, 9, 9]]))
    shade = grained(np.ones((6000, 3)), grain, part, local)[:, 0]
    assert (shade[part == SMOOTH] == 1).all()
    x, y, z = (np.floor(q * 5) for q in local)
    assert np.array_equal(shade[part == CHECKS] < 1, ((x + y + z) % 2 == 0)[part == CHECKS])
    assert np.array_equal(shade[part == STRIPES] < 1, ((local[0] * 4) % 1 < 0.5)[part == STRIPES])
    assert abs((shade[part == SPECKLES] < 1).mean() - 0.3) < 0.05


def test_shuffled_cameras_are_those_of_the_others() -> None:
    spec = 'synthetic:car,mug?resolution=8&count=400&poses=uniform'
    true, shuffled = open_dataset(spec), open_dataset(spec + '&cameras=shuffled')
    a, b = true.cameras(), shuffled.cameras()
    assert np.array_equal(a[np.lexsort(a.T)], b[np.lexsort(b.T)]), 'the same cameras'
    assert (a == b).all(1).mean() < 0.02, 'hardly any in its place'
    assert all(np.array_equal(true[i].image, shuffled[i].image) for i in range(5))
    assert np.array_equal(true.classes(), shuffled.classes())
    assert np.array_equal(shuffled[7].camera25, b[7])
    assert true.fingerprint() != shuffled.fingerprint()
    source = SyntheticSource(spec + '&cameras=shuffled')
    stored = json.loads(source.read('dataset.json'))['labels']
    assert np.array_equal(np.array([label['camera'] for _, label in stored], dtype=np.float32), b)
    assert [label['class'] for _, label in stored] == shuffled.classes().tolist()


@pytest.mark.parametrize(('spec', 'words'), [
    ('synthetic:car?style=carve', "Did you mean 'carved'"),
    ('synthetic:car?cameras=shuffle', "Did you mean 'shuffled'"),
    ('synthetic:car?background=textur', "Did you mean 'texture'"),
])
def test_bad_names(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_dataset(spec)
