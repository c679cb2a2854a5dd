"""What an oracle says about pictures, and the oracle: a network with its weights, fed in fixed batches."""

import hashlib
import json
from dataclasses import dataclass

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from dnnlib.errors import DataError
from metrics.oracle.network import RESOLUTION, OracleNetwork, new_network
from metrics.oracle.recipe import OracleRecipe
from metrics.photo_features.network import resize_to
from training.data.item import from_uint8, to_uint8

HEADER = 'oracle'  # the one entry of the file's metadata
BATCH = 64


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read from N pictures; float32 tensors on the CPU."""

    class_logits: Tensor  # [N, 8], classes of toyworld8 in its order
    mode_logits: Tensor  # [N, 3]
    azimuth_rad: Tensor  # [N] in [-pi, pi], 0 the front, growing towards +x: the yaw of docs/conventions.md
    elevation_rad: Tensor  # [N], growing upwards: the pitch
    mask: Tensor  # [N, 1, 32, 32], probability that the ray through the pixel's centre hits the object
    depth: Tensor  # [N, 1, 32, 32], distance along that ray in world units if it does; means nothing where the mask is low
    features: Tensor  # [N, F], not negative

    def __len__(self) -> int:
        return len(self.class_logits)

    @property
    def classes(self) -> Tensor:
        """The likeliest class: int64 [N]."""
        return self.class_logits.argmax(1)

    @property
    def modes(self) -> Tensor:
        """The likeliest colour mode: int64 [N]."""
        return self.mode_logits.argmax(1)


class Oracle:
    """A trained network, and a FeatureExtractor. It knows pictures of toyworld only: what it says about photographs is worthless."""

    name = 'oracle'
    batch = BATCH

    def __init__(self, content: bytes, where: str) -> None:
        """content: a safetensors file with float16 weights and a header; `where` it comes from, for messages. Raises DataError."""
        self.header = read_header(content, where)
        try:
            self.recipe = recipe_from(self.header['recipe'])
            network = new_network(self.recipe.width, self.recipe.num_features)
            state = {name: tensor.float() for name, tensor in safetensors.torch.load(content).items()}
            counters = {name: value for name, value in network.state_dict().items() if name.endswith('num_batches_tracked')}
            network.load_state_dict(state | counters)
        except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise DataError(f'{where}: not the weights of an oracle: {error}') from error
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.num_features = network.num_features
        self._network = network.eval().requires_grad_(False)

    def read(self, images: Tensor) -> Reading:
        """images [N, 3, S, S] in [-1, 1], any S; taken through uint8, as saved pictures would. Raises NumericalError if not finite."""
        assert images.ndim == 4 and images.shape[1] == 3 and images.shape[2] == images.shape[3], images.shape
        return read_in_batches(self._network, from_uint8(to_uint8(images.cpu())))

    def __call__(self, images: Tensor) -> Tensor:
        """images as for `read` -> features [N, num_features]."""
        return self.read(images).features


@torch.no_grad()
def read_in_batches(network: OracleNetwork, images: Tensor) -> Reading:
    """The reading of images [N, 3, S, S] in [-1, 1], N >= 0, by a network in evaluation mode, always BATCH at a time.

    Convolution libraries choose their algorithm by the batch, and with it the last digits; so the last batch is filled up, and what is read
    from a picture does not depend on its company.
    """
    assert not network.training
    missing = max(-len(images) % BATCH, BATCH if len(images) == 0 else 0)
    padded = torch.cat([images, images.new_zeros(missing, *images.shape[1:])])
    parts = []
    for some in padded.split(BATCH):
        answers = network(resize_to(some, RESOLUTION).contiguous(memory_format=torch.channels_last))
        parts.append((
            answers.class_logits, answers.mode_logits, answers.azimuth_rad(), answers.elevation_rad,
            answers.mask_logits.sigmoid(), answers.depth, answers.features,
        ))
    return Reading(*(torch.cat(column)[: len(images)].contiguous() for column in zip(*parts, strict=True)))


def read_header(content: bytes, where: str) -> dict:
    """The header of an oracle's file. Raises DataError when `content` is none."""
    try:
        length = int.from_bytes(content[:8], 'little')  # safetensors: length of a JSON text, that text, the numbers
        header = json.loads(json.loads(content[8 : 8 + length])['__metadata__'][HEADER])
        if not isinstance(header, dict) or 'digest' not in header:
            raise KeyError('digest')
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f'{where}: not an oracle: its header cannot be read ({type(error).__name__}: {error})') from error
    return header


def recipe_from(values: dict) -> OracleRecipe:
    """The recipe that a header holds."""
    return OracleRecipe(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
