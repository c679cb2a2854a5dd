"""Reconstruction: torchmetrics, brute force, and visibility against rays that are traced one by one."""

import math

import numpy as np
import pytest
import torch

from metrics.measurable import NotMeasurable
from metrics.reconstruction import psnr, reconstruction, ssim, visible_from
from training.cameras.camera import Camera
from training.cameras.orbit import angles_of, orbit
from training.data.toyworld.world import Toyworld, ToyworldConfig, render_scenes

NUM_SCENES = 4


def pictures(seed, side=24):
    draw = np.random.default_rng(seed)
    truth = draw.uniform(-1, 1, (3, 3, side, side)).cumsum(-1).cumsum(-2) / side
    truth = torch.from_numpy(np.tanh(truth))
    noise = torch.from_numpy(draw.normal(size=truth.shape)) * torch.tensor([0.02, 0.1, 0.5])[:, None, None, None]
    return (truth + noise).clamp(-1, 1), truth


@pytest.mark.parametrize('side', [24, 11])
def test_agrees_with_torchmetrics(side):
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    generated, truth = pictures(0, side)
    theirs = peak_signal_noise_ratio(generated, truth, data_range=2.0, reduction='none', dim=(1, 2, 3))
    assert torch.allclose(psnr(generated, truth), theirs, atol=1e-4)
    _, everywhere = structural_similarity_index_measure(
        (generated + 1) / 2, (truth + 1) / 2, gaussian_kernel=True, sigma=1.5, data_range=1.0, return_full_image=True,
    )
    assert torch.allclose(ssim(generated, truth), everywhere[..., 5:-5, 5:-5].mean((1, 2, 3)), atol=1e-4)


def test_ssim_equals_its_formula_in_one_window():
    generated, truth = pictures(1, 11)
    x, y = (generated[2].numpy() + 1) / 2, (truth[2].numpy() + 1) / 2
    weight = np.exp(-(np.add.outer(np.arange(-5, 6) ** 2, np.arange(-5, 6) ** 2)) / (2 * 1.5**2))
    weight /= weight.sum()
    values = []
    for a, b in zip(x, y, strict=True):
        mean_a, mean_b = (weight * a).sum(), (weight * b).sum()
        var_a, var_b = (weight * (a - mean_a) ** 2).sum(), (weight * (b - mean_b) ** 2).sum()
        both = (weight * (a - mean_a) * (b - mean_b)).sum()
        values.append((2 * mean_a * mean_b + 1e-4) * (2 * both + 9e-4) / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4)))
    assert ssim(generated, truth)[2].item() == pytest.approx(np.mean(values), rel=1e-9)


def test_equal_pictures_are_perfect_and_noise_orders_them():
    generated, truth = pictures(2)
    assert torch.allclose(ssim(truth, truth), torch.ones(3, dtype=torch.float64)) and psnr(truth, truth).isposinf().all()
    for measure in (psnr, ssim):
        assert measure(generated, truth).tolist() == sorted(measure(generated, truth).tolist(), reverse=True)
    assert psnr(truth.clamp(-0.9, 0.9) + 0.1, truth.clamp(-0.9, 0.9)).tolist() == pytest.approx([20 * math.log10(20)] * 3)


def test_the_parts_make_the_whole():
    generated, truth = pictures(3)
    visible = torch.from_numpy(np.random.default_rng(3).random((3, 1, 24, 24)) < 0.7)
    found = reconstruction(generated, truth, visible)

    def squared_error(value):
        return 4 / 10 ** (value / 10)

    share = found.share_visible
    whole = share * squared_error(found.psnr_visible) + (1 - share) * squared_error(found.psnr_disoccluded)
    assert torch.allclose(whole, squared_error(found.psnr)) and torch.equal(found.ssim, ssim(generated, truth))
    assert torch.equal(share, visible.double().mean((1, 2, 3)))


def test_each_part_sees_only_its_own_errors():
    _, truth = pictures(4)
    truth = truth * 0.5
    visible, region = torch.zeros(3, 1, 24, 24, dtype=torch.bool), torch.zeros(3, 1, 24, 24, dtype=torch.bool)
    visible[..., :12], region[..., 6:18] = True, True
    error = torch.where(visible, 0.1, 0.4) + torch.where(region, 0.0, 5.0)
    found = reconstruction(truth + error, truth, visible, region)
    assert found.psnr_visible.tolist() == pytest.approx([20 * math.log10(2 / 0.1)] * 3)
    assert found.psnr_disoccluded.tolist() == pytest.approx([20 * math.log10(2 / 0.4)] * 3)
    assert found.share_visible.tolist() == [0.5] * 3


def test_what_cannot_be_measured_is_nan_or_said():
    generated, truth = pictures(5)
    visible = torch.zeros(3, 1, 24, 24, dtype=torch.bool)
    visible[0].view(-1)[:19], visible[1].view(-1)[:20], visible[2] = True, True, True
    found = reconstruction(generated, truth, visible)
    assert found.psnr_visible.isnan().tolist() == [True, False, False] and found.psnr_disoccluded.isnan().tolist() == [False, False, True]
    assert reconstruction(generated, truth, visible, torch.zeros_like(visible)).share_visible.isnan().all()
    with pytest.raises(NotMeasurable, match='there is none'):
        reconstruction(generated[:0], truth[:0], visible[:0])


@pytest.fixture(scope='module')
def views():
    """(scenes, camera of the input, camera of the novel view 25 degrees aside, depth of the novel view)."""
    toyworld = Toyworld(ToyworldConfig(classes=('mug', 'chair', 'house'), seed=8))
    scenes = [toyworld.scene(i) for i in range(NUM_SCENES)]
    camera = toyworld.cameras(range(NUM_SCENES))
    yaw, pitch, radius = angles_of(camera)
    aside = orbit(yaw - math.radians(25), pitch, radius, focal=camera.intrinsics[:, 0, 0])
    return scenes, camera, aside, torch.from_numpy(render_scenes(scenes, aside, 20).distance)


def traced(scenes, camera, aside, depth):
    """Visibility by a ray from the input camera to each point of the novel view: does it hit anything before the point?"""
    result = torch.ones_like(depth, dtype=torch.bool)
    for i, row, column in depth.isfinite()[:, 0].nonzero().tolist():
        pose, k = aside.world_from_camera[i].double().numpy(), aside.intrinsics[i].double().numpy()
        local = np.linalg.inv(k) @ [(column + 0.5) / depth.shape[-1], (row + 0.5) / depth.shape[-2], 1.0]
        point = pose[:3, :3] @ (local / np.linalg.norm(local) * depth[i, 0, row, column].item()) + pose[:3, 3]
        pose = camera.world_from_camera[i].double().numpy()
        local = pose[:3, :3].T @ (point - pose[:3, 3])
        # A camera of one pixel whose centre looks at the point.
        k = camera.intrinsics[i].double().clone()
        u, v = (float(k[axis, axis]) * local[axis] / local[2] + 0.5 for axis in (0, 1))
        k[0, 2], k[1, 2] = 1 - u, 1 - v
        met = render_scenes([scenes[i]], Camera(torch.from_numpy(pose)[None], k[None]), 1).distance.item()
        result[i, 0, row, column] = bool(0 <= u < 1 and 0 <= v < 1 and np.linalg.norm(local) < met + 1e-4)
    return result


def test_visibility_is_that_of_traced_rays(views):
    scenes, camera, aside, depth = views
    exact, there = traced(*views), depth.isfinite()
    hidden = float((~exact)[there].double().mean())
    assert 0.05 < hidden < 0.5
    for side, wrong in ((32, 0.08), (256, 0.04)):
        found = visible_from(torch.from_numpy(render_scenes(scenes, camera, side).distance), camera, depth, aside)
        assert (found != exact)[there].double().mean() < wrong and found[~there].all()


def test_a_view_sees_all_of_itself_and_nothing_of_the_back(views):
    scenes, camera, _, _ = views
    depth = torch.from_numpy(render_scenes(scenes, camera, 32).distance)
    assert visible_from(depth, camera, depth, camera).all()
    yaw, pitch, radius = angles_of(camera)
    back = orbit(yaw + math.pi, -pitch, radius, focal=camera.intrinsics[:, 0, 0])
    behind = torch.from_numpy(render_scenes(scenes, back, 32).distance)
    assert visible_from(depth, camera, behind, back)[behind.isfinite()].double().mean() < 0.15


def test_what_the_input_does_not_frame_is_not_visible():
    camera = orbit(torch.zeros(1, dtype=torch.float64), 0.0, 2.7, focal=3.0)
    wide = orbit(torch.zeros(1, dtype=torch.float64), 0.0, 2.7, focal=1.5)
    wall = torch.full((1, 1, 8, 8), 2.7)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[2:6, 2:6] = True
    assert torch.equal(visible_from(wall, camera, wall, wide)[0, 0], expected)
