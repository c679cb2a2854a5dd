"""Toyworld tells the truth: depth against brute force, other views of one scene agree, the same bits everywhere."""

import hashlib
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from dnnlib.errors import UsageError
from training.cameras.camera import Camera
from training.cameras.convention import from_eg3d
from training.cameras.orbit import orbit
from training.cameras.rays import rays
from training.data.archive import open_dataset
from training.data.synthetic import parse_spec
from training.data.toyworld.catalogue import CATALOGUE
from training.data.toyworld.numbers import Draws, cos_sin_turns, logarithm
from training.data.toyworld.poses import FOCAL, POSE_LAWS, RADIUS, Pose, camera25, draw_pose
from training.data.toyworld.shapes import BOX, CYLINDER, ELLIPSOID
from training.data.toyworld.tracer import _CORNERS, world_from_local
from training.data.toyworld.world import Toyworld, ToyworldConfig, render_scenes

PINNED = {
    'synthetic:toyworld8?resolution=16&count=24': '8eeb75d5',
    'synthetic:car?poses=sphere&background=env&resolution=16&count=8&seed=3': 'ef19011c',
}


def only(name: str, seed: int = 0, **more) -> Toyworld:
    return Toyworld(ToyworldConfig(classes=(name,), seed=seed, **more))


@pytest.mark.parametrize('spec', PINNED)
def test_bits_are_pinned(spec: str) -> None:
    dataset = open_dataset(spec)
    digest = hashlib.sha256()
    for i in range(len(dataset)):
        item = dataset[i]
        digest.update(item.image.tobytes() + item.camera25.tobytes() + str(item.class_id).encode())
    assert digest.hexdigest()[:8] == PINNED[spec], 'the pictures have changed: raise BITS in training/data/synthetic.py and pin them anew'


def test_numbers() -> None:
    for k in range(-300, 300):
        turns = k / 97
        assert np.allclose(cos_sin_turns(turns), (math.cos(math.tau * turns), math.sin(math.tau * turns)), atol=3e-15, rtol=0)
        x = 2.0 ** (k / 7)
        assert abs(logarithm(x) - math.log(x)) < 1e-13
    draws = [Draws(0, i) for i in range(4000)]
    normals = np.array([d.normal('a') for d in draws])
    assert abs(normals.mean()) < 0.06
    assert abs(normals.std() - 1) < 0.04
    modes = np.bincount([d.choice('mode', (0.5, 0.3, 0.2)) for d in draws]) / len(draws)
    assert np.abs(modes - (0.5, 0.3, 0.2)).max() < 0.03
    units = np.array([[d.unit('a'), d.unit('b')] for d in draws])
    assert abs(np.corrcoef(units.T)[0, 1]) < 0.05


@pytest.mark.parametrize('law', POSE_LAWS)
def test_pose_laws(law: str) -> None:
    poses = [draw_pose(law, Draws(1, i)) for i in range(3000)]
    azimuth, elevation = np.array([(p.azimuth_deg, p.elevation_deg) for p in poses]).T
    assert azimuth.min() >= -180
    assert azimuth.max() < 180
    if law == 'sphere':
        assert abs(np.sin(np.radians(elevation)).mean()) < 0.04
        assert elevation.min() < -75
    else:
        assert elevation.min() >= -5
        assert elevation.max() <= 45
    # Share of views around +75 degrees, where only `wide` has a mode.
    share, mirror = np.mean(np.abs(azimuth - 75) < 24), np.mean(np.abs(azimuth + 75) < 24)
    expected = {'wide': (0.30, 0.025), 'narrow': (0.0, 0.0), 'uniform': (48 / 360, 48 / 360), 'sphere': (48 / 360, 48 / 360)}[law]
    assert abs(share - expected[0]) < 0.04
    assert abs(mirror - expected[1]) < 0.03


def test_cameras_are_those_of_the_orbit() -> None:
    poses = [Pose(0, 0), Pose(33, 12), Pose(-140, 44), Pose(179, -5)]
    ours = from_eg3d(torch.from_numpy(np.stack([camera25(p) for p in poses])))
    yaw, pitch = torch.deg2rad(torch.tensor([(p.azimuth_deg, p.elevation_deg) for p in poses], dtype=torch.float32)).T
    theirs = orbit(yaw, pitch, RADIUS, focal=FOCAL)
    assert torch.allclose(ours.world_from_camera, theirs.world_from_camera, atol=1e-6)
    assert torch.allclose(ours.intrinsics, theirs.intrinsics, atol=1e-6)
    assert abs(math.degrees(2 * math.atan(0.5 / FOCAL)) - 36) < 1e-9
    ours.checked()


def inside(scene, points: np.ndarray) -> np.ndarray:
    """Whether points [K, 3] lie in any part: by membership, not by intersection."""
    hit = np.zeros(len(points), dtype=bool)
    for kind, matrix in zip(scene.parts.kinds, scene.parts.local_from_world, strict=True):
        x, y, z = (points @ matrix[:, :3].T + matrix[:, 3]).T
        hit |= {
            ELLIPSOID: x * x + y * y + z * z < 1,
            BOX: np.maximum(np.maximum(np.abs(x), np.abs(y)), np.abs(z)) < 1,
            CYLINDER: (x * x + z * z < 1) & (np.abs(y) < 1),
        }[int(kind)]
    return hit


@pytest.mark.parametrize('name', CATALOGUE)
def test_depth_against_brute_force(name: str) -> None:
    world, side = only(name, seed=2), 20
    truth = world.truth([3], side)
    camera = world.cameras([3]).to(torch.float64)
    bundle = rays(camera, side)
    origins, directions = bundle.origins[0].numpy(), bundle.directions[0].numpy()
    distance = truth.distance[0, 0].ravel().astype(np.float64)
    hit = np.isfinite(distance)
    scene = world.scene(3)
    steps = np.linspace(1.5, 4.0, 1001)
    taken = inside(scene, (origins[:, None] + steps[None, :, None] * directions[:, None]).reshape(-1, 3)).reshape(-1, len(steps))
    first = np.where(taken.any(1), steps[taken.argmax(1)], np.inf)
    # Marching can only miss what is thinner than a step; what it finds is never nearer than the truth, and usually less than a step behind.
    assert 0.05 < hit.mean() < 0.7
    assert not (np.isfinite(first) & ~hit).any()
    assert np.mean(np.isinf(first[hit])) < 0.08
    found = np.isfinite(first)
    behind = first[found] - distance[found]
    assert behind.min() >= -1e-6
    assert np.quantile(behind, 0.9) <= 0.0025 + 1e-6
    # Just before the surface there is nothing, just behind it there is something.
    points = origins[hit] + distance[hit, None] * directions[hit]
    assert not inside(scene, points - 1e-5 * directions[hit]).any()
    assert inside(scene, points + 1e-5 * directions[hit]).mean() > 0.98
    normals = truth.normals[0].reshape(3, -1).T[hit]
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    assert ((normals * directions[hit]).sum(1) < 1e-6).all()
    assert inside(scene, points - 1e-5 * normals).mean() > 0.98
    z = (points - origins[0]) @ camera.forwards[0].numpy()
    assert np.allclose(z, truth.depth[0, 0].ravel()[hit], atol=1e-5)


def test_novel_views_agree() -> None:
    scenes = [only(name, seed=1).scene(0) for name in CATALOGUE]
    here, there = (from_eg3d(torch.from_numpy(camera25(p)[None])) for p in (Pose(20, 15), Pose(45, 20)))
    side = 96
    a, b = render_scenes(scenes, here, side), render_scenes(scenes, there, side)
    bundle = rays(here.to(torch.float64), side)
    differences = []
    for n in range(len(scenes)):
        hit = np.isfinite(a.distance[n, 0].ravel())
        points = bundle.origins[0].numpy()[hit] + a.distance[n, 0].ravel()[hit, None] * bundle.directions[0].numpy()[hit]
        pose = there.world_from_camera[0].double().numpy()
        local = (points - pose[:3, 3]) @ pose[:3, :3]
        column = np.floor((FOCAL * local[:, 0] / local[:, 2] + 0.5) * side).astype(int)
        row = np.floor((FOCAL * local[:, 1] / local[:, 2] + 0.5) * side).astype(int)
        in_view = (column >= 0) & (row >= 0) & (column < side) & (row < side)
        seen = b.depth[n, 0][row[in_view], column[in_view]]
        assert np.mean(seen > local[in_view, 2] + 0.05) < 0.08, 'a point of one view floats in front of the surface of the other'
        both = np.abs(seen - local[in_view, 2]) < 0.01
        assert both.mean() > 0.4
        colour = b.image[n][:, row[in_view], column[in_view]][:, both].astype(int) - a.image[n].reshape(3, -1)[:, hit][:, in_view][:, both]
        differences.append(np.median(np.abs(colour)))
    assert max(differences) <= 3, differences  # Lambert: what both see has one colour


def test_rendering_from_the_label_gives_the_image_back() -> None:
    dataset = open_dataset('synthetic:toyworld8?resolution=16&count=6&background=env&poses=uniform')
    camera = from_eg3d(torch.from_numpy(np.stack([dataset[i].camera25 for i in range(6)])))
    truth = render_scenes([dataset.world.scene(i) for i in range(6)], camera, 16)
    assert np.array_equal(truth.image, np.stack([dataset[i].image for i in range(6)]))


def test_scenes_do_not_depend_on_how_the_set_is_used() -> None:
    long, short = open_dataset('synthetic:toyworld8?resolution=8&count=50'), open_dataset('synthetic:toyworld8?resolution=8&count=9')
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: short[8 - i].image, range(9)))
    assert all(np.array_equal(long[i].image, together[8 - i]) for i in range(9))
    other = open_dataset('synthetic:toyworld8?resolution=8&count=9&poses=sphere&background=env')
    assert [other[i].class_id for i in range(9)] == [long[i].class_id for i in range(9)]
    assert len({long.fingerprint(), short.fingerprint(), other.fingerprint()}) == 3


@pytest.mark.parametrize('name', CATALOGUE)
def test_objects_fit_and_vary(name: str) -> None:
    world = only(name, seed=7)
    modes = set()
    for i in range(40):
        scene = world.scene(i)
        modes.add(scene.mode)
        matrix, centre = world_from_local(scene.parts)
        corners = centre[:, None] + np.einsum('pij,kj->pki', matrix, _CORNERS)
        # Corners of a box are reached; those of the cube around an ellipsoid or a cylinder are not.
        reach = np.linalg.norm(corners, axis=-1).max(1) * np.where(scene.parts.kinds == BOX, 1, 0.93)
        assert reach.max() < 1.02, (i, reach)
        assert 4 <= len(scene.parts) <= 18
        assert scene.parts.colours.min() >= 0
        assert scene.parts.colours.max() <= 1
    assert modes == {0, 1, 2}
    assert not np.array_equal(world.image(0, 16), world.image(1, 16))


def test_silhouettes_and_fronts_differ() -> None:
    cameras = {a: from_eg3d(torch.from_numpy(camera25(Pose(a, 12))[None])) for a in (0, 60, 90, 180)}
    side, per_class = 32, 6
    masks, fronts = {}, {}
    for name in CATALOGUE:
        scenes = [only(name, seed=9).scene(i) for i in range(per_class)]
        views = {a: render_scenes(scenes, camera, side) for a, camera in cameras.items()}
        masks[name] = views[60].alpha.mean(0)[0]
        fronts[name] = np.abs(views[0].image.astype(int) - views[180].image[..., ::-1]).mean(), views[0].alpha.mean()
    for a in CATALOGUE:
        assert fronts[a][0] / fronts[a][1] > 15, f'front and back of {a} look alike'
        for b in CATALOGUE:
            if a < b:
                overlap = np.minimum(masks[a], masks[b]).sum() / np.maximum(masks[a], masks[b]).sum()
                assert overlap < 0.72, (a, b, overlap)


def test_one_camera_or_one_each() -> None:
    scene = only('car').scene(0)
    camera = from_eg3d(torch.from_numpy(camera25(Pose(0, 0))[None]))
    with pytest.raises(UsageError, match='3 scenes and 2 cameras'):
        render_scenes([scene] * 3, Camera.cat([camera, camera]), 8)


def test_a_camera_among_the_parts_still_works() -> None:
    camera = from_eg3d(torch.from_numpy(camera25(Pose(0, 0))[None]))
    near = Camera(camera.world_from_camera.clone(), camera.intrinsics)
    near.world_from_camera[:, :3, 3] *= 0.2
    assert np.isfinite(render_scenes([only('house').scene(0)], near, 16).depth).any()


@pytest.mark.parametrize(('spec', 'words'), [
    ('synthetic:car?pose=wide', "Did you mean 'poses'"),
    ('synthetic:cart', "Did you mean 'car'"),
    ('synthetic:', 'unknown class'),
    ('synthetic:car?poses=wid', "Did you mean 'wide'"),
    ('synthetic:car?background=black', 'no background'),
    ('synthetic:car?count=-3', 'whole number'),
    ('synthetic:car?count=0', 'must lie in'),
    ('synthetic:car?resolution=1e3', 'whole number'),
    ('synthetic:car?seed=1&seed=2', 'each key once'),
    ('synthetic:car,car', 'each named once'),
])
def test_bad_names(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_dataset(spec)


def test_names() -> None:
    full = 'synthetic:car?poses=wide&background=white&resolution=32&count=8000&seed=0&style=plain&cameras=true'
    assert parse_spec('synthetic:car').spec() == full
    assert parse_spec(parse_spec('synthetic:toyworld8?seed=4').spec()) == parse_spec('synthetic:toyworld8?seed=4')
    one, many = open_dataset('synthetic:car?count=5'), open_dataset('synthetic:dog,car?count=5')
    assert (one.num_classes, many.num_classes, many.class_names) == (0, 2, ('dog', 'car'))
    assert one[0].class_id is None
    with pytest.raises(IndexError):
        one[5]
