"""Figures by matplotlib, which only drawing needs."""

from pathlib import Path
from typing import Any

from dnnlib.atomic import atomic_write
from dnnlib.errors import MissingInputError


def new_figure(width: float, height: float) -> Any:
    """An empty figure of this size in inches, for `add_subplot`. Raises MissingInputError where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingInputError(
            "curves and histograms are drawn by matplotlib, which is not installed here. Install this project's extra: pip install '.[docs]'."
        ) from error
    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def save_figure(path: Path, figure: Any) -> None:
    """Write a .png, the same bytes for the same figure."""
    with atomic_write(path) as file:
        figure.savefig(file, format='png', dpi=110, metadata={'Software': None})
