"""What a check of training says, and the alarms that it can raise: each a named failure with the interval in which its measure is expected."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

FIRST_KIMG = 4.0  # before it scenes take shape and scores swing, in healthy runs too
NOT_MEASURED = math.nan


@dataclass(frozen=True, slots=True)
class Measures:
    """One check. NaN: could not be measured. Means over pictures are over those with an object; lengths are world units."""

    thickness: float = NOT_MEASURED  # smallest over largest spread of an object's visible points; 0: a plane (metrics/thickness.py)
    bulge: float = NOT_MEASURED  # correlation of an object's depth with the distance from its centre in the picture (metrics/bulge.py)
    depth_std: float = NOT_MEASURED  # of an object's pixels
    nfs_object: float = NOT_MEASURED  # over how many of 64 depths an object's pixels spread (metrics/flatness.py)
    empty: float = NOT_MEASURED  # share of pictures with hardly an object pixel
    not_finite: float = NOT_MEASURED  # share of pictures whose colours or opacity hold NaN or infinity, or depth NaN
    class_kl: float = NOT_MEASURED  # divergence of the classes that an oracle reads from those that were asked for (metrics/classes.py)
    worst_class_recall: float = NOT_MEASURED  # smallest share of a class's pictures that an oracle reads as that class
    turn_response: float = NOT_MEASURED  # degrees that pictures turn, by an oracle, per degree of the camera (metrics/pose_response.py)
    reprojection: float = NOT_MEASURED  # difference of colours of one surface seen from two sides, grey levels (metrics/reprojection.py)
    co_visible: float = NOT_MEASURED  # share of an object's pixels that the other side sees too
    duplicates: float = NOT_MEASURED  # share of scenes that look like another one from the same camera (metrics/duplicates.py)
    pose_spread_deg: float = NOT_MEASURED  # circular standard deviation of the cameras' yaw
    law_kept: float = NOT_MEASURED  # share of the spread in which likeness arranged a class that its law still has, of the class with the least
    margin: float = NOT_MEASURED  # mean logit of real images minus that of generated ones
    told_apart: float = NOT_MEASURED  # share of images, half real and half generated, whose logit has the right sign
    generator_loss: float = NOT_MEASURED
    discriminator_loss: float = NOT_MEASURED
    gradient_ratio: float = NOT_MEASURED  # norm of the generator's gradient over that of the discriminator's
    augment: float = NOT_MEASURED  # strength of augmentation since the last check, where a controller sets it
    average_gap: float = NOT_MEASURED  # distance between the averaged and the trained generator, over the latter's length


@dataclass(frozen=True, slots=True)
class Reference:
    """What real data say. NaN: nobody knows."""

    thickness: float = NOT_MEASURED  # of true scenes, seen as the generator's are
    bulge: float = NOT_MEASURED  # of the same
    pose_spread_deg: float = NOT_MEASURED  # of the cameras of the data, or of the law that was given
    finds_cameras: bool = False  # whether training is to find the cameras, so that their law can collapse


Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Alarm:
    """A named failure: `measure`, a field of Measures, lies on this side of the interval that is expected."""

    name: str
    measure: str
    words: str  # the measure, for people
    side: Literal['below', 'above', 'outside']
    expected: Callable[[Reference], Interval]
    means: str
    advice: str
    of_pictures: bool  # whether it judges generated pictures, which training blurs at first, or numbers that training reports

    def is_raised(self, measures: Measures, reference: Reference) -> bool:
        """What was not measured raises nothing."""
        value, (low, high) = getattr(measures, self.measure), self.expected(reference)
        return (value < low and self.side != 'above') or (value > high and self.side != 'below')

    def begins(self, measures: Measures, reference: Reference, kimg: float) -> str:
        """The line that says it."""
        return f'warning: {self.name}: {self._finding(measures, reference, kimg)}: {self.means}. {self.advice}'

    def ends(self, measures: Measures, reference: Reference, kimg: float) -> str:
        """The line that takes it back."""
        return f'over: {self.name}: {self._finding(measures, reference, kimg)}.'

    def _finding(self, measures: Measures, reference: Reference, kimg: float) -> str:
        low, high = self.expected(reference)
        if math.isinf(high):
            expected = f'at least {low:.2g}'
        elif math.isinf(low):
            expected = f'at most {high:.2g}'
        else:
            expected = f'{low:.2g} to {high:.2g}'
        return f'{self.words} {getattr(measures, self.measure):.2g} at {kimg:.1f} kimg, expected {expected}'


def _at_most(limit: float) -> Callable[[Reference], Interval]:
    return lambda reference: (-math.inf, limit)


def _at_least(limit: float) -> Callable[[Reference], Interval]:
    return lambda reference: (limit, math.inf)


def _thickness(reference: Reference) -> Interval:
    real = reference.thickness
    return (0.05, math.inf) if math.isnan(real) else (0.3 * real, 2 * real)


def _pose_spread(reference: Reference) -> Interval:
    """5 degrees; where cameras are meant to differ by less than twice that, half of what is meant. A single fixed camera is no collapse.

    Of cameras that training finds, 10 degrees or a third of the law that it explores, whichever is less: laws that collapse shrink for good
    and pass 10 on their way to 5, and photographs of faces, the narrowest law that anybody photographs, have 15. What a law shrinks from says little: 180
    degrees are explored where 50 are the truth, so a third of it alone would be no bound.
    """
    meant = reference.pose_spread_deg
    most, share = (10.0, 1 / 3) if reference.finds_cameras else (5.0, 1 / 2)
    return (most if math.isnan(meant) else min(most, meant * share)), math.inf


def _bulge(reference: Reference) -> Interval:
    """0.4 less than real scenes: inverting them takes 0.7 to 1.1 from those that bulge. Nobody knows: -0.6, which real boats keep clear of."""
    return (-0.6 if math.isnan(reference.bulge) else reference.bulge - 0.4), math.inf


_CALMER = 'Start again with a larger --gamma (two to five times) or a smaller discriminator_optimiser.learning_rate.'
_LOOK = 'Look at fakes*.png and fakes*_depth.png.'

ALARMS: tuple[Alarm, ...] = (
    Alarm(
        'flat-depth', 'thickness', 'thickness', 'below', _thickness, 'the scenes are nearly flat',
        f'{_LOOK} Flat scenes stay flat: start again with more widely spread cameras, or tell the discriminator the cameras if they are known.', True,
    ),
    Alarm(
        'thick-depth', 'thickness', 'thickness', 'above', _thickness, 'the scenes are fog along the rays, or hollow',
        f'{_LOOK} If it stays, start again with a stronger generator.radiance.outside or a larger gan.density_weight.', True,
    ),
    Alarm(
        'hollow', 'bulge', 'bulge', 'below', _bulge, 'scenes are pressed in where they should stand out',
        f'{_LOOK} A hollow scene turns against the camera and stays so: start again with another --seed or a stronger generator.radiance.outside.', True,
    ),
    Alarm(
        'janus', 'turn_response', 'turn of the picture per turn of the camera', 'below', _at_least(0.05), 'pictures do not turn with the camera',
        'Billboards, a face on every side, or hollow scenes: make an orbit (gen_samples.py --pose orbit); start again with another --seed or gan.views=2.', True,
    ),
    Alarm(
        'one-depth', 'nfs_object', 'non-flatness of the object', 'below', _at_least(2.0), 'all pixels of a picture have the same depth',
        f'{_LOOK} A picture is painted on a wall: start again with a stronger generator.radiance.outside or more widely spread cameras.', True,
    ),
    Alarm(
        'no-object', 'empty', 'share of pictures without an object', 'above', _at_most(0.5), 'rays meet nothing',
        f'{_LOOK} If it stays, start again with a weaker generator.radiance.outside or a larger generator.rendering.density_scale.', True,
    ),
    Alarm(
        'not-finite', 'not_finite', 'share of pictures with NaN or infinity', 'above', _at_most(0.0), 'the averaged generator is broken',
        'Start again with a lower learning rate or stronger regularisation; a resumed run would come here once more.', True,
    ),
    Alarm(
        'duplicates', 'duplicates', 'share of scenes that repeat another', 'above', _at_most(0.1), 'latents have lost their effect',
        'If it stays, start again with a larger --gamma, and look for copies in the data.', True,
    ),
    Alarm(
        'class-collapse', 'class_kl', 'divergence of the classes', 'above', _at_most(0.5), 'pictures do not show the classes that they are asked for',
        'If it stays, start again with --set discriminator.unconditional_term=true, a larger --gamma, or a larger batch.', True,
    ),
    Alarm(
        'pose-collapse', 'pose_spread_deg', 'spread of the cameras in degrees', 'below', _pose_spread, 'all pictures are taken from one side',
        'If it stays, start again with a law of cameras that is given (--set cameras...), or with wider bounds.', True,
    ),
    Alarm(
        'law-shrinks', 'law_kept', 'share of the spread of yaws in which likeness arranged a class', 'below', _at_least(0.5),
        'its photographs are read as taken from ever fewer sides',
        'If it stays, start again with a longer gan.pose_arranged_hold_kimg, or with reading.law=arranged.', False,
    ),
    Alarm(
        'margin', 'margin', 'logit of real minus generated images', 'outside', lambda reference: (-8.0, 8.0), 'training is diverging', _CALMER, False
    ),
    Alarm('generator-loss', 'generator_loss', 'loss of the generator', 'above', _at_most(10.0), 'training is diverging', _CALMER, False),
    Alarm(
        'discriminator-saturated', 'told_apart', 'share of images told apart', 'above', _at_most(0.98), 'the discriminator has won',
        'Start again with a larger --gamma, with --aug ada, or with more images.', False,
    ),
    Alarm(
        'augment-at-cap', 'augment', 'strength of augmentation since the last check', 'above', _at_most(0.99), 'augmentation cannot grow further',
        'There are too few images: add some, or start again with --mirror true or a larger --gamma.', False,
    ),
    Alarm(
        'average-gap', 'average_gap', 'distance of the averaged generator from the trained one', 'above', _at_most(0.1), 'pictures show an average of different generators',
        'Start again with a smaller generator_optimiser.learning_rate or loop.ema_half_life_kimg.', False,
    ),
)  # fmt: skip


def alarms(measures: Measures, reference: Reference) -> list[Alarm]:
    """The alarms that these measures raise, in the order of the table."""
    return [alarm for alarm in ALARMS if alarm.is_raised(measures, reference)]


def is_heard(alarm: Alarm, kimg: float, blur_fade_kimg: float) -> bool:
    """Not before 4 kimg, and alarms about pictures not while the discriminator sees blurred ones: until then scenes are soft."""
    return kimg >= max(FIRST_KIMG, blur_fade_kimg if alarm.of_pictures else 0.0)


def announced(
    before: Sequence[Alarm], measures: Measures, reference: Reference, kimg: float, blur_fade_kimg: float
) -> tuple[list[Alarm], list[str]]:
    """(the alarms that stand after this check, what to say about those that began or ended with it); `before`: those that stood.

    An alarm whose measure cannot be taken any more still stands: empty pictures have no thickness.
    """
    raised = [alarm for alarm in alarms(measures, reference) if is_heard(alarm, kimg, blur_fade_kimg)]
    raised += [alarm for alarm in before if math.isnan(getattr(measures, alarm.measure))]
    said = [alarm.begins(measures, reference, kimg) for alarm in raised if alarm not in before]
    return raised, said + [alarm.ends(measures, reference, kimg) for alarm in before if alarm not in raised]
