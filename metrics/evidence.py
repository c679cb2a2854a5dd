"""What was seen of a subject, kept as plain arrays: statistics, intervals and tables are computed from these, and never need the subject again.

Five tables, whose rows are resampled together: `images` (pictures under the subject's own law), `shapes` (the first of them, with their
depth), `pairs` (two views of one scene), `novel` (features of views turned away from the law) and `readings` (what a model that reads poses
makes of real pictures). What could not be seen is in `absent`, with the reason.
"""

import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dnnlib.atomic import atomic_write
from dnnlib.errors import DataError
from metrics.depth_accuracy import depth_accuracy
from metrics.features import FeatureExtractor
from metrics.flatness import non_flatness
from metrics.hollow import hollow
from metrics.identity import identity_agreement
from metrics.measurable import NotMeasurable
from metrics.oracle import Oracle, Reading
from metrics.reprojection import reprojection
from metrics.response_pairs import Pairs, response_deg, turned, turned_pairs
from metrics.subject import Sample, Subject, Views
from metrics.thickness import thickness
from training.cameras.camera import Camera
from training.cameras.orbit import angles_of
from training.data.item import from_uint8, to_uint8

BATCH = 96
TABLES = ('images', 'shapes', 'pairs', 'novel', 'readings')
OBJECT_OPACITY = 0.9
FEWEST_OBJECT_PIXELS = 20
ACCURACIES = ('correlation', 'residual', 'scale', 'std_ratio', 'normals_deg')
NOVEL_TURNS_DEG = (0, 20, 40)
SCENE_RADIUS = 0.95  # toyworld's objects lie within this distance of the origin; depth histograms span it on both sides

Table = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows of each table. `novel` counts views per angle. EVALUATION's sizes: 2000 images, 500 pairs."""

    images: int = 2000
    shapes: int = 500
    pairs: int = 500
    novel: int = 500

    def __post_init__(self) -> None:
        assert self.shapes <= self.images and min(self.images, self.shapes, self.pairs, self.novel) >= 0, self


@dataclass(frozen=True, slots=True)
class Readers:
    """Who looks at the pictures. Without an oracle (photographs) nobody reads class, pose and depth from them."""

    photo: FeatureExtractor
    oracle: Oracle | None = None
    second: Oracle | None = None  # another oracle, which only says how far it differs from the first


@dataclass(frozen=True, slots=True)
class Evidence:
    """The five tables: {column: array of as many rows as the table has}; `absent`: {table or table/column: why it is not there}."""

    images: Table = field(default_factory=dict)
    shapes: Table = field(default_factory=dict)
    pairs: Table = field(default_factory=dict)
    novel: Table = field(default_factory=dict)
    readings: Table = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def columns(self, table: str, names: Sequence[str]) -> tuple[np.ndarray, ...]:
        """These columns of a table. Raises NotMeasurable with the reason when one is not there."""
        held: Table = getattr(self, table)
        for name in names:
            if name not in held:
                raise NotMeasurable(self.absent.get(f'{table}/{name}') or self.absent.get(table) or f'nobody recorded {name} of {table}')
        return tuple(held[name] for name in names)

    def save(self, path: Path) -> None:
        """Write one .npz, atomically; no pickle in it."""
        arrays = {f'{table}/{name}': array for table in TABLES for name, array in getattr(self, table).items()}
        reasons = {f'absent/{name}': np.array(reason) for name, reason in self.absent.items()}
        with atomic_write(path) as file:
            np.savez_compressed(file, **arrays, **reasons)

    @classmethod
    def load(cls, path: Path) -> 'Evidence':
        """What `save` wrote. Raises DataError for a file that is damaged."""
        found = cls()
        try:
            with np.load(path, allow_pickle=False) as file:
                for key in file.files:
                    table, _, name = key.partition('/')
                    if table == 'absent':
                        found.absent[name] = str(file[key])
                    else:
                        getattr(found, table)[name] = file[key]
        except (OSError, ValueError, EOFError, AttributeError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f'{path} is not a file of evidence, or is damaged: {error}') from error
        return found


def gather_evidence(
    subject: Subject, readers: Readers, counts: Counts, class_ids: Sequence[int] | None = None, *, batch: int = BATCH, quiet: bool = True
) -> Evidence:
    """Look at a subject. `class_ids[c]` is the oracle's number of the subject's class c (one entry: a subject without classes shows that one).

    Pictures pass through uint8, as saved ones would. A picture that is not finite is counted in images/finite, and shown to the readers as
    mid-grey: its features must not poison those of the others, and its row says that it is nothing.
    """
    return _Gathering(subject, readers, counts, class_ids, batch, quiet).run()


def gather_readings(read: Callable[[Tensor], Tensor], real: Subject, count: int, *, batch: int = BATCH) -> Table:
    """The table `readings` of the first `count` pictures of real scenes whose cameras are known: azimuths in radians, read and true, and classes.

    read: [N, 3, S, S] in [-1, 1] -> azimuths [N] in radians. Pictures without classes are of class 0.
    """
    rows: list[Table] = []
    for start in range(0, count, batch):
        views = real.sample(start, min(batch, count - start))
        assert views.camera is not None, 'the truth about these pictures is not known'
        classes = torch.zeros(len(views), dtype=torch.int64) if views.classes is None else views.classes
        true = angles_of(views.camera)[0]
        rows.append({'read': read(views.image).double().numpy(), 'true': true.double().numpy(), 'class': classes.numpy()})
    return _joined(rows)


@dataclass(frozen=True, slots=True)
class _Gathering:
    subject: Subject
    readers: Readers
    counts: Counts
    class_ids: Sequence[int] | None
    batch: int
    quiet: bool

    def run(self) -> Evidence:
        absent = {'readings': 'this subject reads no poses off real pictures'}
        images, shapes = self._images(absent)
        pairs = self._pairs(absent)
        novel = self._novel(absent)
        return Evidence(images, shapes, pairs, novel, absent=absent)

    def _images(self, absent: dict[str, str]) -> tuple[Table, Table]:
        rows: list[Table] = []
        shape_rows: list[Table] = []
        with tqdm(total=self.counts.images, desc=self.subject.name, unit='img', disable=self.quiet, leave=False) as bar:
            for start in range(0, self.counts.images, self.batch):
                number = min(self.batch, self.counts.images - start)
                views = self.subject.sample(start, number)
                assert len(views) == number, (len(views), number)
                image, finite = _as_saved(views.image)
                row: Table = {'photo': self.readers.photo(image).numpy(), 'finite': finite.numpy()}
                if views.camera is not None:
                    yaw, pitch, _ = angles_of(views.camera)
                    row |= {'asked_azimuth': yaw.double().numpy(), 'asked_elevation': pitch.double().numpy()}
                asked = self._asked_class(views)
                if asked is not None:
                    row['asked_class'] = asked
                reading = None
                if self.readers.oracle is not None:
                    reading = self.readers.oracle.read(image)
                    row |= _read_columns(reading)
                    if self.readers.second is not None:
                        row |= _other_columns(self.readers.second.read(image), reading)
                rows.append(row)
                if start < self.counts.shapes and views.depth is not None:
                    kept = slice(0, min(number, self.counts.shapes - start))
                    shape_rows.append({name: values[kept] for name, values in _shape_columns(views, reading).items()})
                bar.update(number)
        self._explain(absent, rows[0] if rows else {}, shape_rows)
        return _joined(rows), _joined(shape_rows)

    def _explain(self, absent: dict[str, str], row: Table, shape_rows: list[Table]) -> None:
        if self.readers.oracle is None:
            reason = 'there is no oracle for these data: nobody knows class, pose and depth of their pictures'
            absent |= {f'images/{name}': reason for name in ('oracle', 'azimuth', 'elevation', 'class', 'mode')}
            absent |= {f'shapes/{name}': reason for name in ('correlation', 'residual', 'scale', 'std_ratio', 'normals_deg', 'agreement')}
            absent |= {f'pairs/{name}': reason for name in ('response_deg', 'right_class', 'cosine', 'same_class', 'same_mode')}
        if self.readers.second is None:
            absent |= {f'images/{name}': 'only one oracle reads these pictures' for name in ('other_azimuth_deg', 'other_class')}
        if 'asked_azimuth' not in row:
            absent['images/asked_azimuth'] = absent['images/asked_elevation'] = 'nobody said from where these pictures were to be seen'
        if 'asked_class' not in row:
            absent['images/asked_class'] = 'no class was asked for'
        if not shape_rows:
            absent['shapes'] = 'there is no depth' if self.counts.shapes else 'no shapes were asked for'
        if self.subject.render is None:
            absent['pairs'] = absent['novel'] = 'these scenes cannot be looked at from elsewhere'

    def _asked_class(self, views: Views) -> np.ndarray | None:
        if self.class_ids is None:
            return None
        if views.classes is None:
            return np.full(len(views), self.class_ids[0]) if len(self.class_ids) == 1 else None
        return np.asarray(self.class_ids)[views.classes.numpy()]

    def _pairs(self, absent: dict[str, str]) -> Table:
        if self.subject.render is None or not self.counts.pairs:
            absent.setdefault('pairs', 'no pairs were asked for')
            return {}
        found = turned_pairs(self.subject, self.counts.pairs)
        table: Table = {'commanded_deg': _array(found.commanded_deg)}
        if self.readers.oracle is not None:
            table |= self._read_pairs(found, self.readers.oracle, absent)
        if found.first.depth is None:
            absent['pairs/l1'] = absent['pairs/covered'] = 'there is no depth'
        else:
            seen = _or_nan(lambda: asdict(reprojection(found.first, found.second)), ('l1', 'coverage'), len(found))
            table |= {'l1': _array(seen['l1']), 'covered': _array(seen['coverage'])}
        return table

    def _read_pairs(self, found: Pairs, oracle: Oracle, absent: dict[str, str]) -> Table:
        """How far the picture has turned, and whether it still shows the same object."""
        first, second = (oracle.read(_as_saved(views.image)[0]) for views in (found.first, found.second))
        agreement = identity_agreement(first.features, second.features, first.classes, second.classes, first.modes, second.modes)
        table: Table = {
            'response_deg': _array(response_deg(first.azimuth_rad, second.azimuth_rad)),
            'cosine': _array(agreement.cosine),
            'same_class': _array(agreement.same_class),
            'same_mode': _array(agreement.same_mode),
        }
        asked = self._asked_class(found.first)
        if asked is None:
            absent['pairs/right_class'] = 'no class was asked for'
        else:
            table['right_class'] = first.classes.numpy() == asked
        return table

    def _novel(self, absent: dict[str, str]) -> Table:
        """Features of the first scenes, turned to either side in turn, by angle: column '20' holds those at +20 and -20 degrees."""
        if self.subject.render is None or not self.counts.novel:
            absent.setdefault('novel', 'no novel views were asked for')
            return {}
        columns: dict[str, list[np.ndarray]] = {str(turn): [] for turn in NOVEL_TURNS_DEG}
        for start in range(0, self.counts.novel, self.batch):
            number = min(self.batch, self.counts.novel - start)
            camera = _camera_of(self.subject.sample, start, number)
            for turn in NOVEL_TURNS_DEG:
                sides = turn * (1.0 - 2.0 * (torch.arange(start, start + number) % 2))
                views = self.subject.render(start, number, turned(camera, sides))
                columns[str(turn)].append(self.readers.photo(_as_saved(views.image)[0]).numpy())
        return {name: np.concatenate(parts) for name, parts in columns.items()}


def _camera_of(sample: Sample, start: int, number: int) -> Camera:
    camera = sample(start, number).camera
    assert camera is not None, 'a subject that can be rendered says where it is seen from'
    return camera


def _as_saved(images: Tensor) -> tuple[Tensor, Tensor]:
    """(float images of 8 bits, which of them were finite [N] bool); those that were not are mid-grey."""
    finite = torch.isfinite(images).flatten(1).all(dim=1)
    return from_uint8(to_uint8(torch.where(finite[:, None, None, None], images, 0.0))), finite


def _read_columns(reading: Reading) -> Table:
    return {
        'oracle': reading.features.numpy(),
        'azimuth': reading.azimuth_rad.double().numpy(),
        'elevation': reading.elevation_rad.double().numpy(),
        'class': reading.classes.numpy(),
        'mode': reading.modes.numpy(),
    }


def _other_columns(second: Reading, first: Reading) -> Table:
    """Where the second oracle differs: azimuth in degrees, and whether it names another class."""
    return {
        'other_azimuth_deg': response_deg(first.azimuth_rad, second.azimuth_rad).abs().numpy(),
        'other_class': (first.classes != second.classes).numpy(),
    }


def _shape_columns(views: Views, reading: Reading | None) -> Table:
    """Per image: thickness, spread of depth, non-flatness, share of object pixels, and, against the oracle's depth, accuracy and sense."""
    solid = views.opacity > OBJECT_OPACITY
    distance = views.camera.origins.norm(dim=1)
    near, far = distance - SCENE_RADIUS, distance + SCENE_RADIUS
    columns = {
        'thickness': _or_nan(lambda: {'': thickness(views.depth, views.opacity, views.camera)}, ('',), len(views))[''],
        'depth_std': _masked_std(views.depth, solid),
        'nfs_frame': non_flatness(views.depth, near, far),
        'nfs_object': non_flatness(views.depth, near, far, views.opacity),
        'object_share': solid.double().mean(dim=(1, 2, 3)),
    }
    if reading is not None:
        depth = _at(views.depth, reading.depth.shape[-1])
        both = _at(solid.float(), reading.depth.shape[-1]).bool() & (reading.mask > 0.5)
        columns |= _or_nan(lambda: asdict(depth_accuracy(depth, reading.depth, both, views.camera)), ACCURACIES, len(views))
        columns |= _or_nan(lambda: {'agreement': hollow(depth, reading.depth, both, views.camera).agreement}, ('agreement',), len(views))
    return {name: _array(values) for name, values in columns.items()}


def _or_nan(measure: Callable[[], dict[str, Tensor]], names: Sequence[str], count: int) -> dict[str, Tensor]:
    """Columns of these names; all NaN where no image of this lot can be measured, as it is for an image among others."""
    try:
        found = measure()
    except NotMeasurable:
        return {name: torch.full((count,), torch.nan, dtype=torch.float64) for name in names}
    return {name: found[name] for name in names}


def _masked_std(values: Tensor, mask: Tensor) -> Tensor:
    """Standard deviation of the values under the mask, per image [N]; NaN with too few."""
    inside = [v[m] for v, m in zip(values.double(), mask, strict=True)]
    return torch.stack([v.std() if len(v) >= FEWEST_OBJECT_PIXELS else torch.tensor(torch.nan, dtype=torch.float64) for v in inside])


def _at(picture: Tensor, side: int) -> Tensor:
    """The picture at another size, nearest pixel: depths of different surfaces must not be mixed."""
    if picture.shape[-1] == side:
        return picture
    return torch.nn.functional.interpolate(picture, size=(side, side), mode='nearest-exact')


def _array(values: Tensor | np.ndarray) -> np.ndarray:
    return values.numpy() if isinstance(values, Tensor) else np.asarray(values)


def _joined(rows: Sequence[Mapping[str, np.ndarray]]) -> Table:
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]} if rows else {}


