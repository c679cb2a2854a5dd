"""The whole renderer on fields that one can think about: laws, exactness, and the published renderer written as loops."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from dnnlib.config import from_dict, override, to_dict
from dnnlib.errors import UsageError
from torch_utils.rng import Stream
from training.cameras.camera import Camera
from training.cameras.orbit import orbit
from training.cameras.rays import Rays, rays
from training.rendering.renderer import Rendered, RenderingConfig, ray_bounds, render

NARROW = RenderingConfig(samples_coarse=24, samples_fine=24, near=1.5, far=3.5, box_side=1.6)
BOXED = replace(NARROW, near='box', far='box')
RELEASED = replace(NARROW, rule='EG3D_2022')


def cameras(n: int = 3) -> Camera:
    yaw, pitch = torch.tensor([0.4, -2.0, 1.0])[:n], torch.tensor([0.2, -0.3, 0.6])[:n]
    return orbit(yaw, pitch, 2.5, (0.05, 0.0, -0.1), focal=1.2)


def blobs(points: torch.Tensor, directions: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Two soft balls, not symmetric, coloured by position; every operation is elementwise, so each point is computed on its own."""
    x, y, z = points.unbind(-1)
    a = (x - 0.3) ** 2 + (y - 0.1) ** 2 + z**2
    b = (x + 0.25) ** 2 + (y + 0.2) ** 2 + (z - 0.2) ** 2
    raw = 30 * torch.exp(-20 * a) + 20 * torch.exp(-30 * b) - 4
    colour = torch.stack([torch.sigmoid(4 * x), torch.sigmoid(3 * y), torch.sigmoid(5 * z), 0.5 + 0 * x], -1)
    return raw[..., None], colour


def ball(points: torch.Tensor, directions: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """A solid ball of radius 0.5."""
    outside = points.norm(dim=-1, keepdim=True) - 0.5
    return (1000 - 2000 * (outside > 0)) + 0 * outside, 0.25 + 0 * points


def biggest_difference(a: Rendered, b: Rendered) -> float:
    return max((a.features - b.features).abs().max().item(), (a.depth - b.depth).abs().max().item(), (a.opacity - b.opacity).abs().max().item())


@pytest.mark.parametrize('config', [NARROW, BOXED, RELEASED, replace(BOXED, depth_rule='median', background='white')])
def test_the_mirrored_scene_from_the_mirrored_camera_is_the_mirrored_image(config: RenderingConfig) -> None:
    c, s = math.cos(0.5), math.sin(0.5)
    roll = torch.tensor([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    k = cameras().intrinsics.clone()
    k[:, 0, 1], k[:, 0, 2] = 0.1, 0.45
    camera = Camera(cameras().world_from_camera @ roll, k)

    def mirrored_blobs(points: torch.Tensor, directions: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        return blobs(points * torch.tensor([-1.0, 1.0, 1.0]))

    image = render(blobs, rays(camera, 8), config)
    mirrored = render(mirrored_blobs, rays(camera.mirrored(), 8), config)
    for found, expected in zip((mirrored.features, mirrored.depth, mirrored.opacity), (image.features, image.depth, image.opacity), strict=True):
        assert torch.allclose(found.unflatten(1, (8, 8)).flip(2).flatten(1, 2), expected, atol=2e-4)
    assert (image.features.unflatten(1, (8, 8)).flip(2).flatten(1, 2) - image.features).abs().max() > 0.1


@pytest.mark.parametrize('fine', [0, 9])
@pytest.mark.parametrize('stream', [None, Stream(0, 0, rows=range(3))])
def test_fog_in_the_box_obeys_beer_and_lambert(fine: int, stream: Stream | None) -> None:
    config = RenderingConfig(samples_coarse=7, samples_fine=fine, box_side=1.0, density_scale=3.0, density_shift=0.0, background='white')
    raw = math.log(math.expm1(0.5))
    seen = rays(cameras(), 8)
    out = render(lambda p, d: (torch.full_like(p[..., :1], raw), torch.zeros_like(p)), seen, config, stream)
    near, far = ray_bounds(seen, config)
    expected = -torch.expm1(-1.5 * (far - near))
    assert (far == near).any() and (far > near).any()
    assert torch.allclose(out.opacity, expected, atol=1e-6)
    assert torch.allclose(out.features, (2 * (1 - expected) - 1).expand(3, 64, 3), atol=2e-6)  # black fog before white
    missed = far == near
    assert torch.equal(out.depth[missed], far[missed]) and (out.opacity[missed] == 0).all()


@pytest.mark.parametrize('depth_rule', ['expected', 'median'])
def test_depth_of_a_solid_ball(depth_rule: str) -> None:
    """The distance along the ray to the first crossing, to a fraction of the sample spacing; the far end where the ray passes by."""
    seen = rays(orbit(0.3, 0.2, 2.5, focal=1.2), 16)
    out = render(ball, seen, RenderingConfig(samples_coarse=64, samples_fine=64, near=1.5, far=3.5, depth_rule=depth_rule))
    b = (seen.origins * seen.directions).sum(-1)
    root = b**2 - seen.origins.square().sum(-1) + 0.25
    clear_hit, clear_miss = root > 0.01, root < -0.01
    truth = -b - root.clamp(min=0).sqrt()
    assert (out.depth.squeeze(-1) - truth)[clear_hit].abs().max() < 0.02
    assert (out.opacity.squeeze(-1)[clear_hit] > 0.999).all() and (out.opacity.squeeze(-1)[clear_miss] == 0).all()
    assert (out.depth.squeeze(-1)[clear_miss] == 3.5).all()
    assert torch.allclose(out.features[0][clear_hit[0]], torch.tensor(-0.5), atol=1e-3)  # 0.25 * 2 - 1


@pytest.mark.parametrize('config', [NARROW, BOXED, replace(BOXED, samples_fine=0), replace(NARROW, depth_rule='median')])
def test_evaluation_does_not_depend_on_the_batch_or_on_chunks(config: RenderingConfig) -> None:
    seen = rays(cameras(), 16)
    with torch.no_grad():
        together = render(blobs, seen, config)
        assert biggest_difference(together, render(blobs, seen, config)) == 0
        for i in range(3):
            alone = render(blobs, rays(cameras()[i], 16), config)
            for name in ('features', 'depth', 'opacity'):
                assert torch.equal(getattr(alone, name), getattr(together, name)[i:i + 1]), name
        for chunk in (1, 7, 100, 256, 1000):
            assert biggest_difference(together, render(blobs, seen, replace(config, chunk_rays=chunk))) < 1e-6


def test_jitter_is_addressed() -> None:
    """Chunks and micro-batches see the same numbers; another step sees others."""
    seen, stream = rays(cameras(), 8), Stream(1, 2, rows=range(3))
    whole = render(blobs, seen, BOXED, stream)
    assert biggest_difference(whole, render(blobs, seen, replace(BOXED, chunk_rays=10), stream)) < 1e-6
    part = render(blobs, Rays(seen.origins[1:], seen.directions[1:]), BOXED, stream.for_rows(1, 3))
    assert torch.equal(part.features, whole.features[1:])
    assert biggest_difference(whole, render(blobs, seen, BOXED, stream.at(3))) > 1e-4
    assert biggest_difference(whole, render(blobs, seen, BOXED)) < 0.3


def test_released_chunks_share_the_bounds_of_the_batch() -> None:
    seen, config = rays(cameras(), 8), replace(RELEASED, near='box', far='box')
    assert biggest_difference(render(blobs, seen, config), render(blobs, seen, replace(config, chunk_rays=9))) < 1e-6
    near, far = ray_bounds(seen, config)
    missed = ~(ray_bounds(seen, replace(config, rule='unposed'))[1] > ray_bounds(seen, replace(config, rule='unposed'))[0])
    assert missed.any() and (near[missed] == near[~missed].min()).all() and (far[missed] == near[~missed].max()).all()


def released_ray_by_loops(origin: torch.Tensor, direction: torch.Tensor, samples: int) -> tuple[list[float], float, float]:
    """EG3D's renderer for one ray with U = 0.5 and u_k = (k + 0.5) / N, in float64 and loops."""
    near, far = 1.5, 3.5

    def ask(t: float) -> tuple[float, list[float]]:
        raw, colour = blobs((origin + t * direction)[None])
        return raw.item(), colour[0].tolist()

    def weights_of(found: list[tuple]) -> list[float]:
        transmitted, weights = 1.0, []
        for (t0, (s0, _)), (t1, (s1, _)) in pairwise(found):
            alpha = 1 - math.exp(-math.log1p(math.exp((s0 + s1) / 2 - 1)) * (t1 - t0))
            weights.append(alpha * transmitted)
            transmitted *= 1 - alpha + 1e-10
        return weights

    step = (far - near) / (samples - 1)
    coarse = [near + (k + 0.5) * step for k in range(samples)]
    found = [(t, ask(t)) for t in coarse]
    padded = [-1.0, *weights_of(found), -1.0]
    peaks = [max(padded[i], padded[i + 1]) for i in range(samples)]
    pdf = [(peaks[i] + peaks[i + 1]) / 2 + 0.01 + 1e-5 for i in range(1, samples - 2)]
    cdf = [sum(pdf[:i]) / sum(pdf) for i in range(samples - 2)]
    middles = [(a + b) / 2 for a, b in pairwise(coarse)]
    for k in range(samples):
        u = (k + 0.5) / samples
        i = min(sum(c <= u for c in cdf), samples - 3)
        t = middles[i - 1] + (u - cdf[i - 1]) / (cdf[i] - cdf[i - 1]) * (middles[i] - middles[i - 1])
        found.append((t, ask(t)))
    found.sort(key=lambda item: item[0])
    weights = weights_of(found)
    pairs = list(pairwise(found))
    colour = [2 * sum(w * (a[1][1][c] + b[1][1][c]) / 2 for w, (a, b) in zip(weights, pairs, strict=True)) - 1 for c in range(4)]
    depth = sum(w * (a[0] + b[0]) / 2 for w, (a, b) in zip(weights, pairs, strict=True)) / sum(weights)
    return colour, depth, sum(weights)


def test_the_released_renderer_against_loops() -> None:
    seen = rays(cameras(1).to(torch.float64), 4)
    out = render(blobs, seen, replace(RELEASED, samples_coarse=10, samples_fine=10))
    for r in range(16):
        colour, depth, opacity = released_ray_by_loops(seen.origins[0, r], seen.directions[0, r], 10)
        assert torch.allclose(out.features[0, r].double(), torch.tensor(colour, dtype=torch.float64), atol=1e-6)
        assert out.depth[0, r].item() == pytest.approx(depth, abs=1e-6) and out.opacity[0, r].item() == pytest.approx(opacity, abs=1e-6)


def test_geometry_stays_in_float32_under_autocast() -> None:
    expected = render(blobs, rays(cameras(), 8), BOXED)
    with torch.autocast('cpu', torch.bfloat16):
        found = render(blobs, rays(cameras(), 8), BOXED)
    assert biggest_difference(found, expected) == 0


def test_both_rules_converge_to_the_same_image() -> None:
    seen = rays(cameras(), 8)
    many = replace(NARROW, samples_coarse=400, samples_fine=0)
    assert biggest_difference(render(blobs, seen, many), render(blobs, seen, replace(many, rule='EG3D_2022'))) < 0.02
    assert (render(blobs, seen, many).features - render(blobs, seen, NARROW).features).abs().max() < 0.02


def test_gradients_reach_field_and_camera() -> None:
    seen_from = torch.tensor([0.4], dtype=torch.float64, requires_grad=True)
    level = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    config = replace(BOXED, samples_coarse=6, samples_fine=0)

    def picture(yaw: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        def field(points: torch.Tensor, directions: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
            raw, colour = blobs(points)
            return raw * level, colour * level

        out = render(field, rays(orbit(yaw, 0.1, 2.5, focal=1.6), 3), config)
        return torch.cat([out.features, out.depth, out.opacity], -1)

    assert torch.autograd.gradcheck(picture, (seen_from, level))
    with_fine = render(blobs, rays(orbit(seen_from, 0.1, 2.5, focal=1.6), 3), BOXED)
    with_fine.features.sum().backward()
    assert seen_from.grad.isfinite().all() and seen_from.grad.abs().max() > 0


def test_directions_are_given_only_to_fields_that_look_at_them() -> None:
    seen = rays(cameras(), 4)
    asked = []

    def field(points: torch.Tensor, directions: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(directions)
        return blobs(points)

    config = replace(NARROW, samples_coarse=5, samples_fine=0)
    render(field, seen, config)
    render(field, seen, replace(config, view_dependent=True))
    assert asked[0] is None and torch.equal(asked[1].unflatten(1, (16, 5))[:, :, 3], seen.directions)


@pytest.mark.parametrize('change', [
    {'samples_coarse': 1}, {'samples_fine': -1}, {'near': 'box'}, {'near': 4.0}, {'box_side': 0.0}, {'chunk_rays': 0},
    {'rule': 'EG3D_2022', 'samples_coarse': 3},
])
def test_config_errors(change: dict) -> None:
    with pytest.raises(UsageError):
        replace(NARROW, **change)


def test_config_travels() -> None:
    for config in (NARROW, BOXED, RELEASED):
        assert from_dict(RenderingConfig, to_dict(config)) == config
    assert override(NARROW, ['near=box', 'far=box']) == BOXED
    assert override(BOXED, ['near=1.5', 'far=3.5', 'chunk_rays=none']) == NARROW


def test_a_field_can_be_its_own_background() -> None:
    """Empty space: what is seen is what the field shows at the far end, nothing shines through, and the depth is the far end."""

    def field(points, directions):
        return torch.full_like(points[..., :1], -60.0), points.clamp(0, 1)

    config = RenderingConfig(samples_coarse=4, samples_fine=0, near=1.0, far=3.0, background='field')
    camera = orbit(0.3, 0.2, 2.0, focal=1.5)
    some = rays(camera, 3)
    seen = render(field, some, config)
    ends = some.origins + 3.0 * some.directions
    torch.testing.assert_close(seen.features, ends.clamp(0, 1) * 2 - 1)
    torch.testing.assert_close(seen.opacity, torch.ones_like(seen.opacity))
    torch.testing.assert_close(seen.depth, torch.full_like(seen.depth, 3.0))
