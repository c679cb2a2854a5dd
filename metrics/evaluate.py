"""The metrics by name, and the one function that computes them from callables: it knows no network.

A name with a count in it (fid50k_full) always means that count; a name without one (fd_photo, fid) takes the count it is given, or its default.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch

from dnnlib.errors import DataError, UsageError, did_you_mean
from metrics.collecting import FeatureSet, Gatherer, Sample, cache_folder, gather, image_batches, real_features
from metrics.features import Device, FeatureExtractor, InceptionFeatures, PhotoFeatures, find_inception
from metrics.flatness import DepthImages, non_flatness
from metrics.frechet import frechet_distance
from metrics.inception_score import inception_score
from metrics.kernel import KernelConfig, kernel_distance
from metrics.precision_recall import precision_recall
from metrics.results import Result, Values, append_results
from training.data.image_set import ImageSet

__all__ = ['METRICS', 'DepthMetric', 'ImageMetric', 'Result', 'append_results', 'check', 'compute', 'count_of']

KEPT_REALS = 50_000  # feature vectors of real images held in memory; Frechet distances use the moments of all
MIN_FLOOR = 10  # with fewer images a side a floor says nothing

SampleDepth = Callable[[int, int], DepthImages]


@dataclass(frozen=True, slots=True)
class ImageMetric:
    """A number about images. reals: 'same' = as many as are generated, 'all' = the whole data set, 'none' = it does not look at any.

    measure(real, generated, extractor) returns named values, '' being the metric itself.
    """

    extractor: Literal['photo', 'inception']
    reals: Literal['same', 'all', 'none']
    num: int
    fixed: bool
    better: Literal['lower', 'higher']
    range: str
    measure: Callable[[FeatureSet | None, FeatureSet, FeatureExtractor], Values]


@dataclass(frozen=True, slots=True)
class DepthMetric:
    """A number about depth images. measure(some images) returns named values [n] of which the mean over all images is reported."""

    num: int
    better: Literal['lower', 'higher']
    range: str
    measure: Callable[[DepthImages], dict[str, torch.Tensor]]


def _frechet(real: FeatureSet, generated: FeatureSet, extractor: FeatureExtractor) -> Values:
    return {'': frechet_distance(real.moments, generated.moments)}


def _kernel(config: KernelConfig) -> Callable[[FeatureSet, FeatureSet, FeatureExtractor], Values]:
    def measure(real: FeatureSet, generated: FeatureSet, extractor: FeatureExtractor) -> Values:
        found = kernel_distance(real.features, generated.features, config)
        return {'': found.value, 'standard_error': found.standard_error}

    return measure


def _score(real: None, generated: FeatureSet, extractor: InceptionFeatures) -> Values:
    mean, std = inception_score(extractor.logits(generated.features))
    return {'mean': mean, 'std': std}


def _precision_recall(real: FeatureSet, generated: FeatureSet, extractor: FeatureExtractor) -> Values:
    return asdict(precision_recall(real.features, generated.features))


def _non_flatness(images: DepthImages) -> dict[str, torch.Tensor]:
    frame = non_flatness(images.depth, images.near, images.far)
    return {'frame': frame, 'object': non_flatness(images.depth, images.near, images.far, images.opacity)}


_DISTANCE = '0 to infinity'
_PHOTO_BLOCKS = KernelConfig(subsets=10, subset_size=750)

METRICS: Mapping[str, ImageMetric | DepthMetric] = {
    'fd_photo': ImageMetric('photo', 'same', 2000, False, 'lower', _DISTANCE, _frechet),
    'kd_photo': ImageMetric('photo', 'same', 2000, False, 'lower', _DISTANCE, _kernel(_PHOTO_BLOCKS)),
    'pr_photo': ImageMetric('photo', 'same', 2000, False, 'higher', '0 to 1 (density: 0 to infinity)', _precision_recall),
    'fid': ImageMetric('inception', 'all', 10_000, False, 'lower', _DISTANCE, _frechet),
    'kid': ImageMetric('inception', 'all', 10_000, False, 'lower', _DISTANCE, _kernel(KernelConfig())),
    'is': ImageMetric('inception', 'none', 10_000, False, 'higher', '1 to 1008', _score),
    'pr': ImageMetric('inception', 'all', 10_000, False, 'higher', '0 to 1 (density: 0 to infinity)', _precision_recall),
    'fid50k_full': ImageMetric('inception', 'all', 50_000, True, 'lower', _DISTANCE, _frechet),
    'kid50k_full': ImageMetric('inception', 'all', 50_000, True, 'lower', _DISTANCE, _kernel(KernelConfig())),
    'is50k': ImageMetric('inception', 'none', 50_000, True, 'higher', '1 to 1008', _score),
    'pr50k3_full': ImageMetric('inception', 'all', 50_000, True, 'higher', '0 to 1 (density: 0 to infinity)', _precision_recall),
    'nfs': DepthMetric(256, 'higher', '1 to 64', _non_flatness),
}


@dataclass(frozen=True, slots=True)
class _Settings:
    batch: int
    device: Device
    cache: Path | None
    inception: Path | None
    quiet: bool


def compute(
    names: Sequence[str],
    sample: Sample | None,
    dataset: ImageSet | None,
    *,
    num: int | None = None,
    batch: int = 32,
    device: Device = 'cpu',
    cached: bool = True,
    inception: Path | None = None,
    sample_depth: SampleDepth | None = None,
    quiet: bool = True,
) -> list[Result]:
    """Computes the named metrics, in the order of the names.

    sample(start, n) gives generated images [n, 3, S, S] float in [-1, 1]; image number i must not depend on start and n. Images pass through
    uint8, as saved pictures would. sample_depth(start, n) does the same for depth. num: how many, for metrics whose name holds no count (None:
    each its default); batch: how many are asked for at a time; inception: its weights (None: looked for in the usual places); cached: features of
    real images are kept in `cache_folder()`. Raises UsageError for an unknown name or a missing input, MissingInputError without Inception's
    weights, DataError when the resolutions differ, NumericalError for images that are not finite.
    """
    check(names, num, inception)
    if batch < 1:
        raise UsageError(f'metrics need a batch of at least 1, got {batch}')
    counts = {name: count_of(name, num) for name in names}
    _check_inputs(counts, sample, dataset, sample_depth)
    settings = _Settings(batch, device, cache_folder() if cached else None, inception, quiet)
    image_metrics = {name: count for name, count in counts.items() if isinstance(METRICS[name], ImageMetric)}
    results = _image_results(image_metrics, sample, dataset, settings) if image_metrics else {}
    for name in counts.keys() - image_metrics.keys():
        results[name] = _depth_result(name, counts[name], sample_depth, batch)
    return [results[name] for name in counts]


def check(names: Sequence[str], num: int | None = None, inception: Path | None = None) -> None:
    """Raises now what `compute` would raise after hours of training: UsageError for a name or number, MissingInputError without weights."""
    for name in names:
        count_of(name, num)
    if any(isinstance(METRICS[name], ImageMetric) and METRICS[name].extractor == 'inception' for name in names):
        find_inception(inception)


def count_of(name: str, num: int | None) -> int:
    """How many generated images a metric will use. Raises UsageError for an unknown name, or when the name fixes another number than `num`."""
    if name not in METRICS:
        raise UsageError(f"there is no metric '{name}'.{did_you_mean(name, METRICS)} There are: {', '.join(METRICS)}.")
    metric = METRICS[name]
    if num is not None and num < 2:
        raise UsageError(f'a metric needs at least 2 images, {num} were asked for')
    if isinstance(metric, ImageMetric) and metric.fixed:
        if num not in (None, metric.num):
            general = name.split('50k')[0]
            raise UsageError(f"'{name}' means {metric.num:,} images, {num:,} were asked for; use '{general}', whose number is free")
        return metric.num
    return metric.num if num is None else num


def _check_inputs(counts: Mapping[str, int], sample: Sample | None, dataset: ImageSet | None, sample_depth: SampleDepth | None) -> None:
    for name in counts:
        metric = METRICS[name]
        if isinstance(metric, DepthMetric):
            if sample_depth is None:
                raise UsageError(f"'{name}' looks at depth images; there are none without a network")
        elif sample is None or (metric.reals != 'none' and dataset is None):
            raise UsageError(f"'{name}' compares generated images with real ones: it needs a source and a data set")
        elif metric.reals != 'none' and len(dataset) < 2:
            raise DataError(f"'{name}' needs at least 2 real images, {dataset.name} has {len(dataset)}")


def _image_results(counts: Mapping[str, int], sample: Sample, dataset: ImageSet | None, settings: _Settings) -> dict[str, Result]:
    """All image metrics from one pass over the generated images."""
    started = time.perf_counter()
    metrics = {name: METRICS[name] for name in counts}
    kinds = list(dict.fromkeys(metric.extractor for metric in metrics.values()))
    extractors = {kind: _open_extractor(kind, settings) for kind in kinds}
    most = {kind: max(counts[name] for name in counts if metrics[name].extractor == kind) for kind in kinds}
    gatherers = [Gatherer(extractors[kind], most[kind], keep=most[kind]) for kind in kinds]
    compared = dataset if any(metric.reals != 'none' for metric in metrics.values()) else None
    batches = image_batches(_at_resolution(sample, compared), max(most.values()), settings.batch, settings.quiet)
    generated = dict(zip(kinds, gather(batches, gatherers), strict=True))
    shared = time.perf_counter() - started
    known: dict[tuple[str, int], FeatureSet] = {}
    results = {}
    for name, metric in metrics.items():
        began, extractor, count = time.perf_counter(), extractors[metric.extractor], counts[name]
        real, pair = _reals(metric, count, dataset, extractor, settings, known)
        values = metric.measure(real, generated[metric.extractor].rows(0, count), extractor)
        results[name] = Result(
            metric=name,
            values=_named(name, values),
            range=metric.range,
            better=metric.better,
            num=count,
            num_real=0 if real is None else len(real),
            extractor=extractor.name,
            extractor_sha256=extractor.sha256,
            floor={} if pair is None else _named(name, metric.measure(*pair, extractor)),
            floor_num=0 if pair is None else len(pair[0]),
            seconds=round(shared + time.perf_counter() - began, 3),
        )
    return results


def _reals(
    metric: ImageMetric,
    count: int,
    dataset: ImageSet | None,
    extractor: FeatureExtractor,
    settings: _Settings,
    known: dict[tuple[str, int], FeatureSet],
) -> tuple[FeatureSet | None, tuple[FeatureSet, FeatureSet] | None]:
    """The real side, and two disjoint parts of real images (as many as are generated, or half of what there is) that give the floor.

    `known` holds what this evaluation has gathered already, and is added to.
    """
    if metric.reals == 'none':
        return None, None
    available = len(dataset) if metric.reals == 'all' else min(2 * count, len(dataset))
    address = (metric.extractor, available)
    if address not in known:
        keep = KEPT_REALS if metric.reals == 'all' else available
        known[address] = real_features(dataset, extractor, available, keep, settings.cache, settings.quiet)
    seen = known[address]
    half = min(count, len(seen.features) // 2)
    pair = None if half < MIN_FLOOR else (seen.rows(0, half), seen.rows(half, 2 * half))
    return (seen if metric.reals == 'all' else seen.rows(0, min(count, available))), pair


def _depth_result(name: str, count: int, sample_depth: SampleDepth, batch: int) -> Result:
    started, metric = time.perf_counter(), METRICS[name]
    parts = [metric.measure(sample_depth(start, min(batch, count - start))) for start in range(0, count, batch)]
    values = {key: float(torch.cat([part[key] for part in parts]).double().mean()) for key in parts[0]}
    seconds = round(time.perf_counter() - started, 3)
    return Result(name, _named(name, values), metric.range, metric.better, count, 0, None, None, {}, 0, seconds)


def _open_extractor(kind: str, settings: _Settings) -> FeatureExtractor:
    if kind == 'photo':
        return PhotoFeatures(device=settings.device)
    return InceptionFeatures(settings.inception, device=settings.device)


def _at_resolution(sample: Sample, dataset: ImageSet | None) -> Sample:
    """The same images; DataError when they are not as large as the real ones: both would be resized, and the distance would be of sharpness."""
    if dataset is None:
        return sample

    def checked(start: int, number: int) -> torch.Tensor:
        images = sample(start, number)
        if tuple(images.shape[-2:]) != (dataset.resolution, dataset.resolution):
            size = f'{images.shape[-1]}x{images.shape[-2]}'
            raise DataError(f'the images to judge have {size} pixels, those of {dataset.name} {dataset.resolution}x{dataset.resolution}; convert one')
        return images

    return checked


def _named(metric: str, values: Values) -> Values:
    return {f'{metric}_{key}' if key else metric: float(value) for key, value in values.items()}
