"""Inception-v3 beside torch-fidelity's with the same random weights, and what is said when a file is missing or wrong."""

import hashlib

import numpy as np
import pytest
import torch

from dnnlib.errors import DataError, MissingInputError
from metrics.evaluate import check, compute
from metrics.features import INCEPTION_NAME, InceptionFeatures
from metrics.inception import InceptionV3, resize_like_tensorflow1
from training.data.item import from_uint8


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A state dict of random numbers that keep activations alive, under a name of its own."""
    draw = torch.Generator().manual_seed(0)
    state = InceptionV3().state_dict()
    for name, value in state.items():
        if value.ndim == 4:
            value.normal_(generator=draw).mul_((2 / value[0].numel()) ** 0.5)
        elif value.is_floating_point():
            value.uniform_(0.5, 1.5, generator=draw) if name.endswith(('running_var', 'bn.weight')) else value.normal_(std=0.1, generator=draw)
    path = tmp_path_factory.mktemp('inception') / 'random.pth'
    torch.save(state, path)
    return path


def test_has_the_parameters_of_the_published_file():
    state = InceptionV3().state_dict()
    assert len(state) == 566
    assert state['Mixed_7c.branch3x3dbl_3b.conv.weight'].shape == (384, 384, 3, 1) and state['fc.weight'].shape == (1008, 2048)


@pytest.mark.parametrize('size', [32, 299, 400])
def test_resize_is_that_of_tensorflow_1(size):
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    images = torch.rand(1, 1, size, size, generator=torch.Generator().manual_seed(1)) * 255
    theirs = interpolate_bilinear_2d_like_tensorflow1x(images, size=(299, 299), align_corners=False)
    assert (resize_like_tensorflow1(images, 299) - theirs).abs().max() < 1e-4


def test_features_and_logits_equal_torch_fidelitys(weights, shapes):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    images = shapes(4, seed=0)
    theirs = FeatureExtractorInceptionV3('their', ['2048', 'logits_unbiased'], feature_extractor_weights_path=str(weights))
    expected, expected_logits = theirs(images)
    ours = InceptionFeatures(weights)
    found = ours(from_uint8(images))
    assert expected.std() > 0.01
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
    assert np.abs(ours.logits(found.numpy()) - expected_logits.numpy()).max() < 1e-5 * expected_logits.abs().max()
    assert ours.name == 'inception-custom' and ours.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_without_a_file_the_places_and_the_offline_metrics_are_named(own_cache, shapes, images_in_memory):
    reals = images_in_memory(shapes(20, seed=0))
    with pytest.raises(MissingInputError) as caught:
        compute(['fd_photo', 'fid50k_full'], lambda start, n: pytest.fail('nothing may be generated'), reals)
    message = str(caught.value)
    assert str(own_cache / INCEPTION_NAME) in message and 'hub/checkpoints' in message and '.cache/unposed' in message
    assert 'fd_photo, kd_photo and pr_photo' in message
    with pytest.raises(MissingInputError):
        check(['is50k'])


def test_other_files_are_refused(tmp_path):
    impostor = tmp_path / INCEPTION_NAME
    torch.save({'fc.weight': torch.zeros(2)}, impostor)
    with pytest.raises(DataError, match='SHA-256'):
        InceptionFeatures(impostor)
    other = impostor.rename(tmp_path / 'other.pth')
    with pytest.raises(DataError, match='not Inception-v3'):
        InceptionFeatures(other)
    other.write_bytes(b'not a state dict')
    with pytest.raises(DataError, match='cannot be read'):
        InceptionFeatures(other)
