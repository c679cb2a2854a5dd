"""What a metric said, for people and as lines of strict JSON in metric-<name>.jsonl."""

import json
import math
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

Values = dict[str, float]
Fact = str | int | float | None


@dataclass(frozen=True, slots=True)
class Result:
    """values by name; floor: the same for real against real, at floor_num images a side (empty: it cannot be had); seconds: all that it took."""

    metric: str
    values: Values
    range: str
    better: str
    num: int
    num_real: int
    extractor: str | None
    extractor_sha256: str | None
    floor: Values
    floor_num: int
    seconds: float
    unmeasured: dict[str, str] = field(default_factory=dict)  # what cannot be measured on these data, and why
    oracle_sha256: str | None = None  # of the oracle that read the pictures, if one did

    def __str__(self) -> str:
        """One line: each value beside its floor, then what it was made from."""
        told = []
        for name, value in self.values.items():
            floor = f' (floor {self.floor[name]:.4g})' if name in self.floor else ''
            told.append(f'{name} {value:.4g}{floor}')
        for why in dict.fromkeys(self.unmeasured.values()):
            told.append(f'{", ".join(name for name, reason in self.unmeasured.items() if reason == why)} {why}')
        features = f', {self.extractor} features {self.extractor_sha256[:8]}' if self.extractor else ''
        better = f', {self.better} is better' if self.better in ('lower', 'higher') else ''
        return f'{", ".join(told)}   [{self.num} images{features}{better}, {self.seconds:.1f} s]'

    def to_json(self) -> dict:
        """Plain values, ready for strict JSON: what is not finite is None.

        The keys `results`, `metric` and `total_time` are those that scripts for StyleGAN's metric files read.
        """
        fields = asdict(self)
        values, floor = fields.pop('values'), fields.pop('floor')
        return {'results': _finite(values), **fields, 'floor': _finite(floor), 'total_time': self.seconds}


def append_results(folder: Path, results: Iterable[Result], **facts: Fact) -> None:
    """Adds one line per result to folder/metric-<name>.jsonl. `facts` become keys of the line: snapshot, data, seed, whatever was measured."""
    folder.mkdir(parents=True, exist_ok=True)
    for result in results:
        line = {**result.to_json(), 'timestamp': round(time.time(), 3), **facts}
        with (folder / f'metric-{result.metric}.jsonl').open('a', encoding='utf-8') as file:
            file.write(json.dumps(line, allow_nan=False) + '\n')
            file.flush()
            os.fsync(file.fileno())


def _finite(values: Values) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
