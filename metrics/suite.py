"""Every number that is reported of a subject, by name: what it is computed from, how it may be resampled, and whether more is better.

A statistic is a function of a reference and of columns of the evidence (evidence.py); its definition, source and limits stand in the docstring
of the file that it calls. Where it cannot be measured it says so and why.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from metrics.class_alignment import class_alignment, reader_error_deg
from metrics.classes import class_agreement, class_histogram, mode_histogram
from metrics.duplicates import diversity, duplicate_fraction
from metrics.evidence import NOVEL_TURNS_DEG, Evidence
from metrics.frechet import frechet_distance
from metrics.intervals import Interval, bootstrap, seed_interval
from metrics.kernel import KernelConfig, kernel_distance
from metrics.measurable import LEAST_POSES, NotMeasurable, measurable
from metrics.memorising import memorising_auc
from metrics.moments import Moments
from metrics.novel_views import novel_view_distance
from metrics.pose_accuracy import pose_accuracy
from metrics.pose_distribution import circular_std_deg, directions, gauge, pose_distribution, sliced_wasserstein
from metrics.pose_response import pose_response
from metrics.precision_recall import PrecisionRecallConfig, precision_recall
from metrics.vendi import vendi_score

NEIGHBOURS = PrecisionRecallConfig(neighbours=5, density_neighbours=5)
MOST_NEIGHBOURS = 1500  # images a side for precision, recall, density and coverage, which depend on the number
FEWEST_RIGHT = 0.7  # share of pairs whose class is right, below which reading their pose means nothing (EVALUATION, section 8)
NUM_CLASSES, NUM_MODES = 8, 3


@dataclass(frozen=True)
class Reference:
    """Held-out real data, seen by the same readers. For memorising: photo features of *all* images that the subject learned from (of a part of them,
    most copies would go unseen), and of as many that it did not."""

    real: Evidence
    training: np.ndarray | None = None
    unseen: np.ndarray | None = None

    @cached_property
    def photo(self) -> Moments:
        """Moments of the real images' photo features."""
        return Moments.of(self.column('images', 'photo'))

    @cached_property
    def oracle(self) -> Moments:
        """Moments of the real images' oracle features."""
        return Moments.of(self.column('images', 'oracle'))

    def columns(self, table: str, *names: str) -> tuple[np.ndarray, ...]:
        """Columns of the real evidence. Raises NotMeasurable, saying that it is the real side that lacks them."""
        try:
            return self.real.columns(table, names)
        except NotMeasurable as why:
            raise NotMeasurable(f'of the real pictures, {why}') from why

    def column(self, table: str, name: str) -> np.ndarray:
        """One of them."""
        return self.columns(table, name)[0]


@dataclass(frozen=True, slots=True)
class Statistic:
    """measure(reference, *columns) -> float; raises NotMeasurable.

    resampling: 'rows' may be drawn again with replacement; 'centred': so, but the statistic rises with repeated rows and its interval is moved
    back; 'none': repeated rows would make it another statistic, so that only several training seeds give it an interval.
    better: 'real' means: as near as possible to the real value.
    """

    caption: str
    better: Literal['higher', 'lower', 'real']
    table: str
    columns: tuple[str, ...]
    measure: Callable[..., float]
    resampling: Literal['rows', 'centred', 'none'] = 'rows'
    draws: int = 1000

    def of(self, evidence: Evidence, reference: Reference) -> float:
        """The value. Raises NotMeasurable with the reason."""
        return float(self.measure(reference, *evidence.columns(self.table, self.columns)))

    def interval(self, runs: Sequence[Evidence], reference: Reference, seed: int = 0) -> Interval:
        """The mean over runs with its 95 % interval, over rows and runs. Raises NotMeasurable."""
        groups = [run.columns(self.table, self.columns) for run in runs]
        if self.resampling == 'none':
            return seed_interval([self.measure(reference, *group) for group in groups])
        return bootstrap(
            lambda *columns: self.measure(reference, *columns), groups, draws=self.draws, seed=seed, centred=self.resampling == 'centred'
        )


def measure_all(evidence: Evidence, reference: Reference, names: Sequence[str] | None = None) -> dict[str, float | str]:
    """Every statistic (or those named) of one subject: a number, or the sentence 'not measurable here: ...'."""
    found: dict[str, float | str] = {}
    for name in STATISTICS if names is None else names:
        try:
            found[name] = STATISTICS[name].of(evidence, reference)
        except NotMeasurable as why:
            found[name] = f'not measurable here: {why}'
    return found


def _mean(reference: Reference, values: np.ndarray) -> float:
    """Mean of the values that could be measured."""
    return float(_known(values).mean())


def _median(reference: Reference, values: np.ndarray) -> float:
    return float(np.median(_known(values)))


def _known(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    known = values[np.isfinite(values)]
    if len(known) < max(2, 0.1 * len(values)):
        raise NotMeasurable(f'only {len(known)} of {len(values)} images have enough object pixels')
    return known


def _frechet(which: Literal['photo', 'oracle']) -> Callable[..., float]:
    return lambda reference, features: frechet_distance(getattr(reference, which), Moments.of(features))


def _kernel(reference: Reference, features: np.ndarray) -> float:
    return kernel_distance(reference.column('images', 'photo'), features, KernelConfig(subsets=10, subset_size=750)).value


def _neighbours(field: str) -> Callable[..., float]:
    def measure(reference: Reference, features: np.ndarray) -> float:
        real = reference.column('images', 'oracle')
        size = min(MOST_NEIGHBOURS, len(real), len(features))
        return getattr(precision_recall(real[:size], features[:size], NEIGHBOURS), field)

    return measure


def _memorising(reference: Reference, features: np.ndarray) -> float:
    if reference.training is None or reference.unseen is None:
        raise NotMeasurable('there are no training images, or none that were not trained on, to compare with')
    return memorising_auc(features, reference.training, reference.unseen)


def _class_kl(reference: Reference, predicted: np.ndarray) -> float:
    return class_histogram(predicted, NUM_CLASSES, reference.column('images', 'class')).kl


def _classes_present(reference: Reference, predicted: np.ndarray) -> float:
    return class_histogram(predicted, NUM_CLASSES, reference.column('images', 'class')).present


def _mode_kl(reference: Reference, classes: np.ndarray, modes: np.ndarray) -> float:
    return mode_histogram(classes, modes, NUM_CLASSES, NUM_MODES, *reference.columns('images', 'class', 'mode')).kl


def _turned(*real_names: str, mirror: bool = False) -> Callable[..., float]:
    """Distance of directions to those of the real images, which stand in these columns, after the best turn about the vertical."""

    def measure(reference: Reference, azimuth: np.ndarray, elevation: np.ndarray) -> float:
        real = measurable('the law of real poses', *reference.columns('images', *real_names), least=LEAST_POSES)
        seen = measurable('the law of poses', azimuth, elevation, least=LEAST_POSES)
        return _turned_distance(directions(*seen), directions(*real), mirror)

    return measure


_turned_distances: dict[bytes, float] = {}


def _turned_distance(seen: np.ndarray, real: np.ndarray, mirror: bool) -> float:
    """The distance of `gauge`, sought once for the same directions: 60 ms, and an arm that is compared with six others is resampled into the
    same rows seven times."""
    asked = hashlib.blake2b(seen.tobytes(), digest_size=16)
    asked.update(real.tobytes() + bytes([mirror]))
    key = asked.digest()
    if key not in _turned_distances:
        _turned_distances[key] = gauge(seen, real, mirror=mirror).distance
    return _turned_distances[key]


def _unturned(reference: Reference, azimuth: np.ndarray, elevation: np.ndarray) -> float:
    real = measurable('the law of real poses', *reference.columns('images', 'azimuth', 'elevation'), least=LEAST_POSES)
    seen = measurable('the law of poses', azimuth, elevation, least=LEAST_POSES)
    return sliced_wasserstein(directions(*seen), directions(*real))


def _divergence(reference: Reference, azimuth: np.ndarray, elevation: np.ndarray) -> float:
    return pose_distribution(azimuth, elevation, *reference.columns('images', 'azimuth', 'elevation')).js


def _spread_ratio(reference: Reference, azimuth: np.ndarray) -> float:
    spread = circular_std_deg(reference.column('images', 'azimuth'))
    if not 0 < spread < np.inf:
        raise NotMeasurable(f'the azimuths of real pictures have a circular spread of {spread:g} degrees')
    return circular_std_deg(azimuth) / spread


def _alignment(reversed_sense: bool) -> Callable[..., float]:
    return lambda reference, *columns: class_alignment(*columns, reversed_sense=reversed_sense)


def _pose_errors(field: str) -> Callable[..., float]:
    return lambda reference, read, asked: getattr(pose_accuracy(read, asked), field)


def _response(field: str) -> Callable[..., float]:
    def measure(reference: Reference, commanded: np.ndarray, response: np.ndarray, right: np.ndarray) -> float:
        if right.mean() < FEWEST_RIGHT:
            raise NotMeasurable(f'only {right.mean():.0%} of the pictures are recognised as what they should show, so their poses mean nothing')
        return getattr(pose_response(commanded, response), field)

    return measure


def _relative_thickness(reference: Reference, values: np.ndarray) -> float:
    return _mean(reference, values) / _mean(reference, reference.column('shapes', 'thickness'))


def _inside_out(reference: Reference, correlation: np.ndarray) -> float:
    return float((_known(correlation) < 0).mean())


def _novel(turn: int) -> Callable[..., float]:
    def measure(reference: Reference, features: np.ndarray) -> float:
        return novel_view_distance(features, reference.column('novel', str(turn)))

    return measure


def _identical(reference: Reference, values: np.ndarray) -> float:
    return float(np.mean(values))


_READ = ('azimuth', 'elevation')  # by the oracle, in pictures
_ASKED = ('asked_azimuth', 'asked_elevation')  # the cameras that the pictures were rendered from
_OF_CLASSES = ('azimuth', 'asked_azimuth', 'asked_class')
_RESPONSE = ('commanded_deg', 'response_deg', 'right_class')

STATISTICS: Mapping[str, Statistic] = {
    'finite': Statistic('share of images without NaN or infinity', 'higher', 'images', ('finite',), _identical),
    'fd_photo': Statistic('Frechet distance, photo features', 'lower', 'images', ('photo',), _frechet('photo'), 'centred', 100),
    'kd_photo': Statistic('kernel distance, photo features', 'lower', 'images', ('photo',), _kernel, 'none'),
    'fd_oracle': Statistic('Frechet distance, oracle features', 'lower', 'images', ('oracle',), _frechet('oracle'), 'centred', 100),
    'precision': Statistic('precision, oracle features', 'higher', 'images', ('oracle',), _neighbours('precision'), 'none'),
    'recall': Statistic('recall', 'higher', 'images', ('oracle',), _neighbours('recall'), 'none'),
    'density': Statistic('density', 'higher', 'images', ('oracle',), _neighbours('density'), 'none'),
    'coverage': Statistic('coverage', 'higher', 'images', ('oracle',), _neighbours('coverage'), 'none'),
    'vendi': Statistic('Vendi score, photo features', 'real', 'images', ('photo',), lambda reference, features: vendi_score(features), 'none'),
    'duplicates': Statistic('share of images that repeat another', 'lower', 'images', ('photo',), lambda _, f: duplicate_fraction(f), 'none'),
    'diversity': Statistic(
        'nearest other image of the class', 'real', 'images', ('photo', 'class'), lambda _, f, c: diversity(f, c).nearest, 'none'
    ),
    'memorising': Statistic('share nearer to a training than to a held-out image', 'lower', 'images', ('photo',), _memorising, 'none'),
    'class_accuracy': Statistic(
        'images of the class that was asked for', 'higher', 'images', ('class', 'asked_class'), lambda _, read, asked: class_agreement(read, asked)
    ),
    'class_kl': Statistic('KL of the histogram of classes', 'lower', 'images', ('class',), _class_kl, 'centred'),
    'classes_present': Statistic('classes above 2 %', 'higher', 'images', ('class',), _classes_present, 'none'),
    'mode_kl': Statistic('KL of the colour modes within classes', 'lower', 'images', ('class', 'mode'), _mode_kl, 'centred'),
    'sw_raw': Statistic('sliced Wasserstein distance of poses', 'lower', 'images', _READ, _unturned, 'centred', 100),
    'sw_aligned': Statistic('distance of poses after one global turn', 'lower', 'images', _READ, _turned(*_READ), 'centred', 100),
    'sw_mirrored': Statistic(
        'the same, or of their mirror image if that is nearer', 'lower', 'images', _READ, _turned(*_READ, mirror=True), 'centred', 100
    ),
    'law_aligned': Statistic(
        "distance of the cameras used to the real images' true ones, after one turn", 'lower', 'images', _ASKED, _turned(*_ASKED), 'centred', 100
    ),
    'law_mirrored': Statistic(
        'the same, or of their mirror image if that is nearer', 'lower', 'images', _ASKED, _turned(*_ASKED, mirror=True), 'centred', 100
    ),
    'pose_spread': Statistic(
        'circular spread of azimuth, degrees', 'real', 'images', ('azimuth',), lambda _, azimuth: circular_std_deg(azimuth)
    ),
    'spread_ratio': Statistic('circular spread of azimuth, times the real one', 'real', 'images', ('azimuth',), _spread_ratio),
    'pose_js': Statistic('Jensen-Shannon divergence of binned poses', 'lower', 'images', _READ, _divergence, 'none'),
    'pose_error': Statistic(
        'median azimuth error after one global turn, degrees', 'lower', 'images', ('azimuth', 'asked_azimuth'), _pose_errors('median_deg'), draws=200
    ),
    'pose_flips': Statistic(
        'share of azimuth errors above 90 degrees', 'lower', 'images', ('azimuth', 'asked_azimuth'), _pose_errors('flips'), draws=200
    ),
    'alignment': Statistic(
        'mean over classes of |mean exp i(read - asked)|', 'higher', 'images', _OF_CLASSES, _alignment(reversed_sense=False), 'centred', 200
    ),
    'alignment_reversed': Statistic(
        'the same with read + asked: pictures that turn the wrong way', 'lower', 'images', _OF_CLASSES, _alignment(reversed_sense=True), 'centred', 200
    ),
    'alignment_deaf': Statistic(
        'what pictures would have that ignore their camera, under the law of the cameras that were asked for', 'lower', 'images',
        ('asked_azimuth', 'asked_class'), lambda _, asked, classes: class_alignment(np.zeros_like(asked), asked, classes), 'centred', 200,
    ),
    'reader_error': Statistic(
        "median azimuth error of the model's own reading of real pictures, degrees", 'lower', 'readings', ('read', 'true', 'class'),
        lambda _, *columns: reader_error_deg(*columns), draws=200,
    ),
    'oracles_azimuth': Statistic(
        'median difference of two oracles, degrees', 'lower', 'images', ('other_azimuth_deg',), _median
    ),
    'oracles_class': Statistic('share of images that two oracles name differently', 'lower', 'images', ('other_class',), _identical),
    'slope': Statistic('pose-response slope', 'real', 'pairs', _RESPONSE, _response('slope')),
    'slope_trimmed': Statistic('share of pairs trimmed', 'lower', 'pairs', _RESPONSE, _response('trimmed')),
    'thickness': Statistic('thickness ratio of depth', 'real', 'shapes', ('thickness',), _mean),
    'thickness_relative': Statistic('thickness, times the real one', 'real', 'shapes', ('thickness',), _relative_thickness),
    'depth_std': Statistic('spread of object depth, world units', 'real', 'shapes', ('depth_std',), _mean),
    'object_share': Statistic('share of object pixels', 'real', 'shapes', ('object_share',), _identical),
    'depth_r': Statistic("correlation with the oracle's depth", 'higher', 'shapes', ('correlation',), _median),
    'depth_residual': Statistic('what is left after scale and shift', 'lower', 'shapes', ('residual',), _median),
    'depth_scale': Statistic('fitted scale of depth', 'real', 'shapes', ('scale',), _median),
    'depth_std_ratio': Statistic('spread of depth, times the oracle\'s', 'real', 'shapes', ('std_ratio',), _median),
    'normals': Statistic('median angle between normals, degrees', 'lower', 'shapes', ('normals_deg',), _median),
    'hollow': Statistic('share of inside-out depth images', 'lower', 'shapes', ('correlation',), _inside_out),
    'hollow_agreement': Statistic('agreement of the sense of normals', 'higher', 'shapes', ('agreement',), _median),
    'nfs_frame': Statistic('non-flatness of the frame', 'real', 'shapes', ('nfs_frame',), _mean),
    'nfs_object': Statistic('non-flatness of the object', 'real', 'shapes', ('nfs_object',), _mean),
    'reprojection': Statistic('colour change of points seen twice, of 255', 'lower', 'pairs', ('l1',), _mean),
    'reprojection_coverage': Statistic('share of points seen twice', 'real', 'pairs', ('covered',), _mean),
    'view_cosine': Statistic('agreement of features between views', 'real', 'pairs', ('cosine',), _identical),
    'view_class': Statistic('views of one class', 'higher', 'pairs', ('same_class',), _identical),
    'view_mode': Statistic('views of one colour mode', 'higher', 'pairs', ('same_mode',), _identical),
    **{
        f'fd_turned_{turn}': Statistic(f'Frechet distance, turned by {turn} degrees', 'lower', 'novel', (str(turn),), _novel(turn), 'centred', 100)
        for turn in NOVEL_TURNS_DEG
    },
}
