"""Trains the photo network: python -m metrics.photo_features.train --cifar cifar-10.zip --tiny-imagenet tiny-imagenet-20.zip."""

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional as F

from dnnlib.atomic import atomic_write
from dnnlib.errors import DataError, UsageError, run_command
from dnnlib.fetch import sha256_of
from metrics.photo_features.network import PhotoNetwork, PhotoNetworkConfig, initialise_
from metrics.photo_features.photographs import HELD_OUT_EVERY, Photographs, read_photographs

HERE = Path(__file__).parent
SOURCES = ('network.py', 'photographs.py', 'train.py')


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is decided before training; stored beside the weights."""

    seed: int = 0
    epochs: int = 9
    batch: int = 128
    tiny_imagenet_repeats: int = 2
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.05
    label_smoothing: float = 0.1
    crop_margin: int = 4

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2:
            raise UsageError(f'--epochs must be at least 1 and the batch at least 2, got {self.epochs} and {self.batch}')


class Trainer:
    """Network, optimiser and position; an epoch is a pure function of (seed, epoch) and of the state before it."""

    def __init__(self, recipe: Recipe, sets: tuple[Photographs, Photographs]) -> None:
        self.recipe, self.sets = recipe, sets
        self.network = PhotoNetwork(PhotoNetworkConfig(num_outputs=sum(s.num_classes for s in sets)))
        initialise_(self.network, recipe.seed)
        self.network.to(memory_format=torch.channels_last)
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        rest = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [{'params': decayed, 'weight_decay': recipe.weight_decay}, {'params': rest, 'weight_decay': 0.0}]
        self.optimiser = torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=True)
        self.images = torch.cat([s.images for s in sets])
        self.labels = torch.cat([s.labels for s in sets])
        offset = len(sets[0].images)
        self.pool = torch.cat([sets[0].rows(held_out=False)] + [sets[1].rows(held_out=False) + offset] * recipe.tiny_imagenet_repeats)
        self.epoch = 0
        self.cpu_seconds = 0.0

    def run_epoch(self) -> float:
        """One pass over the pool in an order of its own; returns the mean loss."""
        recipe, started, total = self.recipe, time.process_time(), 0.0
        draw = torch.Generator().manual_seed(recipe.seed * 1_000_003 + self.epoch + 1)
        order = self.pool[torch.randperm(len(self.pool), generator=draw)]
        steps = len(order) // recipe.batch
        self.network.train()
        for step in range(steps):
            rate = learning_rate_factor((self.epoch * steps + step) / (recipe.epochs * steps), recipe.warmup)
            for group in self.optimiser.param_groups:
                group['lr'] = recipe.learning_rate * rate
            rows = order[step * recipe.batch : (step + 1) * recipe.batch]
            logits = self.network(augmented(self.images[rows], recipe.crop_margin, draw))
            loss = within_set_loss(logits, self.labels[rows], self.sets, recipe.label_smoothing)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            total += float(loss.detach())
        self.epoch += 1
        self.cpu_seconds += time.process_time() - started
        return total / steps

    def save(self, path: Path, fingerprint: str) -> None:
        """Everything that the next epoch depends on, as one safetensors file."""
        tensors = {f'network.{k}': v.contiguous() for k, v in self.network.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            tensors[f'momentum.{name}'] = self.optimiser.state[parameter]['momentum_buffer'].contiguous()
        header = {'epoch': str(self.epoch), 'cpu_seconds': str(self.cpu_seconds), 'fingerprint': fingerprint}
        with atomic_write(path) as file:
            file.write(safetensors.torch.save(tensors, header))

    def load(self, path: Path, fingerprint: str) -> None:
        """Continues from `save`; DataError when that file belongs to another recipe, code or data."""
        with safetensors.safe_open(path, 'pt') as file:
            header, names = file.metadata(), file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
        if header['fingerprint'] != fingerprint:
            raise DataError(f'{path}: made with another recipe, code or data; delete it to start anew')
        self.network.load_state_dict({k.removeprefix('network.'): v for k, v in tensors.items() if k.startswith('network.')})
        for name, parameter in self.network.named_parameters():
            self.optimiser.state[parameter]['momentum_buffer'] = torch.empty_like(parameter).copy_(tensors[f'momentum.{name}'])
        self.epoch, self.cpu_seconds = int(header['epoch']), float(header['cpu_seconds'])


def learning_rate_factor(progress: float, warmup: float) -> float:
    """Linear rise over the first `warmup` of the run, then linear fall to zero at progress 1."""
    return progress / warmup if progress < warmup else (1 - progress) / (1 - warmup)


def augmented(images: Tensor, margin: int, draw: torch.Generator) -> Tensor:
    """uint8 [N, 3, R, R] -> float [-1, 1]: shifted by up to `margin` pixels (edges reflected) and mirrored half of the time."""
    count, resolution = len(images), images.shape[-1]
    padded = F.pad(images.float() / 127.5 - 1, (margin,) * 4, mode='reflect')
    shift = torch.randint(2 * margin + 1, (2, count, 1), generator=draw)
    mirror = torch.rand(count, 1, generator=draw) < 0.5
    pixel = torch.arange(resolution)[None]
    columns = torch.where(mirror, resolution - 1 - pixel, pixel) + shift[0]
    rows = pixel + shift[1]
    moved = padded.permute(0, 2, 3, 1)[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)  # channels-last in memory: a quarter to a half faster in training


def within_set_loss(logits: Tensor, labels: Tensor, sets: tuple[Photographs, ...], smoothing: float) -> Tensor:
    """Cross-entropy among the classes of the set a photograph comes from, mean over the batch.

    Telling the two sets apart would be a reward for resampling artefacts; each photograph competes only within its own set.
    """
    total = logits.new_zeros(())
    for part in sets:
        mine = (labels >= part.first) & (labels < part.first + part.num_classes)
        if mine.any():
            outputs = logits[mine][:, part.first : part.first + part.num_classes]
            total = total + F.cross_entropy(outputs, labels[mine] - part.first, label_smoothing=smoothing, reduction='sum')
    return total / len(labels)


@torch.no_grad()
def held_out_accuracy(network: PhotoNetwork, part: Photographs) -> float:
    """Share of held-out photographs of one set whose class, among the set's own, is recognised."""
    network.eval()
    right, rows = 0, part.rows(held_out=True)
    for some in rows.split(250):
        logits = network(part.images[some].float() / 127.5 - 1)[:, part.first : part.first + part.num_classes]
        right += int((logits.argmax(1) + part.first == part.labels[some]).sum())
    return right / len(rows)


def halved(network: PhotoNetwork) -> dict[str, Tensor]:
    """State dict for the shipped file: matrices in half precision, vectors (norms, biases, running statistics) in float32."""
    state = {k: v.contiguous() for k, v in network.state_dict().items() if not k.endswith('num_batches_tracked')}
    return {k: v.half() if v.ndim > 1 else v.float() for k, v in state.items()}


def code_digest() -> str:
    """SHA-256 over the sources that decide the weights."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()


def write_result(trainer: Trainer, dest: Path, data_hashes: dict[str, str], code: str) -> dict:
    """Writes the weights and, beside them, `<stem>.json`; returns that recipe."""
    tensors = halved(trainer.network)
    shipped = PhotoNetwork(trainer.network.config)
    shipped.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=False)
    with atomic_write(dest) as file:
        file.write(safetensors.torch.save(tensors, {'network': json.dumps(asdict(shipped.config))}))
    recipe = {
        'sha256': sha256_of(dest),
        'bytes': dest.stat().st_size,
        'parameters': sum(p.numel() for p in shipped.parameters()),
        'network': asdict(shipped.config),
        'held_out_accuracy': {s.name: round(held_out_accuracy(shipped, s), 4) for s in trainer.sets},
        'held_out': f'every {HELD_OUT_EVERY}th file of each class, in name order',
        'training': asdict(trainer.recipe),
        'data_sha256': data_hashes,
        'code_sha256': code,
        'torch': torch.__version__,
        'threads': torch.get_num_threads(),
        'cpu_seconds': round(trainer.cpu_seconds, 1),
    }
    with atomic_write(dest.with_suffix('.json'), 'w') as file:
        file.write(json.dumps(recipe, indent=1) + '\n')
    return recipe


@click.command()
@click.option('--cifar', required=True, type=click.Path(path_type=Path), help='cifar-10.zip: one folder of 32x32 photographs per class')
@click.option('--tiny-imagenet', required=True, type=click.Path(path_type=Path), help='tiny-imagenet-20.zip: one folder of 64x64 photographs per class')
@click.option('--dest', default=HERE / 'photo_features.safetensors', type=click.Path(path_type=Path), help='weights to write', show_default=True)
@click.option('--seed', default=Recipe().seed, show_default=True)
@click.option('--epochs', default=Recipe().epochs, show_default=True)
def main(cifar: Path, tiny_imagenet: Path, dest: Path, seed: int, epochs: int) -> None:
    """Trains the photo network on one CPU thread (about 25 minutes) and prints accuracy and SHA-256; continues where it was stopped."""
    torch.set_num_threads(1)  # the order of summation, and with it every bit of the result, depends on the number of threads
    recipe, code = Recipe(seed=seed, epochs=epochs), code_digest()
    resolution = PhotoNetworkConfig().input_resolution
    first = read_photographs(cifar, resolution, first=0)
    second = read_photographs(tiny_imagenet, resolution, first=first.num_classes)
    hashes = {cifar.name: sha256_of(cifar), tiny_imagenet.name: sha256_of(tiny_imagenet)}
    fingerprint = hashlib.sha256(json.dumps([asdict(recipe), code, hashes]).encode()).hexdigest()
    trainer, checkpoint = Trainer(recipe, (first, second)), dest.with_suffix('.progress')
    if checkpoint.exists():
        trainer.load(checkpoint, fingerprint)
        print(f'continuing after epoch {trainer.epoch}')
    while trainer.epoch < recipe.epochs:
        loss = trainer.run_epoch()
        trainer.save(checkpoint, fingerprint)
        scores = ', '.join(f'{s.name} {held_out_accuracy(trainer.network, s):.3f}' for s in trainer.sets)
        print(f'epoch {trainer.epoch}/{recipe.epochs}  loss {loss:.3f}  held-out accuracy: {scores}  {trainer.cpu_seconds:.0f} CPU s', flush=True)
    print(json.dumps(write_result(trainer, dest, hashes, code), indent=1))
    checkpoint.unlink()


if __name__ == '__main__':
    run_command(main)
