"""Training side by side: one process of train.py per run, several at a time, stopped gracefully and continued by the same command."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Self

from tqdm import tqdm

from dnnlib.errors import MissingInputError
from experiments.runs import LEDGER_FILE, Run, saved_kimg

PROGRAM = Path(__file__).resolve().parents[1] / 'train.py'
CONSOLE_FILE = 'console.txt'
POLL_S = 0.2
QUIET_S = 60.0  # between two lines of progress where nobody watches a bar
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Outcome:
    """failed: {run: why}; stop_code: 0, or the exit code of a program that the user stopped; the runs in `stopped` are saved and not finished."""

    failed: dict[str, str] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    stop_code: int = 0


def train(runs: Sequence[Run], jobs: int) -> Outcome:
    """Train what is not finished, `jobs` at a time, in the order given. A run that fails does not stop the others.

    Ctrl-C, SIGTERM and SIGHUP are passed on to the processes once, which save and end; a second signal is passed on too, and they end at once.
    Every process has one thread: several on a busy machine wait for each other (docs/benchmarks.md).
    """
    if not PROGRAM.is_file():
        raise MissingInputError(f'{PROGRAM} is not there: experiments train with the train.py of a checkout of the project. Run them from one.')
    outcome = Outcome()
    waiting: deque[Run] = deque()
    for run in runs:
        with _noted(run, outcome):
            run.check()
            if not run.finished():
                waiting.append(run)
    if waiting:
        _work_off(waiting, jobs, outcome)
    return outcome


def _work_off(waiting: deque[Run], jobs: int, outcome: Outcome) -> None:
    running: list[_Job] = []
    with _Stop(running) as stop, _Progress(list(waiting)) as progress:
        while running or (waiting and not stop.requested):
            while waiting and len(running) < jobs and not stop.requested:
                run = waiting.popleft()
                with _noted(run, outcome):
                    running.append(_Job.start(run))
                    progress.say(f'{run.name}: {"continued at" if running[-1].from_kimg else "training from"} {running[-1].from_kimg:g} kimg')
            if stop.requested:
                stop.pass_on()
            for job in list(running):
                if job.ended():
                    running.remove(job)
                    with _noted(job.run, outcome):
                        _conclude(job, stop.requested, outcome, progress)
            progress.update([job.run for job in running])
            time.sleep(POLL_S)
        outcome.stop_code = stop.exit_code
        outcome.stopped += [run.name for run in waiting if stop.requested]


def _conclude(job: '_Job', stopping: bool, outcome: Outcome, progress: '_Progress') -> None:
    job.write_ledger()
    if job.process.returncode == 0 and job.run.finished():
        progress.say(f'{job.run.name}: finished, {job.cpu_seconds:.0f} CPU-seconds in this session')
    elif stopping:
        outcome.stopped.append(job.run.name)
        progress.say(f'{job.run.name}: stopped, saved at {saved_kimg(job.run.folder()):g} kimg')
    else:
        outcome.failed[job.run.name] = f'train.py ended with exit code {job.process.returncode}: {_last_words(job.run.home / CONSOLE_FILE)}'
        progress.say(f'{job.run.name}: FAILED, {outcome.failed[job.run.name]}')


@contextlib.contextmanager
def _noted(run: Run, outcome: Outcome) -> Iterator[None]:
    """Whatever is wrong with one run is that run's failure."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  the other runs go on, and this one is reported at the end
        outcome.failed[run.name] = str(error) or type(error).__name__


@dataclass
class _Job:
    """A process that trains a run."""

    run: Run
    process: subprocess.Popen
    console: IO[bytes]
    from_kimg: float
    started: float
    cpu_seconds: float = 0.0
    signals: int = 0

    @classmethod
    def start(cls, run: Run) -> '_Job':
        run.home.mkdir(parents=True, exist_ok=True)
        arguments = run.arguments()
        from_kimg = saved_kimg(run.folder()) if arguments[0] == '--resume' else 0.0
        console = (run.home / CONSOLE_FILE).open('ab')
        # A session of its own: the terminal's Ctrl-C would reach it beside ours, and a second signal means "at once".
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *arguments],
            env=os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONUNBUFFERED': '1'},
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return cls(run, process, console, from_kimg, time.monotonic())

    def ended(self) -> bool:
        """Whether the process has ended; then its exit code and the processor time of it and its children are known."""
        number, status, usage = os.wait4(self.process.pid, os.WNOHANG)
        if number == 0:
            return False
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.cpu_seconds = usage.ru_utime + usage.ru_stime
        self.console.close()
        return True

    def write_ledger(self) -> None:
        """One line per session: from where to where it trained and what that cost."""
        folder = self.run.folder()
        if folder is None:
            return
        entry = {
            'from_kimg': self.from_kimg,
            'to_kimg': saved_kimg(folder),
            'cpu_seconds': round(self.cpu_seconds, 2),
            'wall_seconds': round(time.monotonic() - self.started, 2),
        }
        with (folder / LEDGER_FILE).open('a', encoding='utf-8') as file:
            file.write(json.dumps(entry) + '\n')

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(self.process.pid, number)
        self.signals += 1


class _Stop:
    """Context manager: counts requests to stop and passes each of them on to every process exactly once."""

    def __init__(self, running: list[_Job]) -> None:
        self.requests = 0
        self.exit_code = 0
        self._running = running
        self._before: dict[signal.Signals, object] = {}

    @property
    def requested(self) -> bool:
        return self.requests > 0

    def __enter__(self) -> Self:
        for number in STOPPING:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        for job in self._running:  # only after a bug of ours: nobody would be left to stop them
            job.send(signal.SIGTERM)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requests += 1
        self.exit_code = 130 if number == signal.SIGINT else 143

    def pass_on(self) -> None:
        """A process that was started while the signal came gets it too."""
        for job in self._running:
            while job.signals < min(self.requests, 2):
                job.send(signal.SIGINT)


class _Progress:
    """One bar over all kimg with the place of each running job; lines once a minute where nobody watches."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = runs
        self._watched = sys.stderr.isatty()
        self._last_line = time.monotonic()
        self._bar = tqdm(
            total=sum(run.experiment.kimg for run in runs),
            disable=not self._watched,
            bar_format='{desc}{bar}| {n:.1f}/{total:g} kimg [{elapsed}<{remaining}]',
        )

    def __enter__(self) -> Self:
        self._bar.n = self._bar.initial = self._done()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def say(self, line: str) -> None:
        """A line above the bar."""
        tqdm.write(line, file=sys.stderr)

    def update(self, running: Sequence[Run]) -> None:
        """Show where everything is."""
        done, total = self._done(), self._bar.total or sum(run.experiment.kimg for run in self._runs)
        places = ', '.join(f'{run.name} {run.trained_kimg():g}' for run in running)
        if self._watched:
            self._bar.n = done
            self._bar.set_description_str(f'{places} ', refresh=True)
        elif running and time.monotonic() - self._last_line >= QUIET_S:
            self._last_line = time.monotonic()
            self.say(f'{done:.1f} of {total:g} kimg ({places})')

    def _done(self) -> float:
        return sum(min(run.trained_kimg(), run.experiment.kimg) for run in self._runs)


def _last_words(console: Path) -> str:
    """The error that a program ended with: its last line that says so, else its last line."""
    lines = [line.strip() for line in console.read_text(encoding='utf-8', errors='replace').splitlines() if line.strip()]
    said = [line for line in lines[-20:] if line.startswith('error:')]
    return (said or lines or ['it said nothing'])[-1] + f' ({console})'
