"""One check of training in numbers: what the pictures show, and what training reported."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from metrics.classes import class_agreement, class_histogram
from metrics.duplicates import duplicate_fraction
from metrics.flatness import non_flatness
from metrics.measurable import NotMeasurable
from metrics.pose_distribution import circular_std_deg
from metrics.pose_response import pose_response
from metrics.reprojection import reprojection
from metrics.response_pairs import response_deg
from metrics.subject import Views
from metrics.thickness import object_pixels
from torch_utils.statistics import Summary
from training.data.item import from_uint8, to_uint8
from training.monitors.alarms import NOT_MEASURED, Measures
from training.monitors.look import TURN_DEG, Look, Read
from training.monitors.shape import mean_bulge, mean_of_measured, mean_thickness, pose_spread_deg
from training.tasks.conditions import ConditionSource
from training.tasks.readings import ReadConditions

FEWEST_OBJECT_PIXELS = 0.02  # of a picture; with less there is hardly an object
ALL_AROUND_DEG = 75.0
LEGIBLE = 0.7  # share of pictures whose class an oracle must recognise before its angles mean anything
FEWEST_OF_A_CLASS = 8  # pictures; of fewer a share is hardly a number

Features = Callable[[Tensor], Tensor]
"""images [N, 3, S, S] in [-1, 1] -> features [N, D] on the CPU."""


@dataclass(frozen=True, slots=True)
class Reported:
    """What training said by itself: summaries of the ticks of the last 500 images or so, and of all ticks since the last check."""

    recent: Sequence[Summary] = ()
    since_check: Sequence[Summary] = ()
    average_gap: float = NOT_MEASURED  # see `average_gap`
    augment_adapts: bool = False  # whether the strength of augmentation is a controller's


def measure(look: Look, reported: Reported, features: Features, read: Read | None = None) -> Measures:
    """One check: what the pictures show, and what training reported. read: None where nobody recognises what is in the pictures."""
    return replace(_of_reports(reported), **_of_pictures(look, features), **_of_turned(look), **_of_readings(look, read))


def _of_pictures(look: Look, features: Features) -> dict[str, float]:
    """By the names of Measures. Pictures that are not finite are counted, and take no part in anything else."""
    views = look.views
    assert views.depth is not None and views.opacity is not None and views.camera is not None, views
    finite = _whole(views) & _finite(look.from_one_camera)
    measured: dict[str, float] = {'not_finite': 1 - mean_of_measured(finite.double()), 'pose_spread_deg': pose_spread_deg(views.camera)}
    rows = finite.nonzero().flatten()
    if len(rows) == 0:
        return measured
    depth, opacity = views.depth[rows], views.opacity[rows]
    solid = object_pixels(depth, opacity)
    has_object = solid.flatten(1).double().mean(dim=1) >= FEWEST_OBJECT_PIXELS
    spreads = [shown[inside].double().std() for shown, inside in zip(depth[has_object], solid[has_object], strict=True)]
    return measured | {
        'thickness': mean_thickness(depth, opacity, views.camera[rows]),
        'bulge': mean_bulge(depth, opacity, views.camera[rows]) if look.tells_object else NOT_MEASURED,
        'depth_std': mean_of_measured(torch.stack(spreads)) if spreads else NOT_MEASURED,
        'nfs_object': mean_of_measured(non_flatness(depth, look.near[rows], look.far[rows], opacity)[has_object]),
        'empty': 1 - mean_of_measured(has_object.double()),
        'duplicates': _duplicates(features(_as_saved(look.from_one_camera[rows]))),
    }


def _of_turned(look: Look) -> dict[str, float]:
    """Whether the two sides of a scene show the same surface."""
    rows = (_whole(look.left) & _whole(look.right)).nonzero().flatten()
    try:
        found = reprojection(_of_rows(look.left, rows), _of_rows(look.right, rows))
    except NotMeasurable:
        return {}
    return {'reprojection': mean_of_measured(found.l1), 'co_visible': mean_of_measured(found.coverage)}


def _of_readings(look: Look, read: Read | None) -> dict[str, float]:
    """What is recognised in the pictures, beside what was asked for; nothing without a reader."""
    views = look.views
    rows = _whole(views).nonzero().flatten()
    if read is None or len(rows) == 0:
        return {}
    seen = read(_as_saved(views.image[rows])).classes
    asked = np.zeros(len(rows), dtype=np.int64) if views.classes is None else views.classes[rows].numpy()
    measured = {'turn_response': _turn_response(look, read) if class_agreement(seen, asked) >= LEGIBLE else NOT_MEASURED}
    if views.classes is None:
        return measured
    kl = class_histogram(seen, int(max(seen.max(), asked.max())) + 1, asked).kl
    recalls = [float((seen[asked == number] == number).mean()) for number, count in enumerate(np.bincount(asked)) if count >= FEWEST_OF_A_CLASS]
    return measured | {'class_kl': kl, 'worst_class_recall': min(recalls, default=NOT_MEASURED)}


def _turn_response(look: Look, read: Read) -> float:
    rows = (_whole(look.left) & _whole(look.right)).nonzero().flatten()
    left, right = (read(_as_saved(views.image[rows])).azimuth_rad for views in (look.left, look.right))
    try:
        return pose_response(np.full(len(rows), 2 * TURN_DEG), response_deg(left, right).numpy()).slope
    except NotMeasurable:
        return NOT_MEASURED


def _of_reports(reported: Reported) -> Measures:
    def recent(name: str) -> float:
        return pooled_mean(reported.recent, name)

    return Measures(
        margin=recent('Loss/scores/real') - recent('Loss/scores/fake'),
        told_apart=0.5 + (recent('Loss/signs/real') - recent('Loss/signs/fake')) / 4,
        generator_loss=recent('Loss/G/loss'),
        discriminator_loss=recent('Loss/D/loss'),
        gradient_ratio=recent('Gradients/G/norm') / (recent('Gradients/D/norm') or NOT_MEASURED),
        augment=pooled_mean(reported.since_check, 'Progress/augment') if reported.augment_adapts else NOT_MEASURED,
        average_gap=reported.average_gap,
    )


def _duplicates(features: Tensor) -> float:
    try:
        return duplicate_fraction(features.numpy())
    except NotMeasurable:
        return NOT_MEASURED


def pooled_mean(summaries: Iterable[Summary], name: str) -> float:
    """The mean of everything that was reported under a name; NaN if nothing was."""
    found = [summary[name] for summary in summaries if name in summary]
    number = sum(entry['num'] for entry in found)
    return sum(entry['num'] * entry['mean'] for entry in found) / number if number else NOT_MEASURED


def law_kept(conditions: ConditionSource) -> float:
    """How much of the spread of yaws that likeness found a class's readings still have; of the class that kept least. NaN where nothing was
    arranged, or where readings are no law.

    Spreads are circular standard deviations and count up to 75 degrees: beyond, views come from nearly all around, and the number runs to infinity.
    """
    if not isinstance(conditions, ReadConditions) or conditions.arranged is None or conditions.keeps_arranged:
        return NOT_MEASURED
    found, classes = conditions.arranged.codes, conditions.arranged.classes
    numbers = [0] if classes is None else classes.unique().tolist()
    spreads = [
        [min(_code_spread_deg(codes), ALL_AROUND_DEG) for codes in (conditions.readings.kept(number), found if classes is None else found[classes == number])]
        for number in numbers
    ]
    return min(now / max(then, 1e-6) for now, then in spreads)


def _code_spread_deg(codes: Tensor) -> float:
    return circular_std_deg(torch.atan2(codes[:, 0], codes[:, 1]).double().cpu().numpy())


@torch.no_grad()
def average_gap(average: nn.Module, trained: nn.Module) -> Tensor:
    """|average - trained| / |trained| over all parameters together, [], on their device."""
    ours, theirs = list(average.parameters()), list(trained.parameters())
    gap, size = (torch.stack(torch._foreach_norm(tensors)).norm() for tensors in (torch._foreach_sub(ours, theirs), theirs))
    return gap / size


def _finite(values: Tensor) -> Tensor:
    """Which rows hold no NaN or infinity: bool [N]."""
    return torch.isfinite(values).flatten(1).all(dim=1)


def _whole(views: Views) -> Tensor:
    """Which pictures hold nothing that is broken, bool [N]. An infinite depth is that of a ray which hit nothing; NaN is nobody's."""
    assert views.depth is not None and views.opacity is not None, views
    return _finite(views.image) & ~torch.isnan(views.depth).flatten(1).any(dim=1) & _finite(views.opacity)


def _of_rows(views: Views, rows: Tensor) -> Views:
    return Views(views.image[rows], views.depth[rows], views.opacity[rows], views.camera[rows])


def _as_saved(images: Tensor) -> Tensor:
    """What is left of images in a file of 8 bits, which is what every metric looks at."""
    return from_uint8(to_uint8(images))
