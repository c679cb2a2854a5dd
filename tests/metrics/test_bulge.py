"""Bulge: a ball bulges, a bowl does not, a card has none; and what cannot be measured says so."""

import math

import pytest
import torch
from torch import Tensor

from metrics.bulge import bulge
from metrics.measurable import NotMeasurable
from training.cameras.camera import Camera
from training.cameras.orbit import orbit
from training.cameras.rays import rays

SIDE, RADIUS = 33, 0.6


def camera_at(*yaws_rad: float) -> Camera:
    return orbit(torch.tensor(yaws_rad), 0.3, 2.7, focal=1.5)


def ball(camera: Camera, inside: bool = False) -> tuple[Tensor, Tensor]:
    """Depth and opacity of a ball's front, or of the inside of its back."""
    lines = rays(camera.to(torch.float64), SIDE)
    towards = -(lines.origins * lines.directions).sum(-1)
    root = towards**2 - lines.origins.square().sum(-1) + RADIUS**2
    hit = root > 0
    depth = torch.where(hit, towards + (1 if inside else -1) * root.clamp(min=0).sqrt(), torch.inf)
    return depth.reshape(-1, 1, SIDE, SIDE), hit.double().reshape(-1, 1, SIDE, SIDE)


def card(camera: Camera, tilt: float = 0.0) -> tuple[Tensor, Tensor]:
    """A disc in the middle of the picture, in a plane that is tilted about the vertical axis."""
    lines = rays(camera.to(torch.float64), SIDE)
    forward = camera.forwards.double()
    right = camera.world_from_camera[:, :3, 0].double()
    normal = (forward + tilt * right)[:, :, None]
    depth = -(lines.origins @ normal) / (lines.directions @ normal)
    _, opacity = ball(camera)
    return depth.reshape(-1, 1, SIDE, SIDE), opacity


def test_a_ball_bulges_and_its_inside_is_hollow() -> None:
    camera = camera_at(0.0, 1.0, 2.5)
    assert (bulge(*ball(camera), camera) > 0.9).all() and (bulge(*ball(camera, inside=True), camera) < -0.9).all()


def test_a_tilted_card_has_no_bulge_and_a_frontal_one_is_not_measured() -> None:
    camera = camera_at(0.0, 1.0)
    assert bulge(*card(camera, tilt=0.4), camera).abs().max() < 0.1
    with pytest.raises(NotMeasurable, match='varies'):
        bulge(*card(camera), camera)


def test_scale_and_place_do_not_matter() -> None:
    camera = camera_at(0.0)
    depth, opacity = ball(camera)
    value = bulge(depth, opacity, camera)
    cosine = (rays(camera.to(torch.float64), SIDE).directions @ camera.forwards.double()[:, :, None]).reshape(1, 1, SIDE, SIDE)
    squashed = torch.where(opacity > 0, 2.7 + 0.1 * (depth * cosine - 2.7), torch.inf) / cosine
    torch.testing.assert_close(bulge(squashed, opacity, camera), value)


def test_pictures_that_cannot_be_measured_are_nan_and_take_no_part() -> None:
    camera = camera_at(0.0, 1.0, 2.0)
    depth, opacity = ball(camera)
    opacity[1] = 0
    depth[2, 0, SIDE // 2, SIDE // 2] = math.nan
    found = bulge(depth, opacity, camera)
    assert found.isnan().tolist() == [False, True, True]
    torch.testing.assert_close(found[:1], bulge(*ball(camera[0]), camera[0]))
    with pytest.raises(NotMeasurable, match='20 object pixels'):
        bulge(depth, torch.zeros_like(opacity), camera)
