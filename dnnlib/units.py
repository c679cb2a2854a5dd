"""Numbers and lists as people read and write them: durations, sizes, names, seeds."""

import math
import re
from collections.abc import Sequence

from dnnlib.errors import UsageError

_MAX_SEEDS = 10_000_000


def format_seconds(seconds: float) -> str:
    """Return a duration with two units: '45s', '12m 05s', '3h 07m', '2d 04h'; '?' for one that is not finite."""
    if not math.isfinite(seconds):
        return '?'
    sign, whole = ('-' if seconds <= -0.5 else ''), round(abs(seconds))
    if whole < 60:
        return f'{sign}{whole}s'
    if whole < 60 * 60:
        return f'{sign}{whole // 60}m {whole % 60:02d}s'
    minutes = whole // 60
    if minutes < 24 * 60:
        return f'{sign}{minutes // 60}h {minutes % 60:02d}m'
    return f'{sign}{minutes // (24 * 60)}d {minutes // 60 % 24:02d}h'


def format_bytes(count: float) -> str:
    """Return a size in powers of 1024: '512 B', '1.5 KiB', '12.0 GiB'."""
    for unit in ('B', 'KiB', 'MiB', 'GiB', 'TiB'):
        if abs(count) < 1024 or unit == 'TiB':
            return f'{count:.0f} B' if unit == 'B' else f'{count:.1f} {unit}'
        count /= 1024
    raise AssertionError('the loop returns')


def format_names(names: Sequence[str], most: int, separator: str = ', ') -> str:
    """Return the first `most` of the names and how many are left out: 'a, b and 7 more'."""
    shown = separator.join(names[:most])
    return f'{shown} and {len(names) - most} more' if len(names) > most else shown


def parse_seeds(text: str) -> list[int]:
    """Read '0-3,7' as [0, 1, 2, 3, 7]; order and repetitions are kept. Raises UsageError for anything else."""
    seeds: list[int] = []
    for part in text.split(','):
        match = re.fullmatch(r'\s*([0-9]{1,18})\s*(?:-\s*([0-9]{1,18})\s*)?', part)
        if match is None:
            raise UsageError(f"Cannot read the seeds '{text}': '{part.strip()}' is neither a number nor a range. Write for example 0-3,7.")
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        if last < first:
            raise UsageError(f"Cannot read the seeds '{text}': the range {part.strip()} runs backwards. Write {last}-{first}.")
        if len(seeds) + last - first >= _MAX_SEEDS:
            raise UsageError(f"The seeds '{text}' are more than {_MAX_SEEDS}. Ask for fewer at a time.")
        seeds.extend(range(first, last + 1))
    return seeds
