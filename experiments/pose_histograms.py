"""From where pictures are seen, and from where they were asked for: histograms of azimuth, an arm a row, a seed a column."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.evaluation import Seen
from experiments.experiment import Experiment
from experiments.figures import new_figure, save_figure
from metrics.evidence import Evidence
from metrics.measurable import NotMeasurable
from metrics.pose_distribution import directions, gauge

BINS = 36
REAL, SHOWN, ASKED = '#c9c9c9', '#d1495b', '#1f5fa8'
CAPTION = (
    'Azimuth of cameras, in degrees from the front. Grey: true cameras of real scenes. Red: what the oracle sees in generated pictures. Blue: the cameras '
    'that these were rendered from, after the one turn that brings their law nearest to the true one; a model without labels chooses its own front. Titles: what is '
    'left of the distance of the laws (`law_aligned`, `law_mirrored`), and the turn.'
)


def draw_pose_histograms(path: Path, experiment: Experiment, seen: Mapping[tuple[str, int], Seen], real: Evidence) -> None:
    """Write a .png of all arms that were looked at; `real`: evidence of real scenes. Raises MissingInputError without matplotlib, and
    NotMeasurable where the cameras of the real scenes are not known."""
    truth = real.columns('images', ('asked_azimuth', 'asked_elevation'))
    arms = [arm for arm in experiment.arms if any(key[0] == arm for key in seen)]
    seeds = sorted({seed for _, seed in seen})
    figure = new_figure(max(3.4 * len(seeds), 6.8), 0.5 + 1.35 * len(arms))
    for row, arm in enumerate(arms):
        for column, seed in enumerate(seeds):
            axes = figure.add_subplot(len(arms), len(seeds), row * len(seeds) + column + 1)
            if (arm, seed) not in seen:
                axes.set_axis_off()
                continue
            axes.set_title(f'{arm}, seed {seed}{_draw(axes, seen[arm, seed].last, truth)}', fontsize=8)
            axes.set(xlim=(-180, 180), xticks=range(-180, 181, 90), yticks=[])
            axes.tick_params(labelsize=7, labelbottom=row == len(arms) - 1)
            axes.spines[['top', 'right', 'left']].set_visible(False)
    if figure.axes:
        handles = [figure.axes[0].plot([], [], color=colour, linewidth=width, label=label)[0] for colour, width, label in (
            (REAL, 5, 'real, true cameras'), (SHOWN, 1.2, 'generated, as seen by the oracle'), (ASKED, 1.2, 'generated, cameras used'),
        )]  # fmt: skip
        figure.legend(handles=handles, loc='outside lower center', ncols=3, fontsize=8, frameon=False)
    save_figure(path, figure)


def _draw(axes, found: Evidence, truth: tuple[np.ndarray, ...]) -> str:
    """Three histograms; what cannot be measured is left out. Returns what is to be said of the cameras used."""
    heights, edges = _histogram(truth[0])
    axes.stairs(heights, edges, fill=True, color=REAL)
    told = ''
    try:
        asked = found.columns('images', ('asked_azimuth', 'asked_elevation'))
        nearest, or_mirrored = (gauge(directions(*asked), directions(*truth), mirror=mirror) for mirror in (False, True))
        axes.stairs(*_histogram(asked[0] + nearest.offset_rad), color=ASKED, linewidth=1.2)
        told = f': law {nearest.distance:.2f}, or mirrored {or_mirrored.distance:.2f}; turned by {math.degrees(nearest.offset_rad):.0f}°'
    except NotMeasurable:
        pass
    try:
        axes.stairs(*_histogram(found.columns('images', ('azimuth',))[0]), color=SHOWN, linewidth=1.2)
    except NotMeasurable:
        pass
    return told


def _histogram(azimuth_rad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares in bins of 10 degrees, and their edges in degrees."""
    degrees = np.degrees(azimuth_rad + np.pi) % 360 - 180
    counts, edges = np.histogram(degrees, BINS, (-180, 180))
    return counts / len(degrees), edges
