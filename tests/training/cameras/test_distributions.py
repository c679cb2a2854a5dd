"""Camera laws: their statistics, their addresses, their errors."""

import pytest
import torch
from scipy import stats

from dnnlib.config import from_dict, to_dict
from dnnlib.errors import UsageError
from torch_utils.rng import Stream
from training.cameras.distributions import LAWS, Fixed, Gaussian, LawConfig, Sphere, UniformBand, Wide
from training.cameras.orbit import angles_of

N = 20000
STREAM = Stream(seed=1, step=5, phase='cameras', rows=range(N))


def drawn(law: LawConfig) -> tuple:
    yaw, pitch, radius = angles_of(law.sample(STREAM).checked(), law.target)
    assert torch.allclose(radius, torch.tensor(law.radius), atol=1e-5)
    return torch.rad2deg(yaw).double().numpy(), torch.rad2deg(pitch).double().numpy()


def test_sphere_is_uniform() -> None:
    yaw, pitch = drawn(Sphere(target=(0.1, 0.0, -0.2)))
    assert stats.kstest(yaw, stats.uniform(-180, 360).cdf).pvalue > 1e-3
    assert stats.kstest(torch.sin(torch.deg2rad(torch.from_numpy(pitch))).numpy(), stats.uniform(-1, 2).cdf).pvalue > 1e-3
    directions = Sphere().sample(STREAM).origins / 2.7
    assert directions.mean(0).abs().max() < 0.02
    assert torch.allclose(directions.mT @ directions / N, torch.eye(3) / 3, atol=0.02)


def test_gaussian() -> None:
    yaw, pitch = drawn(Gaussian(yaw_mean_deg=-20.0, yaw_std_deg=15.0, pitch_mean_deg=5.0, pitch_std_deg=8.0))
    assert stats.kstest(yaw, stats.norm(-20, 15).cdf).pvalue > 1e-3 and stats.kstest(pitch, stats.norm(5, 8).cdf).pvalue > 1e-3
    assert abs(stats.pearsonr(yaw, pitch).statistic) < 0.03
    _, clipped = drawn(Gaussian(pitch_mean_deg=0.0, pitch_std_deg=20.0, pitch_min_deg=-5.0, pitch_max_deg=45.0))
    assert -5.001 < clipped.min() < -4.999 and 44.999 < clipped.max() < 45.001


def test_uniform_band() -> None:
    yaw, pitch = drawn(UniformBand(yaw_min_deg=-30.0, yaw_max_deg=60.0, pitch_min_deg=10.0, pitch_max_deg=20.0))
    assert stats.kstest(yaw, stats.uniform(-30, 90).cdf).pvalue > 1e-3 and stats.kstest(pitch, stats.uniform(10, 10).cdf).pvalue > 1e-3


def test_wide_is_its_mixture() -> None:
    yaw, pitch = drawn(Wide())

    def yaw_law(x):
        return 0.55 * stats.norm(0, 20).cdf(x) + 0.30 * stats.norm(75, 12).cdf(x) + 0.15 * stats.uniform(-180, 360).cdf(x)

    def pitch_law(x):
        inside = 0.55 * stats.norm(10, 6).cdf(x) + 0.30 * stats.norm(24, 6).cdf(x) + 0.15 * stats.norm(15, 6).cdf(x)
        return inside

    assert stats.kstest(yaw, yaw_law).pvalue > 1e-3
    free = pitch[(pitch > -4.99) & (pitch < 44.99)]
    low, high = pitch_law(-5.0), pitch_law(45.0)
    assert stats.kstest(free, lambda x: (pitch_law(x) - low) / (high - low)).pvalue > 1e-3
    assert pitch.min() > -5.001 and pitch.max() < 45.001
    side = (yaw > 60) & (yaw < 90)
    assert abs(pitch[side].mean() - 24) < 0.6 and abs(pitch[abs(yaw) < 20].mean() - 10) < 0.6  # the joint law, not only the margins


def test_fixed() -> None:
    yaw, pitch = drawn(Fixed(yaw_deg=30.0, pitch_deg=-10.0))
    assert abs(yaw - 30).max() < 1e-4 and abs(pitch + 10).max() < 1e-4


@pytest.mark.parametrize('law', [cls() for cls in LAWS.values()], ids=list(LAWS))
def test_every_row_has_its_address(law: LawConfig) -> None:
    whole = law.sample(Stream(3, 7, 'cameras', range(8)))
    parts = [law.sample(Stream(3, 7, 'cameras', rows)) for rows in (range(3), (3,), (5, 4), range(6, 8))]
    order = [0, 1, 2, 3, 5, 4, 6, 7]
    assert torch.equal(torch.cat([part.origins for part in parts]), whole.origins[order])
    assert torch.equal(law.sample(Stream(3, 7, 'cameras', range(8))).world_from_camera, whole.world_from_camera)
    if not isinstance(law, Fixed):
        assert not torch.equal(law.sample(Stream(3, 8, 'cameras', range(8))).origins, whole.origins)
    assert from_dict(LawConfig, to_dict(law) | {'kind': type(law).__name__}) == law


def test_errors() -> None:
    with pytest.raises(UsageError, match='radius'):
        Wide(radius=0.0)
    with pytest.raises(UsageError, match='fov_x_deg'):
        Sphere(fov_x_deg=180.0)
