"""Figures of experiments with several factors: what each changes, with its interval."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from spectralbook.figures.base import COLOURS, styled


@styled
def intervals(
    panels: Mapping[str, Mapping[str, tuple[float, float, float]]],
    *,
    xlabel: str,
    limits: tuple[float, float] | None = None,
    columns: int = 2,
) -> Figure:
    """Differences with their intervals, a row each, about a line at zero; one panel for each data set.

    An interval that leaves zero out is drawn in colour. One that reaches beyond the limits ends there in an
    arrow.

    Args:
        panels: title -> name -> (value, low, high), the same names in all.
        xlabel: quantity and unit.
        limits: of the axis.
        columns: panels in a row.
    """
    names = list(next(iter(panels.values())))
    rows = -(-len(panels) // columns)
    height = (0.3 * len(names) + 0.75) * rows + 0.4
    figure, axes = plt.subplots(rows, columns, figsize=(6.2, height), sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    for ax, (title, found) in zip(axes.flat, panels.items(), strict=False):
        ax.axvline(0, color="#333333", linewidth=1)
        for row, (value, low, high) in enumerate(found.values()):
            colour = COLOURS[1] if low * high > 0 else "#777777"
            ax.plot((low, high), (row, row), color=colour, linewidth=2)
            ax.plot(value, row, "o", color=colour, markersize=6)
            for end, marker in ((0, "<"), (1, ">")):
                if limits and (low < limits[0] if end == 0 else high > limits[1]):
                    ax.plot(limits[end], row, marker, color=colour, markersize=7, clip_on=False)
        ax.set_title(title, fontsize=11)
        ax.set_yticks(range(len(names)), labels=names)
        ax.set_ylim(len(names) - 0.5, -0.5)
        if limits:
            ax.set_xlim(*limits)
    figure.supxlabel(xlabel, fontsize=12)
    return figure
