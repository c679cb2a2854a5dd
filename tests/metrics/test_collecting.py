"""Features in fixed batches, the cache of real features, and the passage through uint8."""

import numpy as np
import pytest
import torch

from dnnlib.errors import NumericalError
from metrics.collecting import Gatherer, cache_folder, gather, real_features
from metrics.features import PhotoFeatures
from metrics.moments import Moments
from training.data.item import from_uint8, to_uint8


class BatchSensitive:
    """An extractor whose numbers depend on what else is in the batch, as those of convolution libraries may in their last digits."""

    name, sha256, num_features, batch = 'sensitive', 'f' * 64, 2, 8

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        mean = images.mean(dim=(1, 2, 3))
        return torch.stack([mean, mean + len(images) * 1e-3], dim=1)


def test_uint8_and_back():
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(from_uint8(values)), values)
    assert to_uint8(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]
    with pytest.raises(NumericalError, match='1 of 2 images'):
        to_uint8(torch.tensor([0.0, float('nan')]).view(2, 1, 1, 1))


@pytest.mark.parametrize('sizes', [[1] * 21, [5, 16], [3, 8, 8, 2], [40]])
def test_features_do_not_depend_on_how_images_arrive(sizes, shapes):
    images = shapes(sum(sizes), seed=1, resolution=8)
    whole = gather([images[:21]], [Gatherer(BatchSensitive(), 21, 21)])[0]
    parts = gather(images.split(sizes), [Gatherer(BatchSensitive(), 21, 21)])[0]
    assert np.array_equal(whole.features, parts.features) and np.array_equal(whole.moments.scatter, parts.moments.scatter)


def test_moments_are_of_all_images_and_features_of_the_first(shapes):
    images = shapes(30, seed=2, resolution=8)
    whole = gather([images], [Gatherer(BatchSensitive(), 30, 30)])[0]
    first = gather([images], [Gatherer(BatchSensitive(), 30, 11)])[0]
    assert len(first) == 30 and np.array_equal(first.features, whole.features[:11])
    np.testing.assert_allclose(first.moments.covariance, np.cov(whole.features.astype(np.float64), rowvar=False), rtol=1e-6)
    np.testing.assert_allclose(first.rows(2, 9).moments.mean, Moments.of(whole.features[2:9]).mean)


def test_a_cache_hit_gives_the_same_bits_without_reading_an_image(own_cache, shapes, images_in_memory):
    reals = images_in_memory(shapes(40, seed=3, resolution=8))
    first = real_features(reals, BatchSensitive(), 40, 30, cache_folder())
    assert reals.reads == 40 and str(cache_folder()).startswith(str(own_cache))
    second = real_features(reals, BatchSensitive(), 40, 20, cache_folder())
    assert reals.reads == 40
    assert np.array_equal(first.features[:20], second.features) and np.array_equal(first.moments.scatter, second.moments.scatter)
    real_features(reals, BatchSensitive(), 40, 35, cache_folder())
    assert reals.reads == 80  # more features than were kept
    real_features(images_in_memory(shapes(40, seed=4, resolution=8)), BatchSensitive(), 40, 30, cache_folder())
    assert len(list(cache_folder().glob('*.npz'))) == 2


def test_a_damaged_or_unwritable_cache_costs_only_time(own_cache, shapes, images_in_memory, capsys):
    reals = images_in_memory(shapes(12, seed=5, resolution=8))
    expected = real_features(reals, BatchSensitive(), 12, 12, cache_folder())
    (path,) = cache_folder().glob('*.npz')
    path.write_bytes(path.read_bytes()[:100])
    assert np.array_equal(real_features(reals, BatchSensitive(), 12, 12, cache_folder()).features, expected.features)
    assert 'damaged' in capsys.readouterr().err
    blocked = own_cache / 'file'
    blocked.write_text('')
    assert np.array_equal(real_features(reals, BatchSensitive(), 12, 12, blocked).features, expected.features)
    assert 'not kept' in capsys.readouterr().err


def test_photo_features_hardly_depend_on_the_batch(shapes):
    extractor, images = PhotoFeatures(), from_uint8(shapes(12, seed=6, resolution=48))
    whole = extractor(images)
    single = torch.cat([extractor(image[None]) for image in images])
    assert whole.shape == (12, extractor.num_features) and (whole - single).abs().max() < 1e-5 * whole.abs().max()
