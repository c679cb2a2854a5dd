"""Pose codes: cameras there and back, no seam, no NaN, no gradient that is not finite, and the limits of a rig."""

import math

import pytest
import torch
from torch import Tensor

from torch_utils.rng import Stream
from training.cameras.camera import Camera
from training.cameras.distributions import LAWS, Fixed, Gaussian, LawConfig, UniformBand, Wide
from training.cameras.orbit import angles_of
from training.cameras.rays import rays
from training.cameras.rig import POSE_NUMBERS, Rig, as_read, bounded, jittered, rig_of

RIG = Rig(radius=2.0, fov_x_deg=50.0, target=(0.1, -0.2, 0.3), pitch_min_deg=-20.0, pitch_max_deg=60.0)
STREAM = Stream(seed=1, step=0, phase='rig', rows=range(64))
# Nothing, next to nothing, ordinary, and more than any layer says; float32 squares overflow beyond 1e19.
SIZES = (0.0, 1e-30, 1e-12, 1e-6, 1e-3, 1.0, 1e3, 1e9, 1e18)


def ring(count: int = 73) -> Tensor:
    """Yaws from -180 to 180 degrees, both included."""
    return torch.linspace(-math.pi, math.pi, count, dtype=torch.float64)


def free_numbers() -> Tensor:
    """[N, 3]: every size in each place, with both signs, beside every other."""
    signed = torch.tensor(sorted({sign * size for size in SIZES for sign in (1, -1)}))
    return torch.cartesian_prod(signed, signed, signed)


def same(camera: Camera, other: Camera, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(camera.world_from_camera, other.world_from_camera, rtol=0, atol=tolerance)
    torch.testing.assert_close(camera.intrinsics, other.intrinsics)


LAW_EXAMPLES = [cls() for cls in LAWS.values()] + [
    UniformBand(radius=1.7, fov_x_deg=52.0, target=(0.1, -0.2, 0.3)), Fixed(yaw_deg=170.0, pitch_deg=-10.0),
]


@pytest.mark.parametrize('law', LAW_EXAMPLES, ids=lambda law: type(law).__name__)
def test_the_cameras_of_every_law_have_codes_and_come_back_from_them(law: LawConfig) -> None:
    rig, camera = rig_of(law), law.sample(STREAM)
    code = rig.code_of(camera)
    assert code.shape == (64, POSE_NUMBERS)
    torch.testing.assert_close(code[:, :2].norm(dim=1), torch.ones(64))
    if not isinstance(law, Fixed):  # whose pitch has no range to have a place in
        assert code[:, 2].abs().max() <= 1 + 1e-4, 'a law draws what its rig can say'
    same(rig.camera(code), camera)


@pytest.mark.parametrize(('law', 'low', 'high'), [
    (Wide(), -5, 45), (Fixed(pitch_deg=7.0), 7, 7), (Gaussian(pitch_min_deg=-3.0, pitch_max_deg=9.0), -3, 9),
    (UniformBand(pitch_min_deg=1.0, pitch_max_deg=2.0), 1, 2),
])
def test_a_rig_has_the_pitches_of_its_law(law: LawConfig, low: float, high: float) -> None:
    assert (rig_of(law).pitch_min_deg, rig_of(law).pitch_max_deg) == (low, high)


def test_codes_come_back_from_their_cameras() -> None:
    yaw, pitch = torch.cartesian_prod(ring(), torch.deg2rad(torch.linspace(-20.0, 60.0, 9, dtype=torch.float64))).unbind(dim=1)
    code = RIG.code(yaw, pitch)
    torch.testing.assert_close(RIG.code_of(RIG.camera(code)), code)
    found = RIG.angles(code)
    torch.testing.assert_close(found[1], pitch)
    torch.testing.assert_close(torch.exp(1j * found[0]), torch.exp(1j * yaw))


def test_there_is_no_seam_at_180_degrees() -> None:
    """The distance of codes is that of directions, whatever the numbers of the angles."""
    yaw, step = ring(), 1e-3
    level = torch.zeros_like(yaw)
    code, turned = RIG.code(yaw, level), RIG.code(yaw + step, level)
    torch.testing.assert_close((turned - code).norm(dim=1), torch.full_like(yaw, 2 * math.sin(step / 2)))
    torch.testing.assert_close(code[0], code[-1])
    same(RIG.camera(code[:1]), RIG.camera(code[-1:]), 1e-12)
    moved = (RIG.camera(turned).origins - RIG.camera(code).origins).norm(dim=1)
    torch.testing.assert_close(moved, torch.full_like(yaw, 2 * RIG.radius * math.sin(step / 2)))
    opposite = RIG.code(yaw + math.pi, level)
    torch.testing.assert_close((opposite - code).norm(dim=1), torch.full_like(yaw, 2.0))


def test_free_numbers_become_codes_whatever_they_are() -> None:
    numbers = free_numbers()
    code = bounded(numbers)
    assert code.isfinite().all()
    length = code[:, :2].norm(dim=1)
    assert length.max() <= 1 + 1e-6 and code[:, 2].abs().max() <= 1
    clear = numbers[:, :2].norm(dim=1) > 1e-3
    torch.testing.assert_close(length[clear], torch.ones(int(clear.sum())))
    torch.testing.assert_close(torch.atan2(code[clear, 0], code[clear, 1]), torch.atan2(numbers[clear, 0], numbers[clear, 1]))
    RIG.camera(code).checked()


def test_what_a_reader_was_taught_is_what_it_is_read_as() -> None:
    yaw = torch.linspace(-3, 3, 13).repeat_interleave(9)
    code = RIG.code(yaw, torch.linspace(math.radians(RIG.pitch_min_deg), math.radians(RIG.pitch_max_deg), 9).repeat(13))
    torch.testing.assert_close(as_read(code), code)
    unsure = torch.cat([0.1 * code[:, :2], 1.5 * code[:, 2:]], dim=1)
    torch.testing.assert_close(as_read(unsure), torch.cat([code[:, :2], (1.5 * code[:, 2:]).clamp(-1, 1)], dim=1))
    assert torch.isfinite(as_read(free_numbers())).all()


def test_gradients_are_finite_for_whatever_numbers() -> None:
    numbers = free_numbers().requires_grad_()
    seen = rays(RIG.camera(bounded(numbers)), 2)
    (seen.directions + seen.origins).sum().backward()
    assert numbers.grad.isfinite().all()
    numbers = free_numbers().requires_grad_()
    bounded(numbers).square().sum().backward()
    assert numbers.grad.isfinite().all()


def test_cameras_are_differentiable_in_the_numbers() -> None:
    numbers = torch.tensor([[0.3, -1.2, 0.4], [-2.0, 1e-3, -1.5], [1e-3, -1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda n: rays(RIG.camera(bounded(n)), 2).directions, (numbers,))
    assert torch.autograd.gradcheck(lambda n: RIG.camera(bounded(n)).origins, (numbers,))


def test_no_code_leaves_the_range_of_pitches() -> None:
    code = torch.tensor([[0.0, 1.0, 5.0], [0.0, 1.0, -5.0], [0.0, 1.0, 1.0], [0.0, 1.0, -1.0], [3.0, 4.0, 0.0]])
    yaw, pitch, radius = angles_of(RIG.camera(code), RIG.target)
    torch.testing.assert_close(torch.rad2deg(pitch), torch.tensor([60.0, -20.0, 60.0, -20.0, 20.0]))
    torch.testing.assert_close(yaw[-1], torch.tensor(math.atan2(3, 4)))
    torch.testing.assert_close(radius, torch.full((5,), 2.0))


def test_a_distance_and_a_target_of_ones_own() -> None:
    code = RIG.code(torch.tensor([0.0, 2.0, -2.0]), torch.tensor([0.1, 0.5, -0.3]))
    radius, target = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [0.0, -0.3, 0.2]])
    camera = RIG.camera(code, radius, target).checked()
    torch.testing.assert_close((camera.origins - target).norm(dim=1), radius)
    torch.testing.assert_close(camera.forwards, (target - camera.origins) / radius[:, None])
    same(RIG.camera(code, target=target[:1].expand(3, -1)), Rig(2.0, 50.0, (0.0, 0.0, 0.0), -20.0, 60.0).camera(code))


def test_jitter_turns_the_yaw_and_shifts_the_height() -> None:
    yaw = ring().float()
    code = RIG.code(yaw, torch.full_like(yaw, 0.2))
    turned = jittered(code, torch.tensor([[0.7, 0.05]]).expand(len(yaw), -1))
    torch.testing.assert_close(turned[:, :2], RIG.code(yaw + 0.7, torch.zeros_like(yaw))[:, :2], rtol=0, atol=1e-6)
    torch.testing.assert_close(turned[:, 2], code[:, 2] + 0.05)
    assert torch.equal(jittered(code, torch.zeros(len(yaw), 2)), code)
