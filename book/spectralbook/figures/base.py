"""The style, and the two figures that everything else is made of: curves and pictures."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

P = ParamSpec("P")
Curve = tuple[Any, Any]  # x and y, arrays of one length

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#882255", "#56B4E9", "#000000")
STYLE: Any = {
    "figure.figsize": (6.2, 3.9),
    "figure.dpi": 150,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.labelsize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=COLOURS),
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.8,
    "lines.linewidth": 2.0,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.frameon": False,
}
FREQUENCY = "frequency (cycles per pixel)"


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw a figure in the book's style without touching global settings.

    The figure is closed for pyplot: a notebook shows it once, as the value of its cell.
    """

    @functools.wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with plt.rc_context(STYLE):
            figure = draw(*args, **kwargs)
            figure.canvas.draw()  # lays the figure out while the style is in force
        plt.close(figure)
        return figure

    return wrapped


@styled
def curves(
    lines: Mapping[str, Curve],
    *,
    xlabel: str,
    ylabel: str,
    log: str = "",
    dashed: Mapping[str, Curve] | None = None,
    references: Mapping[str, Curve] | None = None,
    verticals: Mapping[str, float] | None = None,
) -> Figure:
    """Named curves on one pair of axes, each labelled at its right end.

    Args:
        lines: name -> (x, y).
        xlabel, ylabel: quantities with their units.
        log: the logarithmic axes, a subset of ``"xy"``.
        dashed: named references, drawn dashed in gray.
        references: more of these, without a label.
        verticals: name -> x of a marked position.
    """
    figure, ax = plt.subplots()
    for name, (x, y) in lines.items():
        ax.plot(array(x), array(y), label=name)
    for x, y in [*(dashed or {}).values(), *(references or {}).values()]:
        ax.plot(array(x), array(y), color="#666666", linestyle="--", linewidth=1.4)
    scale_axes(ax, log)
    label_ends(ax, [*lines, *(dashed or {})])
    for name, x in (verticals or {}).items():
        mark(ax, name, x)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return figure


@styled
def pictures(
    images: Sequence[Any],
    titles: Sequence[str],
    *,
    columns: int | None = None,
    limits: tuple[float, float] | None = (-1.0, 1.0),
) -> Figure:
    """Images side by side, gray ``(H, W)``, ``(1, H, W)`` or colour ``(3, H, W)``.

    Args:
        images: real arrays or tensors.
        titles: one line each.
        columns: pictures in a row; all of them unless given.
        limits: values shown black and white; None stretches each picture to its own range.

    Raises:
        ValueError: no images, or not one title for each.
    """
    if not len(images) or len(titles) != len(images):
        raise ValueError(
            f"{len(images)} images and {len(titles)} titles: give at least one, and a title for each"
        )
    columns = columns or len(images)
    rows = -(-len(images) // columns)
    size = (6.2, 6.2 / columns * rows + 0.35 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, image, title in zip(axes.flat, images, titles, strict=False):
        show(ax, image, limits)
        ax.set_title(title, fontsize=11)
    return figure


def show(ax: Axes, image: Any, limits: tuple[float, float] | None = (-1.0, 1.0)) -> None:
    """One image on given axes, pixels unsmoothed."""
    values = array(image)
    values = values[0] if values.ndim == 3 and len(values) == 1 else values
    low, high = limits or (values.min(), values.max())
    if values.ndim == 3:
        values = np.clip((np.moveaxis(values, 0, -1) - low) / (high - low), 0, 1)
    ax.imshow(values, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    ax.set_axis_off()


def scale_axes(ax: Axes, log: str) -> None:
    """Make the axes named in ``log`` logarithmic; call it after plotting.

    Along x, and along y over less than two decades, ticks are plain numbers.
    """
    for name, axis, limits in (("x", ax.xaxis, ax.dataLim.intervalx), ("y", ax.yaxis, ax.dataLim.intervaly)):
        if name not in log:
            continue
        ax.set(**{f"{name}scale": "log"})
        few = limits[1] < 100 * limits[0]
        if few or name == "x":
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())


def mark(ax: Axes, name: str, x: float) -> None:
    """A thin vertical line with its name at the top."""
    ax.axvline(x, color="#888888", linewidth=1.2, linestyle=":")
    ax.annotate(
        name,
        (x, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=10,
        color="#555555",
    )


def label_ends(ax: Axes, names: Sequence[str], *, gap: float = 0.075) -> None:
    """Write each line's name beside its right end, moved apart where two would touch.

    Args:
        ax: axes with one line per name, in order.
        names: the labels.
        gap: least distance of two labels, as a fraction of the height of the axes.
    """
    ax.figure.canvas.draw()
    to_axes = ax.transAxes.inverted()
    lines = ax.get_lines()[: len(names)]
    ends = [_end(np.asarray(line.get_xydata(), dtype=float)) for line in lines]
    heights = np.array([to_axes.transform(ax.transData.transform(end))[1] for end in ends])
    for line, name, height in zip(lines, names, spread(heights, gap), strict=True):
        ax.annotate(
            name,
            (1.02, height),
            xycoords="axes fraction",
            color=line.get_color(),
            va="center",
            fontsize=11,
            annotation_clip=False,
        )


def spread(heights: NDArray[np.float64], gap: float) -> NDArray[np.float64]:
    """Move positions apart to at least ``gap``, as little as sorting them upward allows.

    >>> spread(np.array([0.5, 0.5]), 0.1).round(2).tolist()
    [0.45, 0.55]
    """
    order = np.argsort(heights, kind="stable")
    steps = gap * np.arange(len(heights))
    result = np.empty_like(heights)
    result[order] = isotonic_regression(heights[order] - steps).x + steps
    return result


def _end(points: NDArray[np.float64]) -> NDArray[np.float64]:
    last: NDArray[np.float64] = points[np.isfinite(points).all(axis=1)][-1]
    return last


def array(values: Any) -> NDArray[np.float64]:
    """NumPy view of an array or a tensor."""
    plain = values.detach().cpu() if hasattr(values, "detach") else values
    result: NDArray[np.float64] = np.asarray(plain, dtype=np.float64)
    return result
