"""Schedules are pure functions of the images seen, and right at both ends."""

import pytest

from training import schedules


def test_ends_and_middle() -> None:
    assert schedules.linear(0, 10, 2, fade_kimg=4) == 10
    assert schedules.linear(2000, 10, 2, fade_kimg=4) == 6
    assert schedules.linear(9000, 10, 2, fade_kimg=4) == 2
    assert schedules.linear(0, 10, 2, fade_kimg=0) == 2


def test_blur_ends_and_is_off_without_a_fade() -> None:
    assert schedules.blur_sigma_px(0, 10, 200) == 10
    assert schedules.blur_sigma_px(200_000, 10, 200) == 0
    assert schedules.blur_sigma_px(0, 10, 0) == 0


def test_conditioning_starts_with_other_cameras() -> None:
    assert schedules.camera_swap_probability(0, 0.5, 1000) == 1
    assert schedules.camera_swap_probability(500_000, 0.5, 1000) == 0.75
    assert schedules.camera_swap_probability(2_000_000, 0.5, 1000) == 0.5


def test_render_resolution_is_whole() -> None:
    assert [schedules.render_resolution(n, 64, 128, 1000) for n in (0, 500_000, 1_000_000)] == [64, 96, 128]


@pytest.mark.parametrize('nimg, expected', [(0, 0), (1000, 50), (10_000_000, 10_000)])
def test_average_is_short_at_first(nimg: int, expected: float) -> None:
    assert schedules.ema_half_life_img(nimg, half_life_kimg=10, ramp_up=0.05) == expected


@pytest.mark.parametrize('nimg, expected', [(0, 0), (1999, 0), (2000, 0), (4000, 0.5), (6000, 1), (10**7, 1)])
def test_hold_then_ramp(nimg: int, expected: float) -> None:
    assert schedules.hold_then_ramp(nimg, hold_kimg=2, fade_kimg=4) == expected


def test_hold_without_a_ramp_is_a_step_and_nothing_at_all_is_over_at_once() -> None:
    assert [schedules.hold_then_ramp(n, 2, 0) for n in (0, 1999, 2000)] == [0, 0, 1]
    assert schedules.hold_then_ramp(0, 0, 0) == 1
