"""What tools ask of a generator: latents of seeds, classes, views, batches."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dnnlib.errors import UsageError
from tests.training.tiny import config_of, tiny_config
from training.build import build
from training.cameras.camera import Camera
from training.cameras.distributions import Gaussian, Sphere
from training.cameras.orbit import angles_of, orbit
from training.sampling import (
    Truncation,
    Viewpoint,
    batches,
    class_index,
    drawn_cameras,
    drawn_classes,
    front_of,
    latents,
    own_cameras,
    sample,
)


def test_latents_are_those_of_stylegans_tools() -> None:
    z = latents([0, 7], 3)
    assert z.dtype == torch.float32 and z.shape == (2, 3)
    assert np.allclose(z[0], [1.7640524, 0.4001572, 0.9787380]), 'NumPy\'s RandomState(0).randn(3), known to the whole world'
    assert torch.equal(latents([7], 3)[0], z[1]), 'a seed is a latent, whoever stands next to it'
    with pytest.raises(UsageError, match='got -1'):
        latents([-1], 3)
    with pytest.raises(UsageError, match='4294967296'):
        latents([2 ** 32], 3)


NAMES = ('tench', 'goldfish', '3')


def test_classes_are_numbers_or_names() -> None:
    assert class_index('2', 10) == 2 and class_index(' 2 ', 10) == 2
    assert class_index('goldfish', 3, NAMES) == 1 and class_index('3', 3, NAMES) == 2, 'a name wins over a number'


@pytest.mark.parametrize(('text', 'message'), [
    ('1.7', "there is no class '1.7'; classes are the whole numbers 0 to 2 or their names (0 tench, 1 goldfish, 2 3)."),
    ('99', 'there is no class 99; classes are the whole numbers 0 to 2'),
    ('-1', 'there is no class -1'),
    ('goldfisch', "Did you mean 'goldfish'?"),
    ('', "there is no class ''"),
    ('+-1', "there is no class '+-1'"),
    ('٣', "there is no class '٣'"),
])
def test_wrong_classes_are_told_what_there_is(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        class_index(text, 3, NAMES)
    assert message in str(caught.value)


def test_a_network_without_classes_says_so() -> None:
    with pytest.raises(UsageError, match='without classes'):
        class_index('0', 0)
    with pytest.raises(UsageError, match='0 to 999'):
        class_index('1.7', 1000)


def test_draws_belong_to_the_seed() -> None:
    assert drawn_classes([3, 5], 1000) == drawn_classes([3], 1000) + drawn_classes([5], 1000)
    assert len(set(drawn_classes(range(50), 4))) == 4
    law = Gaussian()
    assert torch.equal(drawn_cameras(law, [3, 5]).origins[1:], drawn_cameras(law, [5]).origins)
    poses = law_poses(law, 9)
    picked = drawn_cameras(poses, range(30)).origins
    assert {tuple(row) for row in picked.tolist()} <= {tuple(row) for row in poses.origins.tolist()} and len(picked.unique(dim=0)) > 4


def law_poses(law, count: int) -> Camera:
    return drawn_cameras(law, range(count))


def test_the_front_is_where_training_cameras_usually_are() -> None:
    front = front_of(Gaussian(radius=3.0, fov_x_deg=25.0, target=(0.0, 0.5, 0.0), pitch_mean_deg=12.0))
    assert (front.radius, front.fov_x_deg, front.target, front.yaw_deg) == (3.0, 25.0, (0.0, 0.5, 0.0), 0.0)
    assert front.pitch_deg == pytest.approx(12, abs=1)
    assert abs(front_of(Sphere()).pitch_deg) < 10


def test_the_front_of_poses_is_recovered_from_them() -> None:
    law = Gaussian(radius=3.0, fov_x_deg=25.0, target=(0.1, 0.5, -0.2), pitch_mean_deg=12.0)
    front = front_of(law_poses(law, 100))
    assert front.radius == pytest.approx(3.0, abs=0.02) and front.fov_x_deg == pytest.approx(25.0, abs=0.01)
    assert np.allclose(front.target, law.target, atol=0.02) and front.pitch_deg == pytest.approx(12, abs=2)
    one = front_of(orbit(0.0, 0.0, 2.7, focal=4.26))
    assert one.radius == pytest.approx(2.7, abs=0.01) and np.allclose(one.target, 0, atol=0.01), 'one axis leaves it open: the origin'


def test_a_viewpoint_stands_where_it_says() -> None:
    camera = Viewpoint(2.0, 40.0, (0.0, 0.3, 0.0), yaw_deg=90.0, pitch_deg=0.0).camera()
    assert torch.allclose(camera.origins, torch.tensor([[2.0, 0.3, 0.0]]), atol=1e-6), "the viewer's right is +x"
    assert float(camera.intrinsics[0, 0, 0]) == pytest.approx(0.5 / math.tan(math.radians(20)))
    yaw, pitch, _ = angles_of(Viewpoint(2.0, 40.0, yaw_deg=0.0, pitch_deg=30.0).camera())
    assert float(pitch) == pytest.approx(math.radians(30), abs=1e-6) and float(yaw) == pytest.approx(0, abs=1e-6)


def test_examples_of_a_class_are_picked_for_it() -> None:
    poses = law_poses(Gaussian(), 12)
    classes = torch.arange(12) % 3
    picked = drawn_cameras(poses, range(40), classes=[1] * 40, examples_of=classes).origins
    assert {tuple(row) for row in picked.tolist()} == {tuple(row) for row in poses.origins[classes == 1].tolist()}
    assert torch.equal(drawn_cameras(poses, [7], classes=[1], examples_of=classes).origins, picked[7:8])


def test_a_generator_that_invents_cameras_is_seen_from_them() -> None:
    generator = build(config_of('poses learned')).task.generator
    z, drawn = latents(range(20), generator.z_dim), Viewpoint(2.7, 36.0).camera()
    camera = own_cameras(generator, z, None, drawn)
    yaw, _, radius = angles_of(camera)
    assert len(camera) == 20 and yaw.std() > 0.1 and torch.allclose(radius, torch.tensor(2.7), atol=1e-5)
    assert torch.allclose(own_cameras(generator, z[5:6], None, drawn).origins, camera.origins[5:6], atol=1e-5), 'its own, in whatever company'
    assert not camera.origins.requires_grad
    told = generator.pose_learner.camera(generator.pose(generator.mapping(z)[:, 0])).origins
    assert torch.allclose(camera.origins, told, atol=1e-5), 'of the w that no truncation has shortened'


def test_any_other_generator_is_seen_from_what_was_drawn() -> None:
    drawn = law_poses(Gaussian(), 3)
    generator = build(tiny_config()).task.generator
    assert own_cameras(generator, latents(range(3), generator.z_dim), None, drawn) is drawn


@dataclasses.dataclass
class Seen:
    image: torch.Tensor
    depth: torch.Tensor


class Recorder:
    """Stands in for a generator; its image repeats what it was told."""

    def __init__(self, conditions_on_camera: bool) -> None:
        self.config = SimpleNamespace(conditions_on_camera=conditions_on_camera)
        self.calls = []

    def mapping(self, z, classes, camera, truncation_psi, truncation_cutoff):
        assert not torch.is_grad_enabled()
        self.calls.append((len(z), truncation_psi, truncation_cutoff))
        self.condition = camera
        return z[:, None] * truncation_psi

    def planes(self, ws):
        return ws

    def render(self, planes, ws, camera, resolution=None):
        assert len(planes) == len(camera)
        condition = torch.zeros(len(ws), 3) if self.condition is None else self.condition.origins
        return Seen(torch.cat([planes[:, 0], camera.origins, condition], 1), ws)


def test_batches_cover_everything_once() -> None:
    assert list(batches(5, 2)) == [slice(0, 2), slice(2, 4), slice(4, 5)] and list(batches(0, 2)) == []
    with pytest.raises(UsageError, match='at least one'):
        list(batches(5, 0))


@pytest.mark.parametrize('batch', [1, 2, 5, 8])
def test_rows_belong_together_whatever_the_batch(batch: int) -> None:
    generator, z, cameras = Recorder(True), latents(range(5), 2), law_poses(Gaussian(), 5)
    output = sample(generator, z, None, cameras, truncation=Truncation(0.5, 3), batch=batch)
    assert torch.equal(output.image, torch.cat([z * 0.5, cameras.origins, cameras.origins], 1))
    assert output.depth.shape == (5, 1, 2) and max(call[0] for call in generator.calls) <= batch
    assert {call[1:] for call in generator.calls} == {(0.5, 3)}


def test_the_conditioning_camera_is_its_own() -> None:
    z, cameras, front = latents(range(3), 2), law_poses(Gaussian(), 3), Viewpoint(2.7, 18.0).camera()
    told = sample(Recorder(True), z, None, cameras, condition=front).image[:, 5:]
    assert torch.equal(told, front.origins.expand(3, 3))
    untold = sample(Recorder(False), z, None, cameras, condition=front).image[:, 5:]
    assert untold.eq(0).all(), 'a generator that does not ask is not told'
    assert torch.equal(sample(Recorder(True), z, None, front).image[:, 2:5], front.origins.expand(3, 3)), 'one camera for all'
    with pytest.raises(UsageError, match='2 cameras were given for 3 scenes'):
        sample(Recorder(True), z, None, cameras[:2])
