"""Laws of the adaptive strength: direction, speed, bounds, and exact resumption."""

import pytest
import torch

from dnnlib.errors import UsageError
from training.augment.controller import AdaConfig, AdaController


def test_moves_at_the_asked_rate_in_the_right_direction():
    controller = AdaController(AdaConfig(target=0.6, speed_kimg=500))
    assert controller.update(0.9, 64) == pytest.approx(64 / 500e3)
    assert controller.update(0.7, 64) == pytest.approx(128 / 500e3)
    assert controller.update(0.5, 64) == pytest.approx(64 / 500e3)
    assert controller.update(0.6, 64) == pytest.approx(64 / 500e3)


def test_full_range_takes_speed_kimg():
    controller = AdaController(AdaConfig(speed_kimg=2.0, interval=4))
    for _ in range(100):
        controller.observe(1.0, 20)
    assert controller.p == pytest.approx(1.0)


def test_stays_a_probability():
    controller = AdaController(AdaConfig(initial=0.5, speed_kimg=1.0))
    assert controller.update(1.0, 10_000) == 1.0
    assert controller.update(-1.0, 10_000) == 0.0


def test_adjusts_every_interval_by_the_mean_over_images():
    controller = AdaController(AdaConfig(initial=0.5, target=0.6, interval=2, speed_kimg=1.0))
    assert controller.observe(1.0, 10) == 0.5
    assert controller.observe(0.5, 90) == pytest.approx(0.4)  # mean 0.55, below the target


def test_modes_that_do_not_adapt():
    for config, p in ((AdaConfig(mode='noaug', initial=0.3), 0.0), (AdaConfig(mode='fixed', initial=0.3), 0.3)):
        controller = AdaController(config)
        assert not controller.adapts
        for _ in range(10):
            controller.observe(1.0, 1000)
        controller.load_state_dict({'p': 0.9, 'signs': 0.0, 'images': 0.0, 'observations': 0.0})
        assert controller.p == p


def test_resumes_exactly():
    config = AdaConfig(interval=3, speed_kimg=0.5)
    signs = torch.rand(20, generator=torch.Generator().manual_seed(0)) * 2 - 0.5
    whole = AdaController(config)
    ps = [whole.observe(sign, 7) for sign in signs]
    for cut in range(1, 20):
        first, second = AdaController(config), AdaController(config)
        for sign in signs[:cut]:
            first.observe(sign, 7)
        state = first.state_dict()
        assert all(type(value) is float for value in state.values())
        second.load_state_dict(state)
        assert [second.observe(sign, 7) for sign in signs[cut:]] == ps[cut:]


def test_errors():
    with pytest.raises(UsageError, match='initial'):
        AdaConfig(initial=2.0)
    with pytest.raises(UsageError, match='speed_kimg'):
        AdaConfig(speed_kimg=0)
    with pytest.raises(ValueError, match='diverged'):
        AdaController(AdaConfig()).update(float('nan'), 4)
