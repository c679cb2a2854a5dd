"""Training of an oracle: a recipe becomes the bytes of a weights file, on one thread; its seed addresses every random number."""

import contextlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict

import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from dnnlib.errors import NumericalError
from metrics.oracle.damage import damaged
from metrics.oracle.network import MEANING, Answers, OracleNetwork, new_network, sector_weights
from metrics.oracle.quality import score
from metrics.oracle.reading import HEADER, read_in_batches
from metrics.oracle.recipe import HELD_OUT_SEED, OracleRecipe
from metrics.oracle.scenes import Scenes, draw_scenes
from torch_utils.rng import Stream, permutation
from training.data.item import from_uint8
from training.data.synthetic import BITS

HELD_OUT = 1000  # scenes per background


def train_oracle(recipe: OracleRecipe, quiet: bool = False) -> bytes:
    """The weights file of a freshly trained oracle; the same recipe on the same machine gives the same weights."""
    with one_thread():
        started = time.process_time()
        scenes = draw_scenes(recipe.backgrounds, recipe.poses, recipe.style, recipe.data_seed, recipe.images, quiet)
        network = fitted(recipe, scenes, quiet)
        return packed(network, recipe, time.process_time() - started)


def fitted(recipe: OracleRecipe, scenes: Scenes, quiet: bool) -> OracleNetwork:
    """A network in training mode, trained on the scenes. Raises NumericalError when the loss is not finite."""
    network = new_network(recipe.width, recipe.num_features, recipe.seed)
    decayed = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{'params': decayed, 'weight_decay': recipe.weight_decay}, {'params': rest, 'weight_decay': 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.99))
    per_epoch = recipe.images // recipe.batch
    smooth = math.nan
    network.train()
    with tqdm(total=recipe.epochs * per_epoch, desc=f'training oracle {recipe.seed}', unit='step', disable=quiet, leave=False) as bar:
        for step in range(recipe.epochs * per_epoch):
            epoch, place = divmod(step, per_epoch)
            order = permutation(recipe.seed, epoch, recipe.images)[place * recipe.batch : (place + 1) * recipe.batch]
            for group in optimiser.param_groups:
                group['lr'] = recipe.learning_rate * learning_rate_factor(step / (recipe.epochs * per_epoch), recipe.warmup)
            batch = scenes.rows(torch.tensor(order))
            images = damaged(from_uint8(batch.images), Stream(recipe.seed, step, 'oracle', range(recipe.batch)))
            loss = loss_of(network(images.contiguous(memory_format=torch.channels_last)), batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            value = float(loss.detach())
            if not math.isfinite(value):
                raise NumericalError(f'The loss of oracle {recipe.seed} became {value} at step {step}; use a smaller learning rate.')
            smooth = value if step == 0 else smooth + 0.02 * (value - smooth)
            bar.set_postfix_str(f'loss {smooth:.3f}', refresh=False)
            bar.update()
    return network


def loss_of(answers: Answers, scenes: Scenes) -> Tensor:
    """Mean over the batch: cross-entropies, and absolute errors (best answered by a median) of angles in radians and of depth."""
    weights, offset = sector_weights(scenes.azimuth_rad)
    distance = scenes.distance.float()
    hit = torch.isfinite(distance)
    names = F.cross_entropy(answers.class_logits, scenes.classes) + F.cross_entropy(answers.mode_logits, scenes.modes)
    sector = F.cross_entropy(answers.sector_logits, weights)
    azimuth = (weights * (answers.sector_offset_rad - offset).abs()).sum(1).mean()
    elevation = (answers.elevation_rad - scenes.elevation_rad).abs().mean()
    mask = F.binary_cross_entropy_with_logits(answers.mask_logits, hit.float())
    depth = (answers.depth - distance)[hit].abs().mean()
    return names + sector + 4 * azimuth + 6 * elevation + 3 * mask + 6 * depth


def learning_rate_factor(progress: float, warmup: float) -> float:
    """Linear rise over the first `warmup` of the run, then half a cosine down to zero at progress 1."""
    return progress / warmup if progress < warmup else 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def packed(network: OracleNetwork, recipe: OracleRecipe, cpu_seconds: float) -> bytes:
    """The weights file: matrices in half precision, vectors in float32, a header with the recipe and the quality of just these weights."""
    state = {k: v.contiguous() for k, v in network.state_dict().items() if not k.endswith('num_batches_tracked')}
    tensors = {k: v.half() if v.ndim > 1 else v.float() for k, v in state.items()}
    shipped = new_network(recipe.width, recipe.num_features)
    shipped.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=False)
    shipped.eval()
    held_out = {}
    for background in recipe.backgrounds:
        scenes = draw_scenes((background,), ('wide',), recipe.style, HELD_OUT_SEED, min(HELD_OUT, recipe.images))
        result = score(read_in_batches(shipped, from_uint8(scenes.images)), scenes)
        held_out[background] = {name: round(value, 4) for name, value in result.items() if name != 'per_class'}
    header = {
        'digest': recipe.digest(),
        'recipe': asdict(recipe),
        'meaning': MEANING,
        'toyworld_bits': BITS,
        'parameters': sum(p.numel() for p in shipped.parameters()),
        'held_out': f'wide poses, seed {HELD_OUT_SEED}',
        'quality': held_out,
        'cpu_seconds': round(cpu_seconds, 1),
    }
    return safetensors.torch.save(tensors, {HEADER: json.dumps(header)})


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """The order of summation, and with it every bit of the result, depends on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
