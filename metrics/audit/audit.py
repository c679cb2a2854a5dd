"""E0: every control must be flagged by each statistic that is named for it, and no real split by any."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tqdm import tqdm

from metrics.audit.gates import GATES, SEEN_BY, Gate, Spread, flagged, outside
from metrics.audit.law_controls import HELD_OUT, TRAINING, UNSEEN, law_controls, real_split
from metrics.audit.shape_controls import shape_controls
from metrics.evidence import Counts, Evidence, Readers, gather_evidence
from metrics.features import PhotoFeatures
from metrics.oracle import OracleRecipe, load_oracle
from metrics.subject import Subject
from metrics.suite import STATISTICS, Reference, measure_all
from metrics.toy_subject import counted_from, toy_subject
from training.data.toyworld.world import Toyworld, ToyworldConfig

DATA_SEED = 9001  # of scenes that neither the oracle nor an experiment has seen
Values = Mapping[str, float | str]


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """Sizes; the full form is EVALUATION's. `style` is toyworld's, and that of the oracle; `oracle_seed` says which of its networks reads."""

    style: str = 'plain'
    oracle_seed: int = 0
    images: int = 1500
    shapes: int = 300
    pairs: int = 300
    splits: int = 5


QUICK = AuditConfig(images=600, shapes=64, pairs=80, splits=4)


@dataclass(frozen=True, slots=True)
class Audit:
    """What was measured, and what the gates say. `missed`: (control, statistic) pairs that stayed unseen; `false_alarms`: (split, statistic)."""

    values: dict[str, Values]
    real: dict[str, Spread]
    missed: list[tuple[str, str]] = field(default_factory=list)
    false_alarms: list[tuple[str, str]] = field(default_factory=list)

    @property
    def green(self) -> bool:
        """Whether the suite may be believed."""
        return not self.missed and not self.false_alarms


def run_audit(config: AuditConfig = AuditConfig(), quiet: bool = True) -> dict[str, Values]:
    """Measure five (or so) real splits and all controls: {subject: {statistic: value}}."""
    world = Toyworld(ToyworldConfig(poses='wide', background='white', seed=DATA_SEED, style=config.style))
    readers = Readers(PhotoFeatures(), load_oracle(OracleRecipe(seed=config.oracle_seed, style=config.style)))
    class_ids = range(len(world.config.classes))
    pictures_only = Counts(config.images, 0, 0, 0)
    shapes_only = Counts(config.shapes, config.shapes, config.pairs, 0)

    def look(subject: Subject, counts: Counts) -> Evidence:
        return gather_evidence(subject, readers, counts, class_ids)

    reference = Reference(
        look(toy_subject('held out', world, counted_from(HELD_OUT)), replace(pictures_only, shapes=config.shapes)),
        look(toy_subject('training', world, counted_from(TRAINING)), pictures_only).images['photo'],
        look(toy_subject('never trained on', world, counted_from(UNSEEN)), pictures_only).images['photo'],
    )
    everything = Counts(config.images, config.shapes, config.pairs, 0)
    wanted = [(real_split(world, index), everything) for index in range(config.splits)]
    wanted += [(subject, pictures_only) for subject in law_controls(world)]
    wanted += [(subject, shapes_only) for subject in shape_controls(world)]
    with tqdm(wanted, disable=quiet) as bar:
        found = {}
        for subject, counts in bar:
            bar.set_description(subject.name)
            found[subject.name] = measure_all(look(subject, counts), reference, list(STATISTICS))
    return found


def judge(values: Mapping[str, Values], gates: Mapping[str, Gate] = GATES, seen_by: Mapping[str, Sequence[str]] = SEEN_BY) -> Audit:
    """What the gates say of the values; a statistic without a gate flags nothing, so a control that only it would see is missed."""
    splits = {name: found for name, found in values.items() if name not in seen_by}
    real = {
        name: Spread.of([found[name] for found in splits.values()])
        for name in STATISTICS
        if all(isinstance(found[name], float) for found in splits.values())
    }
    audit = Audit(dict(values), real)
    for split, found in splits.items():
        audit.false_alarms.extend((split, name) for name in gates if name not in real or outside(gates[name], found[name], real[name]))
    for control, names in seen_by.items():
        for name in names:
            value = values[control][name]
            # What cannot be measured of a control was not seen in it.
            seen = name in gates and name in real and not isinstance(value, str) and flagged(gates[name], value, real[name])
            if not seen:
                audit.missed.append((control, name))
    return audit
