"""Several views of a scene in one batch: which row is what, whatever the batch is cut into, and mirrors that really mirror."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from torch_utils.rng import Stream
from training.cameras.camera import Camera
from training.cameras.orbit import orbit
from training.cameras.rays import rays
from training.networks.discriminator import minibatch_deviation
from training.tasks.views import mirrored, stacked, stacked_stream, unstacked

ORDERS = ('apart', 'together')


def stream(*rows: int) -> Stream:
    return Stream(seed=5, step=3, phase='D', rows=rows)


@pytest.mark.parametrize('order', ORDERS)
@pytest.mark.parametrize('count', [1, 2, 3])
def test_unstacked_undoes_stacked(order: str, count: int) -> None:
    views = [torch.randn(4, 2, 5) for _ in range(count)]
    assert torch.equal(unstacked(stacked(views, order), count, order), torch.stack(views))


def test_where_the_rows_stand() -> None:
    views = [torch.tensor([0, 1, 2]), torch.tensor([10, 11, 12])]
    assert stacked(views, 'apart').tolist() == [0, 1, 2, 10, 11, 12]
    assert stacked(views, 'together').tolist() == [0, 10, 1, 11, 2, 12]


@pytest.mark.parametrize('order', ORDERS)
def test_the_draws_of_a_view_do_not_depend_on_the_batch_that_it_stands_in(order: str) -> None:
    """View v of row r draws the same numbers in the whole batch, in half of it, and among other rows; no two views draw the same."""

    def draws(*rows: int) -> Tensor:
        return unstacked(stacked_stream(stream(*rows), 3, order).uniform('x', 2), 3, order)

    whole = draws(*range(8))
    assert torch.equal(torch.cat([draws(*range(4)), draws(*range(4, 8))], dim=1), whole)
    assert torch.equal(draws(6, 1), whole[:, [6, 1]])
    assert len(whole.flatten(0, 1).unique(dim=0)) == 24


def test_one_view_draws_what_no_views_draw() -> None:
    assert stacked_stream(stream(2, 5), 1, 'apart') == stream(2, 5)


@pytest.mark.parametrize('order, separates', [('apart', True), ('together', False)])
@pytest.mark.parametrize('batch', [4, 8, 12])
def test_groups_of_the_minibatch_deviation(order: str, separates: bool, batch: int) -> None:
    """Who shares a group is found out by changing one row and looking whose number changes."""
    scenes = stacked([torch.arange(batch)] * 2, order)
    x = torch.randn(2 * batch, 1, 1, 1)
    before = minibatch_deviation(x, 4, 'consecutive')
    shared = False
    for row in range(2 * batch):
        other = x.clone()
        other[row] += 5
        group = (minibatch_deviation(other, 4, 'consecutive') != before).flatten().nonzero().flatten()
        assert len(group) == 4 and row in group
        shared |= len(scenes[group].unique()) < 4
    assert shared != separates


def rolled(camera: Camera, roll_rad: Tensor) -> Camera:
    """The cameras turned about their optical axes."""
    turn = torch.eye(4).repeat(len(roll_rad), 1, 1)
    turn[:, 0, 0] = turn[:, 1, 1] = roll_rad.cos()
    turn[:, 1, 0] = roll_rad.sin()
    turn[:, 0, 1] = -roll_rad.sin()
    return Camera(camera.world_from_camera @ turn, camera.intrinsics)


def some_cameras() -> Camera:
    """Twelve of them, rolled, around a target beside the origin, with the principal point off the middle and some skew."""
    generator = torch.Generator().manual_seed(1)
    yaw, pitch, roll = ((torch.rand(12, generator=generator) * 2 - 1) * limit for limit in (math.pi, 1.4, math.pi))
    camera = rolled(orbit(yaw, pitch, 2.7, (0.2, -0.1, 0.3), focal=1.5), roll)
    return Camera(camera.world_from_camera, camera.intrinsics + torch.tensor([[0.0, 0.05, 0.03], [0, 0, 0.02], [0, 0, 0]]))


def left_right(points: Tensor) -> Tensor:
    return points * torch.tensor([-1.0, 1.0, 1.0])


def up_down(points: Tensor) -> Tensor:
    return points * torch.tensor([1.0, -1.0, 1.0])


def shows(field: Callable[[Tensor], Tensor], camera: Camera) -> Tensor:
    """Pictures [N, 6, 6] of a field: its sum at a few distances along every ray."""
    seen = rays(camera, 6)
    return sum(field(seen.origins + depth * seen.directions) for depth in (2.0, 2.7, 3.5)).unflatten(1, (6, 6))


def field(points: Tensor) -> Tensor:
    return torch.sin(points @ torch.tensor([3.0, 1.7, -2.2])) + points[..., 0] * points[..., 1]


def test_the_mirrored_camera_sees_the_mirrored_scene_as_the_mirrored_picture() -> None:
    """Exact for every pose: roll, principal point and skew included."""
    camera = some_cameras()
    seen = shows(field, camera)
    other = shows(lambda points: field(left_right(points)), mirrored(camera, 'left_right', stream(*range(12))))
    torch.testing.assert_close(other.flip(2), seen, rtol=1e-4, atol=1e-4)
    assert (other - seen).abs().max() > 0.1


def test_mirroring_twice_is_nothing_and_keeps_a_camera_a_camera() -> None:
    camera = some_cameras()
    once = mirrored(camera, 'left_right', stream(*range(12))).checked()
    twice = mirrored(once, 'left_right', stream(*range(12)))
    torch.testing.assert_close(twice.world_from_camera, camera.world_from_camera)
    torch.testing.assert_close(twice.intrinsics, camera.intrinsics)


def test_the_published_mirror_throws_a_coin_between_two_planes() -> None:
    rows = tuple(range(400))
    yaw, pitch = torch.linspace(-2, 2, 400), torch.linspace(0.1, 1, 400)
    camera = orbit(yaw, pitch, 2.7, focal=1.5)
    origins = mirrored(camera, 'PoF3D_2023', stream(*rows)).checked().origins
    in_x = (origins - left_right(camera.origins)).abs().amax(dim=1) < 1e-6
    in_y = (origins - up_down(camera.origins)).abs().amax(dim=1) < 1e-6
    assert (in_x | in_y).all() and 140 < in_x.sum() < 260
    again = mirrored(camera[200:], 'PoF3D_2023', stream(*rows[200:])).origins
    assert torch.equal(again, origins[200:]), 'the coin belongs to the row, not to the batch'


def test_the_published_mirror_sees_the_scene_upside_down() -> None:
    """The picture is turned upside down with the scene, for cameras without roll or with."""
    camera = rolled(orbit(torch.linspace(-2, 2, 40), torch.linspace(-1, 1, 40), 2.7, focal=1.5), torch.linspace(-3, 3, 40))
    other = mirrored(camera, 'PoF3D_2023', stream(*range(40)))
    in_y = (other.origins - up_down(camera.origins)).abs().amax(dim=1) < 1e-6
    seen, shown = shows(field, camera), shows(lambda points: field(up_down(points)), other)
    assert 5 < in_y.sum() < 35
    torch.testing.assert_close(shown[in_y].flip(1), seen[in_y], rtol=1e-4, atol=1e-4)
