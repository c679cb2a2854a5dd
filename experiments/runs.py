"""The runs of an experiment: one folder per arm and seed, what it should hold, and how far it is."""

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dnnlib import config as configs
from dnnlib.errors import DataError, UnposedError
from dnnlib.units import format_names
from experiments.experiment import Experiment
from torch_utils import checkpoint
from training.build import fit_to_data
from training.config import OPTIONS_FILE, TrainingConfig, read_options
from training.data.archive import open_dataset
from training.presets import find_preset

LEDGER_FILE = 'cpu.jsonl'
DIFFERENCES_NAMED = 5
PROCESSOR_TIME = 'processor time'


@dataclass(frozen=True)
class Run:
    """One arm with one seed. `outdir` holds one folder per experiment, that one per run, and that the numbered folders of train.py."""

    experiment: Experiment
    arm: str
    seed: int
    outdir: Path

    @property
    def name(self) -> str:
        """Such as 'A-seed0'."""
        return f'{self.arm}-seed{self.seed}'

    @property
    def home(self) -> Path:
        """Where train.py makes its run folder."""
        return self.outdir / self.experiment.name / self.name

    @property
    def settings(self) -> tuple[str, ...]:
        """What `--set` gets: the experiment's settings, then the arm's; the last one wins."""
        return (*self.experiment.settings, *self.experiment.arms[self.arm].settings)

    @property
    def preset(self) -> str:
        """The arm's, or the experiment's."""
        return self.experiment.arms[self.arm].preset or self.experiment.preset

    def folder(self) -> Path | None:
        """The newest numbered folder with options in it, or None when training has not begun. An older one was given up by somebody."""
        found = [path.parent for path in self.home.glob(f'[0-9]*-*/{OPTIONS_FILE}')]
        return max(found, key=lambda folder: int(folder.name.partition('-')[0]), default=None)

    def arguments(self) -> list[str]:
        """Arguments of train.py: a new run, or the continuation of the one that was begun and has saved something."""
        folder = self.folder()
        if folder is not None and list(folder.glob('training-state-*.json')):
            return ['--resume', str(folder), '--gpus', '1']
        settings = [argument for setting in self.settings for argument in ('--set', setting)]
        return [
            *('--cfg', self.preset, '--data', self.experiment.data, '--kimg', f'{self.experiment.kimg:g}', '--seed', str(self.seed)),
            *('--gpus', '1', '--metrics', 'none', *settings, '--outdir', str(self.home)),
        ]

    def check(self) -> None:
        """Raises DataError, naming what differs, when the folder that is there was trained in another way than this run is."""
        folder = self.folder()
        if folder is None:
            return
        path = folder / OPTIONS_FILE
        try:
            found = read_options(folder)
        except DataError as error:
            raise DataError(f'{error} Move {self.home} away to train it again.') from error
        wanted, held = configs.flatten(expected_config(self)), configs.flatten(found)
        wanted |= dict.fromkeys(held.keys() - wanted.keys(), 'not there')
        held |= dict.fromkeys(wanted.keys() - held.keys(), 'not there')
        differences = [f'{name} is {held[name]}, not {wanted[name]}' for name in sorted(wanted) if held[name] != wanted[name]]
        if differences:
            raise DataError(
                f'{path} is not what arm {self.arm} of {self.experiment.name} with seed {self.seed} asks for: '
                f'{format_names(differences, DIFFERENCES_NAMED, "; ")}. Move {self.home} away, or choose another --outdir.'
            )

    def snapshots(self) -> dict[float, Path]:
        """{kimg as the file says: weights file}, in that order. Raises DataError for a damaged one."""
        folder = self.folder()
        paths = [] if folder is None else sorted(folder.glob('network-snapshot-*.safetensors'))
        return dict(sorted((_kimg_of(path, path.stat().st_mtime_ns), path) for path in paths))

    def finished(self) -> bool:
        """Whether the weights at the end of training are there."""
        return max(self.snapshots(), default=-1.0) * 1000 >= self.experiment.kimg * 1000 - 1e-6

    def trained_kimg(self) -> float:
        """Thousands of images seen so far, as the last complete line of stats.jsonl says; 0 before the first."""
        line = _last_line(self.folder())
        return 0.0 if line is None else float(line['Progress/kimg']['mean'])

    def cpu_seconds(self) -> tuple[float, str]:
        """(seconds, what they are): processor time of all processes that trained this run, as the runner saw them end; where it did not see
        all of them, the wall clock that training itself kept. (NaN, 'unknown') when there is neither."""
        folder = self.folder()
        ledger = None if folder is None else folder / LEDGER_FILE
        if ledger is not None and ledger.is_file():
            parts = [json.loads(line) for line in ledger.read_text(encoding='utf-8').splitlines()]
            if _covers(parts, self.experiment.kimg):
                return sum(part['cpu_seconds'] for part in parts), PROCESSOR_TIME
        line = _last_line(folder)
        return (math.nan, 'unknown') if line is None else (float(line['Timing/total_sec']['mean']), 'wall clock of training')


def expected_config(run: Run) -> TrainingConfig:
    """The resolved configuration that train.py writes for the arguments of a new run. Raises what train.py would raise."""
    experiment = run.experiment
    flags = [f'data.path={experiment.data}', f'loop.kimg={experiment.kimg:g}', f'loop.seed={run.seed}', 'metrics.names=']
    config = configs.override(find_preset(run.preset), [*flags, *run.settings])
    return fit_to_data(config, open_dataset(config.data.path))


def saved_kimg(folder: Path | None) -> float:
    """Thousands of images at the newest complete training state; 0 when there is none."""
    manifests = [] if folder is None else list(folder.glob('training-state-*.json'))
    return max((int(path.stem.rpartition('-')[2]) / 1000 for path in manifests), default=0.0)


@cache
def _kimg_of(path: Path, written_ns: int) -> float:
    """`written_ns` is part of the question, so that a file that was written anew is read anew."""
    extra = checkpoint.load_weights(path)[1]['extra']
    if not isinstance(extra, dict) or type(extra.get('kimg')) not in (int, float):
        raise DataError(f'{path} does not say after how many images it was written.')
    return float(extra['kimg'])


def _last_line(folder: Path | None) -> dict | None:
    path = None if folder is None else folder / 'stats.jsonl'
    if path is None or not path.is_file():
        return None
    with path.open('rb') as file:
        file.seek(max(0, path.stat().st_size - 65536))
        lines = file.read().split(b'\n')[:-1]  # what follows the last newline is still being written
    return json.loads(lines[-1]) if lines else None


def _covers(parts: list[dict], kimg: float) -> bool:
    """Whether the sessions leave no gap between 0 and the end; a runner that was killed did not see how its sessions ended."""
    reached = 0.0
    for part in parts:
        if part['from_kimg'] > reached + 1e-9:
            return False
        reached = max(reached, part['to_kimg'])
    return reached >= kimg - 1e-9


def state_of(run: Run) -> str:
    """'finished', 'begun' or 'not run', or the sentence that says why the folder cannot be used."""
    try:
        run.check()
        if run.finished():
            return 'finished'
    except UnposedError as error:
        return str(error)
    return 'not run' if run.folder() is None else 'begun'
