"""Laws of poses: the sliced distance against SciPy and closed forms, the search for the rotation, the failures of known size."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from metrics import pose_distribution as room
from metrics.measurable import NotMeasurable
from metrics.pose_distribution import circular_std_deg, directions, gauge, pose_distribution, sliced_wasserstein
from training.cameras.orbit import orbit
from training.data.toyworld.numbers import Draws
from training.data.toyworld.poses import draw_pose


def poses(law, start, count=500):
    """(azimuth, elevation) in radians of scenes start .. start + count - 1."""
    drawn = [draw_pose(law, Draws(0, index)) for index in range(start, start + count)]
    return np.radians([pose.azimuth_deg for pose in drawn]), np.radians([pose.elevation_deg for pose in drawn])


@pytest.fixture(scope='module', name='real')
def _real():
    return poses('wide', 0)


@pytest.fixture(scope='module', name='other')
def _other():
    return poses('wide', 500)


def test_directions_are_where_the_cameras_of_the_project_stand():
    azimuth, elevation = np.random.default_rng(0).uniform(-1.4, 1.4, (2, 10))
    cameras = orbit(torch.from_numpy(azimuth), torch.from_numpy(elevation), 1.0, focal=1.0)
    np.testing.assert_allclose(directions(azimuth, elevation), cameras.world_from_camera[:, :3, 3].double().numpy(), atol=1e-6)


@pytest.mark.parametrize('counts', [(40, 40), (40, 25), (7, 30), (1, 3)])
def test_sliced_distance_equals_scipy_on_every_projection(counts):
    draw = np.random.default_rng(1)
    a, b = draw.normal(size=(counts[0], 3)), draw.normal(size=(counts[1], 3)) + 0.3
    axes = np.random.default_rng(5).normal(size=(20, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    expected = np.mean([scipy.stats.wasserstein_distance(a @ axis, b @ axis) for axis in axes])
    assert sliced_wasserstein(a, b, projections=20, seed=5) == pytest.approx(expected, rel=1e-10)


def test_points_moved_by_a_step_are_half_of_it_away_on_average():
    a = np.random.default_rng(2).normal(size=(50, 3))
    step = np.array([0.6, 0.0, 0.8])
    assert sliced_wasserstein(a, a + step, projections=20000) == pytest.approx(0.5, rel=0.02)  # mean |cos| over the sphere
    assert sliced_wasserstein(a, a[::-1]) == 0
    assert sliced_wasserstein(a, np.repeat(a, 3, axis=0)) == pytest.approx(0, abs=1e-12)  # the same law, other N


def test_gauge_finds_the_rotation_that_was_applied(real):
    cloud = directions(*real)
    for degrees in (-170.0, -33.3, 0.0, 91.7):
        turned = directions(real[0] + math.radians(degrees), real[1])
        found = gauge(turned, cloud)
        assert math.degrees(found.offset_rad) == pytest.approx(-degrees, abs=0.1) and found.distance < 0.002 and not found.mirrored
    mirrored = gauge(directions(-real[0] + 0.5, real[1]), cloud, mirror=True)
    assert mirrored.mirrored and mirrored.offset_rad == pytest.approx(0.5, abs=0.002) and mirrored.distance < 0.002


def test_no_single_rotation_of_a_fine_grid_is_better(real, other):
    generated = directions(other[0] * 0.6 - 1, other[1])
    best = gauge(generated, directions(*real))
    turned = [directions(other[0] * 0.6 - 1 + angle, other[1]) for angle in np.radians(np.arange(-180, 180, 2))]
    assert best.distance <= min(sliced_wasserstein(cloud, directions(*real)) for cloud in turned)


def test_the_alignments_only_take_away(real, other):
    for azimuth in (other[0], other[0] + 1, -other[0], 0 * other[0], 0.3 * other[0]):
        found = pose_distribution(azimuth, other[1], *real)
        assert found.raw >= found.aligned >= found.mirrored_aligned >= 0
        assert found.kl >= 0 and 0 <= found.js <= math.log(2)


def test_a_misled_search_still_compares_with_no_rotation(real, other, monkeypatch):
    monkeypatch.setattr(room, 'COARSE_PROJECTIONS', 1)
    monkeypatch.setattr(room, 'VALLEYS', 1)
    for azimuth in (other[0], other[0] + 1, -other[0], 0.3 * other[0]):
        found = pose_distribution(azimuth, other[1], *real)
        assert found.raw >= found.aligned


def test_known_failures_stand_out_from_the_floor(real, other):
    floor = pose_distribution(*other, *real)
    assert floor.raw < 0.05 and floor.circular_std_deg == pytest.approx(52.5, abs=5)  # sqrt(-2 log |mean|) of the law in closed form
    collapse = pose_distribution(0 * other[0], other[1], *real)
    assert collapse.aligned > 0.25 and collapse.circular_std_deg == pytest.approx(0, abs=1e-6)
    assert collapse.real_circular_std_deg == floor.real_circular_std_deg
    uniform = pose_distribution(*poses('uniform', 500), *real)
    assert uniform.aligned > 0.25 and uniform.circular_std_deg > 100
    narrow = pose_distribution(*poses('narrow', 500), *real)
    assert narrow.aligned > 0.15 and narrow.circular_std_deg == pytest.approx(18, abs=2)
    for wrong in (collapse, uniform, narrow):
        assert wrong.js > 3 * floor.js and wrong.kl > 3 * floor.kl


def test_a_mirrored_or_turned_solution_is_forgiven_where_the_name_says_so(real, other):
    mirrored = pose_distribution(-other[0], other[1], *real)
    assert mirrored.raw > 0.2 and 0.08 < mirrored.aligned < 0.15 and mirrored.mirrored_aligned < 0.05
    turned = pose_distribution(other[0] + math.radians(70), other[1], *real)
    assert turned.raw > 0.3 and turned.aligned < 0.05 and turned.offset_deg == pytest.approx(-70, abs=6)


def test_divergences_by_hand():
    # All generated poses in one of 144 bins, all real ones in another.
    azimuth, elevation = np.full(20, 0.1), np.full(20, 0.1)
    found = pose_distribution(azimuth, elevation, azimuth + 2, elevation)
    full, empty = 20.5 / 92, 0.5 / 92
    assert found.kl == pytest.approx((full - empty) * math.log(full / empty))
    middle = (full + empty) / 2
    assert found.js == pytest.approx(full * math.log(full / middle) + empty * math.log(empty / middle))
    whole_turn = pose_distribution(azimuth + 2 * np.pi, elevation, azimuth, elevation)
    assert whole_turn.kl == whole_turn.js == 0 and whole_turn.raw < 1e-12
    seam = pose_distribution(0 * azimuth + np.pi - 1e-9, elevation, 0 * azimuth - np.pi + 1e-9, elevation)
    assert seam.raw < 1e-8 and seam.kl == pytest.approx(found.kl)  # bins have edges, and see no distance


def test_circular_spread_of_a_normal_law_is_its_standard_deviation():
    azimuth = np.random.default_rng(3).normal(3.0, 0.3, 20000)  # across the seam
    assert circular_std_deg(azimuth) == pytest.approx(math.degrees(0.3), rel=0.02)


def test_few_poses_and_poses_that_are_not_finite_are_refused(real):
    with pytest.raises(NotMeasurable, match='at least 20 rows, found 19'):
        pose_distribution(real[0][:19], real[1][:19], *real)
    with pytest.raises(NotMeasurable, match='500 of 500 rows are not finite'):
        pose_distribution(real[0] * np.nan, real[1], *real)
    with pytest.raises(NotMeasurable, match='sliced distance needs at least 1 rows'):
        sliced_wasserstein(np.zeros((0, 3)), np.zeros((5, 3)))
