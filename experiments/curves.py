"""Statistics over the length of training: a panel each, a colour per arm, a thin line per seed, bars as dashed lines."""

import math
from collections.abc import Mapping
from pathlib import Path

from experiments.experiment import Experiment
from experiments.figures import new_figure, save_figure
from metrics.suite import STATISTICS

COLOURS = (
    '#1f5fa8', '#d1495b', '#2e8b57', '#8a5fbf', '#c77f1b', '#555555', '#17a2b8', '#e377c2', '#9acd32', '#8c564b', '#000080', '#ff7f50', '#bcbd22',
)
COLUMNS = 3


def draw_curves(
    path: Path,
    experiment: Experiment,
    values: Mapping[tuple[str, int], Mapping[float, Mapping[str, float | str]]],
    real: Mapping[str, float | str],
) -> None:
    """Write a .png. values {(arm, seed): {kimg: {statistic: number or why not}}}; what could not be measured leaves a gap; `real` is dotted.

    Raises MissingInputError where matplotlib is not installed.
    """
    rows = math.ceil(len(experiment.curves) / COLUMNS)
    figure = new_figure(3.6 * COLUMNS, 2.6 * rows)
    colours = {arm: COLOURS[i % len(COLOURS)] for i, arm in enumerate(experiment.arms)}
    for place, name in enumerate(experiment.curves):
        axes = figure.add_subplot(rows, COLUMNS, place + 1)
        axes.set_title(f'{name}\n{STATISTICS[name].caption}', fontsize=8)
        for (arm, _), over in sorted(values.items()):
            points = [(kimg, _number(found[name])) for kimg, found in sorted(over.items())]
            axes.plot(*zip(*points, strict=True), color=colours[arm], linewidth=0.9, marker='.', markersize=3)
        for bar in experiment.bars:
            if bar.statistic == name and bar.relation == 'value':
                for bound in (bar.low, bar.high):
                    if bound is not None:
                        axes.axhline(bound, color=colours[bar.arm], linestyle='--', linewidth=0.7)
        axes.axhline(_number(real[name]), color='black', linestyle=':', linewidth=0.7)
        axes.set_xlabel('kimg', fontsize=7)
        axes.tick_params(labelsize=7)
        axes.spines[['top', 'right']].set_visible(False)
    shown = sorted({arm for arm, _ in values})
    if shown:
        handles = [figure.axes[0].plot([], [], color=colours[arm], label=arm)[0] for arm in shown]
        figure.legend(handles=handles, loc='outside lower center', ncols=len(handles), fontsize=8, frameon=False)
    save_figure(path, figure)


def _number(value: float | str) -> float:
    return math.nan if isinstance(value, str) else value
