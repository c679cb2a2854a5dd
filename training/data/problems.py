"""What is wrong with the files of a data set: found everywhere, listed together, never one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from dnnlib.errors import DataError


class Trouble(Enum):
    """Kinds of trouble; the policy of dataset_tool.py is decided per kind."""

    UNUSABLE = 'no usable image'
    LAYOUT = 'pixel layout'
    GEOMETRY = 'geometry'
    LABEL = 'label'
    EXTRA_LABEL = 'labels without an image'
    CAMERA = 'camera'
    ARCHIVE = 'archive'


@dataclass(frozen=True, slots=True)
class Problem:
    """`where`: the file, and the line if it has lines; `reason`: one clause, without a full stop."""

    where: str
    trouble: Trouble
    reason: str


def listed(problems: Sequence[Problem]) -> str:
    """All problems, one per line."""
    return '\n'.join(f'  {p.where}: {p.reason}' for p in problems)


def refuse(source: str, problems: Sequence[Problem], advice: str) -> None:
    """Raise DataError with every problem if there is any."""
    if problems:
        files = len({p.where for p in problems})
        count = f'{len(problems)} problem{"s" * (len(problems) > 1)} in {files} place{"s" * (files > 1)}'
        raise DataError(f'{source} cannot be used: {count}.\n{listed(problems)}\n{advice}')
