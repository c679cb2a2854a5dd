"""The bars as they stood before the first run: written down once, and compared with those that a report is judged by."""

import datetime
import json
from collections.abc import Sequence
from pathlib import Path

from dnnlib.atomic import atomic_write
from dnnlib.errors import DataError
from experiments.experiment import Bar, Experiment

FILE = 'bars.json'


def bar_text(bar: Bar) -> str:
    """Such as 'slope in [0.85, 1.25]', 'slope >= 0.5 in every seed' or 'slope, A - B >= 0.3'."""
    what = {'value': bar.statistic, 'difference': f'{bar.statistic}, {bar.arm} - {bar.against}', 'ratio': f'{bar.statistic}, {bar.arm} / {bar.against}'}
    if bar.low is None:
        bound = f'<= {bar.high:g}'
    elif bar.high is None:
        bound = f'>= {bar.low:g}'
    else:
        bound = f'in [{bar.low:g}, {bar.high:g}]'
    return f'{what[bar.relation]} {bound}{" in every seed" if bar.every_seed else ""}'


def register(experiment: Experiment, folder: Path) -> None:
    """Write the bars into the experiment's folder, unless they are there, or a run is: then nobody can say any more that they came first."""
    if (folder / FILE).exists() or list(folder.glob('*-seed*/[0-9]*-*')):
        return
    with atomic_write(folder / FILE, 'w') as file:
        json.dump({'date': datetime.date.today().isoformat(), 'bars': _texts(experiment)}, file, indent=1)


def told(experiment: Experiment, folder: Path, elsewhere: Sequence[str] = ()) -> str:
    """What may be said about when the bars were set, in sentences. Raises DataError for a damaged file.

    elsewhere: runs that this program did not train, or not in all their sessions; it cannot know when they began.
    """
    path = folder / FILE
    if not path.is_file():
        return (
            'Nothing here shows that the bars were set before the runs, which were not begun by this program: the history of experiments/catalogue.py '
            'says when they were.'
        )
    try:
        written = json.loads(path.read_text(encoding='utf-8'))
        date, before = str(written['date']), [str(text) for text in written['bars']]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f'{path} is damaged: {error}. Without it nobody knows whether the bars came first; delete it to report without.') from error
    now = _texts(experiment)
    if before == now:
        but = f' Nothing shows that they came before {", ".join(elsewhere)}, which other programs began.' if elsewhere else ''
        return f'The bars were written down on {date}, before the first run that this program began, and are the same today.{but}'
    gone, new = [text for text in before if text not in now], [text for text in now if text not in before]
    return (
        f'**The bars were changed after they had been written down** on {date}, before the first run. Only then: {"; ".join(gone) or "none"}. '
        f'Only now: {"; ".join(new) or "none"}.'
    )


def _texts(experiment: Experiment) -> list[str]:
    return [f'{bar.arm}: {bar_text(bar)}' for bar in experiment.bars]
