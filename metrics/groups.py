"""Groups of statistics that one asks for by one name: what `calc_metrics.py --metrics response,consistency` computes from a subject."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metrics.evidence import Counts, Readers, gather_evidence
from metrics.real_subjects import Reals
from metrics.results import Result
from metrics.subject import Subject
from metrics.suite import STATISTICS, Reference, measure_all

DEFAULT_NUM = 500


@dataclass(frozen=True, slots=True)
class Group:
    """Statistics of one table of the evidence, and their common caption."""

    caption: str
    table: str
    statistics: tuple[str, ...]

    def counts(self, num: int) -> Counts:
        """What must be looked at."""
        wanted = dict.fromkeys(('images', 'shapes', 'pairs', 'novel'), 0) | {self.table: num}
        if self.table == 'shapes':
            wanted['images'] = num
        return Counts(**wanted)


GROUPS: Mapping[str, Group] = {
    'variety': Group('repeats, memorising and diversity', 'images', ('vendi', 'duplicates', 'diversity', 'memorising')),
    'classes': Group('class and colour mode', 'images', ('class_accuracy', 'class_kl', 'classes_present', 'mode_kl')),
    'poses': Group(
        'from where the pictures are seen',
        'images',
        (
            'sw_raw', 'sw_aligned', 'sw_mirrored', 'pose_spread', 'spread_ratio', 'pose_js', 'pose_error', 'pose_flips', 'alignment',
            'alignment_reversed',
        ),
    ),
    'law': Group('from where the pictures are rendered', 'images', ('law_aligned', 'law_mirrored')),
    'response': Group('whether a picture turns as its camera does', 'pairs', ('slope', 'slope_trimmed')),
    'consistency': Group(
        'whether two views show one thing', 'pairs', ('reprojection', 'reprojection_coverage', 'view_cosine', 'view_class', 'view_mode')
    ),
    'thickness': Group('relief without an oracle', 'shapes', ('thickness', 'thickness_relative', 'depth_std', 'object_share', 'nfs_frame', 'nfs_object')),
    'depth': Group(
        "depth beside the oracle's",
        'shapes',
        ('depth_r', 'depth_residual', 'depth_scale', 'depth_std_ratio', 'normals', 'hollow', 'hollow_agreement'),
    ),
    'novel': Group('pictures from turned cameras', 'novel', ('fd_turned_0', 'fd_turned_20', 'fd_turned_40')),
}


def compute_groups(
    names: Sequence[str], subject: Subject, reals: Reals, *, num: int | None = None, quiet: bool = True
) -> list[Result]:
    """One result per group, in the order of the names; a statistic that cannot be measured is in `Result.unmeasured` with the reason.

    num: rows per table (None: 500); memorising looks at all images that were learned from.
    """
    groups = {name: GROUPS[name] for name in names}
    counts = _most([group.counts(num or DEFAULT_NUM) for group in groups.values()])
    started = time.perf_counter()
    readers = reals.readers
    remembered: list[np.ndarray | None] = [None, None]
    if reals.training is not None and reals.unseen is not None and any('memorising' in group.statistics for group in groups.values()):
        photo_alone, all_of_them = Readers(readers.photo), Counts(reals.remembered, 0, 0, 0)
        remembered = [gather_evidence(part, photo_alone, all_of_them, quiet=quiet).images['photo'] for part in (reals.training, reals.unseen)]
    seen, real, other = (
        gather_evidence(part, readers, counts, reals.class_ids, quiet=quiet) for part in (subject, reals.held_out, reals.other)
    )
    reference = Reference(real, *remembered)
    results = []
    for name, group in groups.items():
        values = measure_all(seen, reference, group.statistics)
        real_values = measure_all(other, reference, group.statistics)
        results.append(
            Result(
                metric=name,
                values={key: value for key, value in values.items() if isinstance(value, float)},
                range='docs/metrics.md',
                better=', '.join(f'{key} {STATISTICS[key].better}' for key in group.statistics),
                num=getattr(counts, group.table),
                num_real=getattr(counts, group.table),
                extractor=readers.photo.name,
                extractor_sha256=readers.photo.sha256,
                floor={key: value for key, value in real_values.items() if isinstance(value, float)},
                floor_num=getattr(counts, group.table),
                seconds=round(time.perf_counter() - started, 3),
                unmeasured={key: value for key, value in values.items() if isinstance(value, str)},
                oracle_sha256=None if readers.oracle is None else readers.oracle.sha256,
            )
        )
    return results


def _most(counts: Sequence[Counts]) -> Counts:
    return Counts(*(max(getattr(part, table) for part in counts) for table in ('images', 'shapes', 'pairs', 'novel')))
