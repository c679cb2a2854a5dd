"""What the photo metrics see: real photographs damaged in known ways. python -m metrics.photo_features.audit --photographs tiny-imagenet-20.zip"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import click
import torch
from torch import Tensor

from dnnlib.errors import UsageError, run_command
from metrics.damage import blurred, rearranged_quarters
from metrics.evaluate import compute
from metrics.photo_features.photographs import Photographs, read_photographs
from training.data.image_set import ImageSet
from training.data.item import Item, from_uint8
from training.data.labels import Label

METRICS = ('fd_photo', 'kd_photo', 'pr_photo')


class PhotographSet(ImageSet):
    """Photographs in memory, as a data set without labels."""

    num_classes, class_names, has_cameras = 0, (), False

    def __init__(self, name: str, images: Tensor) -> None:
        self.name, self.resolution, self._images = name, images.shape[-1], images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Item:
        return Item(self._images[index].numpy(), None, None)

    def label(self, index: int) -> Label:
        """Nothing is known about an image."""
        return Label()

    def fingerprint(self) -> str:
        """SHA-256 of the pixels."""
        return hashlib.sha256(self._images.numpy().tobytes()).hexdigest()


def controls(photographs: Photographs, rows: Tensor, num: int, seed: int) -> Iterator[tuple[str, Tensor]]:
    """(name, float images [num, 3, R, R] in [-1, 1]): each has one known defect; all come from the photographs `rows`."""
    draw = torch.Generator().manual_seed(seed)
    rows = rows[torch.randperm(len(rows), generator=draw)]
    images = from_uint8(photographs.images[rows[:num]])
    noise = torch.randn(images.shape, generator=draw)
    yield 'other real photographs', images
    for sigma in (4, 8, 16, 32):
        yield f'noise, sigma {sigma} of 255', images + noise * (sigma / 127.5)
    for sigma in (0.5, 0.7, 1.2, 2.0):
        yield f'blur, sigma {sigma} pixels', blurred(images, sigma)
    labels = photographs.labels[rows]
    for share in (3 / 4, 1 / 2, 1 / 4):
        classes = round(photographs.num_classes * share)
        kept = rows[labels - photographs.first < classes]
        if len(kept) >= num:
            yield f'{classes} of {photographs.num_classes} classes', from_uint8(photographs.images[kept[:num]])
    for count in (400, 100):
        yield f'{count} photographs repeated', images[torch.arange(num) % count]
    orders = torch.stack([torch.randperm(4, generator=draw) for _ in images])
    yield '2x2 patches shuffled', rearranged_quarters(images, orders)


@click.command(context_settings={'show_default': True})
@click.option('--photographs', required=True, type=click.Path(path_type=Path), help='Zip with one folder of photographs per class.')
@click.option('--resolution', type=click.IntRange(min=8), default=64, help='Photographs are resized to this first.')
@click.option('--num', type=click.IntRange(min=100), default=1000, help='Images on either side.')
@click.option('--seed', type=int, default=0)
def main(photographs: Path, resolution: int, num: int, seed: int) -> None:
    """Prints a Markdown table: one row per damage; distances also as multiples of the real-against-real floor."""
    part = read_photographs(photographs, resolution, first=0)
    half = torch.arange(len(part.labels)) % 2 == 0
    reference, other = torch.nonzero(half).squeeze(1), torch.nonzero(~half).squeeze(1)
    if len(reference) < 2 * num:
        raise UsageError(f'{photographs} has {len(part.labels)} images; --num {num} needs {4 * num}')
    reals = PhotographSet(part.name, part.images[reference])
    print('| images | fd_photo | x floor | kd_photo | precision | recall | density | coverage |\n' + '|---' * 8 + '|')
    for name, images in controls(part, other, num, seed):
        fd, kd, pr = compute(METRICS, lambda start, count, images=images: images[start : start + count], reals, num=num)
        distance, floor = fd.values['fd_photo'], fd.floor['fd_photo']
        kernel = f'{kd.values["kd_photo"]:.4f} +- {kd.values["kd_photo_standard_error"]:.4f}'
        shares = ' | '.join(f'{value:.2f}' for value in pr.values.values())
        print(f'| {name} | {distance:.3f} | {distance / floor:.1f} | {kernel} | {shares} |', flush=True)


if __name__ == '__main__':
    run_command(main)
