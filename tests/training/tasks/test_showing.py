"""What the discriminator is shown: blur that treats real and generated pictures, and their raw companions, alike."""

from dataclasses import replace

import torch

from torch_utils.rng import Stream
from training.augment.controller import AdaConfig, AdaController
from training.augment.pipe import AUGMENT_PRESETS, AugmentPipe
from training.tasks.gan_config import GanConfig
from training.tasks.showing import Showing

STREAM = Stream(0, 0, 'D', (0, 1))


def showing(**changes: object) -> Showing:
    config = replace(GanConfig(blur_sigma_px=3.0, blur_fade_kimg=1.0), **changes)
    return Showing(config, AugmentPipe(AUGMENT_PRESETS['bgc']), AdaController(AdaConfig(mode='noaug')), True, 16)


def test_a_raw_companion_is_blurred_as_its_picture_is() -> None:
    """A picture that is smooth beyond its raw companion's pixels: both lose the same contrast."""
    wave = torch.sin(torch.arange(64) * (2 * torch.pi / 32)).expand(2, 3, 64, 64).contiguous()
    raw = showing().raw_of_real(wave, 0)
    for is_real in (True, False):
        image_shown, raw_shown = showing()(wave, raw, 0, STREAM, is_real)
        kept = image_shown[..., 16:48, 16:48].std() / wave[..., 16:48, 16:48].std()
        raw_kept = raw_shown[..., 4:12, 4:12].std() / raw[..., 4:12, 4:12].std()
        assert raw_kept < 0.95 and abs(raw_kept - kept) < 0.03


def test_as_published_generated_raw_pictures_stay_sharp() -> None:
    image, raw = torch.randn(2, 3, 64, 64), torch.randn(2, 3, 16, 16)
    published = showing(blur_raw='EG3D_2022')
    assert torch.equal(published(image, raw, 0, STREAM, is_real=False)[1], raw)
    assert not torch.equal(published(image, raw, 0, STREAM, is_real=True)[1], raw)
    assert torch.equal(published(image, raw, 2000, STREAM, is_real=True)[1], raw)
