"""Photographs that likeness arranged (likeness.py): of which classes, as a law of cameras to begin with, and as a lesson for a reader of poses."""

import sys
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dnnlib.errors import DataError
from dnnlib.units import format_names
from torch_utils.distributed import World
from torch_utils.rng import Stream
from training.cameras.distributions import LawConfig
from training.cameras.rig import Rig, rig_of
from training.data.image_set import ImageSet
from training.data.item import from_uint8
from training.tasks.likeness import ring_of

SURE = 0.75  # share of the votes
NAMED = 20  # classes in a sentence
UNTAUGHT = 'cameras are read without the lesson of likeness'
LESSON_BYTES = 2**30  # of pictures that are kept in memory to learn from, over all classes


@dataclass(frozen=True, slots=True)
class ArrangedPhotographs:
    """What is known of some photographs before training: a law of cameras to begin with, and a lesson for a reader of poses."""

    codes: Tensor  # [A, 3] of training.cameras.rig, a photograph's mirror image among them where training shows it; likeness says nothing of
    # the pitch, which is that of some camera of the law
    classes: Tensor | None  # int64 [A], ascending
    images: Tensor  # uint8 [L, 3, S, S]: the lesson, as many of them as memory allows
    rows: Tensor  # int64 [L]: which of the A they are

    def draw(self, stream: Stream, device: torch.device) -> tuple[Tensor, Tensor]:
        """One for each row of the stream: (pictures [N, 3, S, S] in [-1, 1], sine and cosine of their yaws [N, 2])."""
        which = stream.integers('arranged/which', len(self.images))
        return from_uint8(self.images[which].to(device)), self.codes[self.rows[which], :2].to(device)

    def draw_code(self, stream: Stream, classes: Tensor | None, device: torch.device) -> tuple[Tensor, Tensor]:
        """One for each row of the stream: (a code of its class [N, 3], whether its class was arranged [N]; if not, the code is another's).

        classes [N] on the device, or None where there are none. Never waits for the device.
        """
        codes = self.codes.to(device)
        if self.classes is None:
            return codes[stream.integers('arranged/code', len(codes), device=device)], torch.ones(len(stream), dtype=torch.bool, device=device)
        assert classes is not None, 'photographs were arranged by class'
        arranged = self.classes.to(device)
        first, end = (torch.searchsorted(arranged, classes, right=right) for right in (False, True))
        index = first + (stream.uniform('arranged/code', device=device) * (end - first)).long()
        return codes[index.clamp(max=len(codes) - 1)], end > first


def arrange(
    dataset: ImageSet,
    by_class: bool,
    most: int,
    law: LawConfig,
    seed: int,
    sure: float = 0.5,
    lesson_bytes: int = LESSON_BYTES,
    world: World | None = None,
    mirror: bool = False,
) -> tuple[ArrangedPhotographs | None, list[str]]:
    """Arrange up to `most` photographs of each class; (what was arranged, what a user should know of it). The ranks share the classes.

    law: of the cameras that one believes in before anything is known; of it the rig and the pitches are taken. mirror: training shows half of the
    photographs mirrored, which were then taken from the mirrored cameras.

    As many of each class are kept to learn from as fit into its share of `lesson_bytes`, one at least. Classes that cannot be arranged, or of
    whose pictures a smaller share than `sure` agrees on the sense of rotation, are left out and named. None: no class could be arranged.
    """
    world = world or World()
    ids, names = (dataset.classes(), dataset.class_names) if by_class else (np.zeros(len(dataset), np.int64), ('photographs',))
    chosen = {int(number): np.sort(np.random.RandomState(0).permutation(np.flatnonzero(ids == number))[:most]) for number in np.unique(ids)}
    rig = rig_of(law)
    found = _arranged_by_ranks(dataset, chosen, rig, world)
    believed: list[int] = []
    said: dict[str, list[str]] = {}  # {what: of which classes}
    for number in chosen:
        yaw, share = found[number]
        if isinstance(yaw, str):
            said.setdefault(f'{yaw}; {UNTAUGHT}', []).append(names[number])
            continue
        if share >= sure:
            believed.append(number)
        if share < max(sure, SURE):
            consequence = UNTAUGHT if share < sure else 'it may come out reversed'
            said.setdefault(f'the sense of rotation is unsure; {consequence}', []).append(f'{names[number]} ({share:.0%} agree)')
    sentences = [f'{what}: {format_names(of_whom, NAMED)}.' for what, of_whom in said.items()]
    if not believed:
        return None, sentences
    counts = [len(chosen[number]) for number in believed]
    each = max(lesson_bytes // (3 * dataset.resolution**2 * len(chosen)), 1)
    kept = [torch.linspace(0, count - 1, min(each, count)).round().long() for count in counts]  # evenly: a set may have an order
    firsts = np.cumsum([0, *counts[:-1]])
    if mirror:
        counts, firsts = [2 * count for count in counts], 2 * firsts
    yaws = torch.tensor([side * yaw for number in believed for side in ((1, -1) if mirror else (1,)) for yaw in found[number][0]])
    pitch = rig.code_of(law.sample(Stream(seed, 0, 'arrangement', tuple(range(len(yaws)))), torch.device('cpu')))[:, 2]
    return ArrangedPhotographs(
        codes=torch.stack([yaws.sin(), yaws.cos(), pitch], dim=1),
        classes=torch.tensor(believed).repeat_interleave(torch.tensor(counts)) if by_class else None,
        images=torch.cat([_pictures(dataset, chosen[number][rows.numpy()]) for number, rows in zip(believed, kept, strict=True)]),
        rows=torch.cat([int(first) + rows for first, rows in zip(firsts, kept, strict=True)]),
    ), sentences


def _arranged_by_ranks(dataset: ImageSet, chosen: dict[int, np.ndarray], rig: Rig, world: World) -> dict[int, tuple[list[float] | str, float]]:
    """{class: (yaws in radians, share of the votes), or (why not, 0)}, the same on every rank, although processors round differently."""
    mine = list(chosen)[world.rank :: world.size]
    found: dict[int, tuple[list[float] | str, float]] = {}
    for number in tqdm(mine, desc='arranging by likeness', leave=False, disable=not (world.is_main and sys.stderr.isatty())):
        pictures = from_uint8(_pictures(dataset, chosen[number]))  # one that cannot be read ends the run
        try:
            ring = ring_of(pictures, rig)
            found[number] = (ring.yaw_rad.tolist(), ring.sense_share)
        except DataError as error:
            found[number] = (str(error), 0.0)
    return {number: result for part in world.all_gather_object(found) for number, result in part.items()}


def _pictures(dataset: ImageSet, indices: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack([dataset[int(index)].image for index in indices]))
