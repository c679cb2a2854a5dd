"""Feature extractors: what turns images into the vectors that the image metrics compare."""

import contextlib
import json
from pathlib import Path
from typing import Protocol

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from dnnlib.errors import DataError, MissingInputError
from dnnlib.fetch import locate, sha256_of
from metrics.inception import NUM_FEATURES, InceptionV3
from metrics.photo_features.network import PhotoNetwork, PhotoNetworkConfig

PHOTO_WEIGHTS = Path(__file__).parent / 'photo_features' / 'photo_features.safetensors'
INCEPTION_NAME = 'pt_inception-2015-12-05-6726825d.pth'
INCEPTION_SHA256_START = '6726825d'

Device = torch.device | str


class FeatureExtractor(Protocol):
    """name and sha256 (of the weights file) say which one made a number; batch is how many images it is always fed at a time."""

    name: str
    sha256: str
    num_features: int
    batch: int

    def __call__(self, images: Tensor) -> Tensor:
        """images [N, 3, S, S] float32 in [-1, 1] -> features [N, num_features] float32 on the CPU."""


class PhotoFeatures:
    """The photo network that comes with the project (metrics/photo_features): pooled activations, images reduced to 32x32."""

    name = 'photo'
    batch = 100

    def __init__(self, path: Path = PHOTO_WEIGHTS, device: Device = 'cpu') -> None:
        """Raises MissingInputError when there is no such file, DataError when it is not a photo network."""
        if not path.is_file():
            raise MissingInputError(f'{path}: the photo network is missing; python -m metrics.photo_features.train makes it')
        try:
            with safetensors.safe_open(path, 'pt') as file:
                config = json.loads((file.metadata() or {})['network'])
            network = PhotoNetwork(PhotoNetworkConfig(config['input_resolution'], tuple(config['widths']), config['num_outputs']))
            state = {name: tensor.float() for name, tensor in safetensors.torch.load_file(path).items()}
            counters = {name: value for name, value in network.state_dict().items() if name.endswith('num_batches_tracked')}
            network.load_state_dict(state | counters)
        except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise DataError(f'{path}: not the weights of a photo network: {error}') from error
        self.sha256 = sha256_of(path)
        self.num_features = network.num_features
        self._device = torch.device(device)
        self._network = network.eval().requires_grad_(False).to(self._device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """images [N, 3, S, S] in [-1, 1] -> [N, num_features]."""
        with full_precision(self._device):
            return self._network.features(images.to(self._device)).float().cpu()


class InceptionFeatures:
    """Inception-v3 of 2015-12-05 with weights that the user has; only the published file may call itself 'inception-2015-12-05'."""

    num_features = NUM_FEATURES
    batch = 32

    def __init__(self, path: Path | None = None, device: Device = 'cpu') -> None:
        """path: a .pth or .safetensors file; None looks in the usual places. Raises MissingInputError (saying where it looked) or DataError."""
        found = find_inception(path)
        self.sha256 = sha256_of(found)
        published = self.sha256.startswith(INCEPTION_SHA256_START)
        if found.name == INCEPTION_NAME and not published:
            raise DataError(f'{found}: its SHA-256 is {self.sha256}, that of the published file starts with {INCEPTION_SHA256_START}; copy it again')
        self.name = 'inception-2015-12-05' if published else 'inception-custom'
        self._network = InceptionV3()
        _load_strictly(self._network, found)
        self._device = torch.device(device)
        self._network.eval().requires_grad_(False).to(self._device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """images [N, 3, S, S] in [-1, 1] -> [N, 2048]."""
        with full_precision(self._device):
            return self._network(images.to(self._device)).float().cpu()

    @torch.no_grad()
    def logits(self, features: np.ndarray) -> np.ndarray:
        """features [N, 2048] -> [N, 1008], without the bias."""
        return self._network.logits(torch.from_numpy(features).to(self._device)).cpu().numpy()


def find_inception(path: Path | None = None) -> Path:
    """The file with Inception's weights. Raises MissingInputError that lists the places and what can be measured without it."""
    try:
        return locate([INCEPTION_NAME], explicit=path, what="file of Inception-v3 weights, which FID, KID, IS and PR need,")
    except MissingInputError as error:
        raise MissingInputError(f'{error} Without it, measure fd_photo, kd_photo and pr_photo: they need nothing but this project.') from error


def full_precision(device: torch.device) -> contextlib.AbstractContextManager:
    """On a GPU: convolutions in real float32 by fixed algorithms. TF32, which is their default, would move a distance in its third digit."""
    if device.type != 'cuda':
        return contextlib.nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def _load_strictly(network: InceptionV3, path: Path) -> None:
    try:
        state = safetensors.torch.load_file(path) if path.suffix == '.safetensors' else torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch names a different class for every way in which a file is not a state dict
        raise DataError(f'{path}: cannot be read as a state dict without running code: {error}') from error
    if not isinstance(state, dict):
        raise DataError(f'{path}: holds a {type(state).__name__}, a state dict was expected')
    expected = network.state_dict()
    state = {name: value for name, value in expected.items() if name.endswith('num_batches_tracked')} | state
    wrong = sorted(set(expected) ^ set(state))
    wrong = wrong or sorted(name for name, value in expected.items() if getattr(state[name], 'shape', None) != value.shape)
    if wrong:
        raise DataError(f'{path}: not Inception-v3 of 2015-12-05: {len(wrong)} entries are missing, unknown or of another shape, first {wrong[0]}')
    network.load_state_dict(state)
