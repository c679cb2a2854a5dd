"""What an experiment is: a claim, arms that differ by settings, and bars that were written down before the run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of training. `settings`: NAME=VALUE as `train.py --set` takes them, on top of the experiment's. `preset`: where it starts instead of
    the experiment's preset, for what no setting can say (which kind of law the cameras have)."""

    caption: str
    settings: tuple[str, ...] = ()
    preset: str | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """A statistic of an arm must lie in [low, high], with its whole 95 % interval (None: open on that side).

    against, relation: the statistic is the difference `arm - against` or the ratio `arm / against`, seed by seed.
    every_seed: no mean may hide a seed, so the value of each must lie there too.
    """

    arm: str
    statistic: str
    low: float | None = None
    high: float | None = None
    against: str | None = None
    relation: Literal['value', 'difference', 'ratio'] = 'value'
    every_seed: bool = False


@dataclass(frozen=True, slots=True)
class Experiment:
    """`data` and `held_out` are synthetic sets by name; every run trains on the first and is judged against the second."""

    name: str
    claim: str
    preset: str
    data: str
    held_out: str
    kimg: float
    arms: Mapping[str, Arm]
    bars: tuple[Bar, ...]
    settings: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()  # statistics that the table shows, in this order
    curves: tuple[str, ...] = ()  # statistics that are drawn over the length of training
    compared: tuple[tuple[str, str], ...] = ()  # pairs of arms; none: those with bars are compared with every other

    def __post_init__(self) -> None:
        for bar in self.bars:
            assert bar.arm in self.arms and (bar.against is None or bar.against in self.arms), bar
            assert (bar.relation == 'value') == (bar.against is None), bar
            assert bar.relation == 'value' or not bar.every_seed, bar
        for pair in self.compared:
            assert set(pair) <= set(self.arms), pair
