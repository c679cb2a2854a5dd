"""Synthetic data sets by name: toyworld scenes, one picture of each.

    synthetic:car?poses=wide&background=white&resolution=32&count=3000&seed=0

Before the question mark: `toyworld8` (all eight classes) or class names with commas. After it, all optional: poses (wide, narrow, uniform,
sphere), background (white, env, photo, texture, clutter), style (plain, carved), resolution, count, seed, cameras (true; shuffled gives
every picture the camera of another one: labels of the right law that say nothing, the control of experiments), and with background=photo,
there alone and required, photos: the zip or folder of photographs, a path with anything in it but '&'. The same name gives the same bits
everywhere, and picture i of a longer set is picture i of a shorter one (shuffled cameras, which are shuffled within the set, aside).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace

from dnnlib.errors import UsageError, did_you_mean
from torch_utils.rng import permutation
from training.data.image_set import ImageSet
from training.data.item import Item
from training.data.labels import Label
from training.data.source import open_source
from training.data.stored import StoredImages
from training.data.toyworld.catalogue import CATALOGUE
from training.data.toyworld.world import Toyworld, ToyworldConfig

PREFIX = 'synthetic:'
ALL_CLASSES = 'toyworld8'
# Raised whenever the bits change, so that a run is not resumed on other pictures.
BITS = 1
CAMERAS = ('true', 'shuffled')
WORDS = ('poses', 'background', 'style', 'cameras', 'photos')  # values that are not numbers


@dataclass(frozen=True, slots=True)
class SyntheticConfig:
    """A set by name: class names, and the values after the question mark. `resolution` in pixels, `count` in images."""

    classes: tuple[str, ...]
    poses: str = 'wide'
    background: str = 'white'
    resolution: int = 32
    count: int = 8000
    seed: int = 0
    style: str = 'plain'
    cameras: str = 'true'
    photos: str = ''

    def __post_init__(self) -> None:
        if self.cameras not in CAMERAS:
            raise UsageError(
                f'A synthetic set cannot have cameras={self.cameras}; there are {", ".join(CAMERAS)}.{did_you_mean(self.cameras, CAMERAS)}'
            )
        if self.background == 'photo' and not self.photos:
            raise UsageError('A synthetic set with background=photo needs photographs: add photos=PATH, or take background=texture.')
        if self.photos and self.background != 'photo':
            raise UsageError(f'A synthetic set with background={self.background} has no use for photos=; take background=photo.')
        if '&' in self.photos:
            raise UsageError(f"photos={self.photos}: the path of the photographs must not contain '&', which ends a value.")
        limits = (('resolution', self.resolution, 4, 1024), ('count', self.count, 1, 100_000_000), ('seed', self.seed, 0, 2**63))
        for what, value, low, high in limits:
            if not low <= value <= high:
                raise UsageError(f'A synthetic set cannot have {what}={value}; it must lie in {low} .. {high}.')

    def spec(self) -> str:
        """The full name of the set; photos is in it only where it is needed."""
        classes = ALL_CLASSES if self.classes == tuple(CATALOGUE) else ','.join(self.classes)
        named = [f.name for f in fields(self) if f.name != 'classes' and (f.name != 'photos' or self.photos)]
        values = '&'.join(f'{name}={getattr(self, name)}' for name in named)
        return f'{PREFIX}{classes}?{values}'


def parse_spec(spec: str) -> SyntheticConfig:
    """The set that a name means. Raises UsageError, with the nearest known word, for anything unknown."""
    classes, _, query = spec.removeprefix(PREFIX).partition('?')
    known = {f.name: f for f in fields(SyntheticConfig) if f.name != 'classes'}
    values: dict[str, str | int] = {}
    for pair in filter(None, query.split('&')):
        key, equals, value = pair.partition('=')
        if key not in known:
            raise UsageError(f'{spec!r}: unknown key {key!r}; known are {", ".join(known)}.{did_you_mean(key, known)}')
        if not equals or not value or key in values:
            raise UsageError(f'{spec!r}: {pair!r} must be key=value, each key once.')
        values[key] = value if key in WORDS else _whole_number(spec, key, value)
    names = tuple(CATALOGUE) if classes == ALL_CLASSES else tuple(classes.split(','))
    for name in names:
        if name not in CATALOGUE:
            raise UsageError(
                f'{spec!r}: unknown class {name!r}; known are {ALL_CLASSES} (all) and {", ".join(CATALOGUE)}.'
                + did_you_mean(name, [ALL_CLASSES, *CATALOGUE])
            )
    return SyntheticConfig(names, **values)


def _whole_number(spec: str, key: str, value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise UsageError(f'{spec!r}: {key}={value} is not a whole number.')
    return int(value)


class SyntheticImages(ImageSet):
    """Pictures of toyworld, drawn when asked for (about a millisecond each at 32x32). `.world` and `.config` lead to the truth.

    A set of a single class has no class labels. `photos`: the opened set `config.photos`, if there is one.
    """

    def __init__(self, config: SyntheticConfig, photos: ImageSet | None = None) -> None:
        self.config = config
        self._photos = photos
        self.world = Toyworld(ToyworldConfig(config.classes, config.poses, config.background, config.seed, config.style), photos)
        self.name = '-'.join(config.classes) if config.classes != tuple(CATALOGUE) else ALL_CLASSES
        self.resolution = config.resolution
        self.num_classes = len(config.classes) if len(config.classes) > 1 else 0
        self.class_names = config.classes if len(config.classes) > 1 else ()
        self.has_cameras = True
        self._camera_of = permutation(config.seed, 0, config.count) if config.cameras == 'shuffled' else None

    @classmethod
    def from_spec(cls, spec: str) -> SyntheticImages:
        """The set named `spec`. Raises UsageError, and what opening the photographs raises."""
        config = parse_spec(spec)
        return cls(config, StoredImages(open_source(config.photos)) if config.photos else None)

    def __len__(self) -> int:
        return self.config.count

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < len(self):
            raise IndexError(f'item {index} of {len(self)}')
        label = self.label(index)
        return Item(self.world.image(index, self.resolution), label.class_id, label.camera25)

    def label(self, index: int) -> Label:
        pose_of = index if self._camera_of is None else int(self._camera_of[index])
        return Label(self.world.class_id(index) if self.num_classes else None, self.world.camera25(pose_of))

    def fingerprint(self) -> str:
        if self._photos is None:
            return hashlib.sha256(f'{self.config.spec()}#{BITS}'.encode()).hexdigest()
        # What the photographs are counts, not where they lie.
        name = replace(self.config, photos='*').spec()
        return hashlib.sha256(f'{name}#{BITS}#{self._photos.fingerprint()}'.encode()).hexdigest()
