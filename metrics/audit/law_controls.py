"""Controls whose pictures are damaged, or come from another distribution than the real ones; their geometry is never looked at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice

import torch
from torch import Tensor

from metrics.damage import blurred, rearranged_quarters
from metrics.subject import Subject, Views
from metrics.toy_subject import RESOLUTION, Numbers, classes_of, counted_from, toy_subject, toy_views
from torch_utils.rng import Stream
from training.cameras.camera import Camera
from training.cameras.convention import from_eg3d
from training.data.toyworld.numbers import Draws
from training.data.toyworld.poses import POSE_LAWS, Pose, camera25, draw_pose
from training.data.toyworld.world import Toyworld

TRAINING = 0  # number of the first scene that a subject is supposed to have learned from
HELD_OUT = 1_000_000  # of the first scene of the reference
UNSEEN = 100_000_000  # of scenes that nobody learned from, beside the training scenes
OTHERS = 2_000_000  # of the first scene that controls show
APART = 1_000_000  # between real splits


def real_split(world: Toyworld, index: int) -> Subject:
    """Other scenes of the same world: a perfect generator. Split 0, 1, ... have no scene in common."""
    return toy_subject(f'real, split {index}', world, counted_from(OTHERS + index * APART))


def law_controls(world: Toyworld) -> list[Subject]:
    """The controls of section 4 of the evaluation, first table, with a generator whose labels are shuffled and one that emits NaN."""
    real = toy_subject('real', world, counted_from(OTHERS))
    return [
        _damaged('noise, sigma 8 of 255', real, lambda views, rows: views.image + _normal(views.image, rows) * (8 / 127.5)),
        _damaged('blur, sigma 0.7 px', real, lambda views, rows: blurred(views.image, 0.7)),
        _damaged('blur, sigma 1.2 px', real, lambda views, rows: blurred(views.image, 1.2)),
        _damaged('2x2 patches shuffled', real, lambda views, rows: rearranged_quarters(views.image, _orders(rows))),
        _damaged('5 % of images NaN', real, lambda views, rows: _poisoned(views.image, rows)),
        toy_subject('7 of 8 classes', world, _only(world, lambda i: world.class_id(i) < 7)),
        toy_subject('4 of 8 classes', world, _only(world, lambda i: world.class_id(i) < 4)),
        toy_subject('top colour mode only', world, _only(world, lambda i: world.mode_id(i) == 0)),
        toy_subject('100 images repeated', world, lambda start, n: [OTHERS + i % 100 for i in range(start, start + n)]),
        toy_subject('400 images repeated', world, lambda start, n: [OTHERS + i % 400 for i in range(start, start + n)]),
        toy_subject('copies of training images', world, counted_from(TRAINING)),
        _posed('pose collapse', world, lambda i: replace(world.pose(i), azimuth_deg=0.0)),
        *(_posed(f'poses {law}', world, _law(world, law)) for law in ('uniform', 'narrow')),
        _posed('poses mirrored', world, lambda i: replace(world.pose(i), azimuth_deg=-world.pose(i).azimuth_deg)),
        _shuffled_labels(world),
    ]


def _damaged(name: str, real: Subject, damage: Callable[[Views, Sequence[int]], Tensor]) -> Subject:
    def sample(start: int, n: int) -> Views:
        views = real.sample(start, n)
        return replace(views, image=damage(views, range(start, start + n)))

    return Subject(name, sample)


def _normal(like: Tensor, rows: Sequence[int]) -> Tensor:
    return _stream(rows).normal('noise', *like.shape[1:])


def _orders(rows: Sequence[int]) -> Tensor:
    return _stream(rows).uniform('order', 4).argsort(dim=1)


def _poisoned(images: Tensor, rows: Sequence[int]) -> Tensor:
    return torch.where(_stream(rows).bernoulli('poison', 0.05)[:, None, None, None], torch.nan, images)


def _stream(rows: Sequence[int]) -> Stream:
    return Stream(seed=0, step=0, phase='audit', rows=tuple(rows))


@dataclass(slots=True)
class _only:
    """The scenes from OTHERS on that fulfil a wish, in their order; found when they are asked for."""

    world: Toyworld
    wish: Callable[[int], bool]
    found: list[int]

    def __init__(self, world: Toyworld, wish: Callable[[int], bool]) -> None:
        self.world, self.wish, self.found = world, wish, []

    def __call__(self, start: int, n: int) -> list[int]:
        candidates = count(self.found[-1] + 1 if self.found else OTHERS)
        self.found += islice(filter(self.wish, candidates), max(0, start + n - len(self.found)))
        return self.found[start : start + n]


def _law(world: Toyworld, law: str) -> Callable[[int], Pose]:
    assert law in POSE_LAWS, law
    return lambda i: draw_pose(law, Draws(world.config.seed, i))


def _posed(name: str, world: Toyworld, pose: Callable[[int], Pose]) -> Subject:
    numbers: Numbers = counted_from(OTHERS)

    def sample(start: int, n: int) -> Views:
        chosen = numbers(start, n)
        camera = from_eg3d(torch.stack([torch.from_numpy(camera25(pose(i))) for i in chosen]))
        return toy_views([world.scene(i) for i in chosen], camera, RESOLUTION, classes_of(world, chosen))

    return Subject(name, sample)


def _shuffled_labels(world: Toyworld) -> Subject:
    """Right pictures of the right law; but the camera that each is said to be seen from is that of another one."""
    real = toy_subject('labels shuffled', world, counted_from(OTHERS))
    others = counted_from(OTHERS + APART)

    def elsewhere(start: int, n: int) -> Camera:
        return world.cameras(others(start, n))

    return Subject(real.name, lambda start, n: replace(real.sample(start, n), camera=elsewhere(start, n)))
