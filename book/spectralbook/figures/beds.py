"""Figures of generators and discriminators, trained alone or together: which frequencies they miss or add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectralbook.figures.base import COLOURS, FREQUENCY, array, spread, styled

Case = tuple[Any, Any]  # errors (S, B) and peaks (S,) or None, dB, of S seeds


@styled
def missing_and_added(
    panels: Mapping[str, Mapping[str, Case]], frequency: Any, *, limits: tuple[float, float] | None = None
) -> Figure:
    """Signed errors of the power over frequency, beside the excess of single peaks, one panel for each part.

    Args:
        panels: title -> method -> (error of each band (S, B), excess of the peaks (S,)), dB, of S seeds;
            lines and markers are means, ranges over seeds are shaded. None in place of peaks shows none.
        frequency: centres of the bands, cycles per pixel, ``(B,)``.
        limits: range of the vertical axes.
    """
    size = (6.2, 3.1 * len(panels) + 0.2)
    figure, axes = plt.subplots(
        len(panels), 2, figsize=size, width_ratios=(5, 1), sharey="row", squeeze=False
    )
    for (left, right), (title, methods) in zip(axes, panels.items(), strict=True):
        places = np.linspace(-0.3, 0.3, len(methods))
        for (errors, peaks), x, colour in zip(methods.values(), places, COLOURS, strict=False):
            _band(left, array(frequency), array(errors), colour)
            if peaks is not None:
                right.errorbar(
                    x, array(peaks).mean(), _range(array(peaks)), fmt="D", color=colour, markersize=6
                )
        _signs(left, limits)
        right.axhline(0, color="#333333", linewidth=1)
        right.set(xticks=(0,), xticklabels=("peak",), xlim=(-0.55, 0.55))
        left.set(ylabel="error of the power (dB)")
        left.set_title(title, loc="left")
    axes[-1, 0].set_xlabel(FREQUENCY)
    figure.canvas.draw()
    for (left, right), methods in zip(axes, panels.values(), strict=True):
        _names(left, right, methods)
    return figure


def _band(ax: Axes, x: Any, values: Any, colour: str) -> None:
    ax.plot(x, values.mean(0), color=colour, marker="o", markersize=4)
    ax.fill_between(x, values.min(0), values.max(0), color=colour, alpha=0.2, linewidth=0)


def _range(values: Any) -> Any:
    """Distances of the mean to the least and the largest, (2, 1)."""
    return np.array([[values.mean() - values.min()], [values.max() - values.mean()]])


def _signs(ax: Axes, limits: tuple[float, float] | None) -> None:
    """Say what the two sides of zero mean, and leave room for the words."""
    low, high = ax.get_ylim()
    room = 0.15 * (max(high, 0) - min(low, 0))
    ax.set_ylim(limits or (min(low, -room), max(high, room)))
    ax.axhline(0, color="#333333", linewidth=1)
    for height, word, side in ((0.97, "too much", "top"), (0.03, "missing", "bottom")):
        ax.text(0.02, height, word, transform=ax.transAxes, va=side, color="#555555", fontsize=11)


def _names(left: Axes, right: Axes, methods: Mapping[str, Case]) -> None:
    """The name of each method beside its peak, or beside its line if there are no peaks, moved apart."""
    peaked = any(peaks is not None for _, peaks in methods.values())
    ends = [
        array(peaks).mean() if peaked else array(errors).mean(0)[-1] for errors, peaks in methods.values()
    ]
    to_axes = left.transData + left.transAxes.inverted()
    heights = np.array([to_axes.transform((0, end))[1] for end in ends])
    for name, height, colour in zip(methods, spread(heights.clip(0, 1), 0.1), COLOURS, strict=False):
        label = (right if peaked else left).annotate(
            name,
            (1.1 if peaked else 1.02, height),
            xycoords="axes fraction",
            color=colour,
            va="center",
            fontsize=11,
            annotation_clip=False,
        )
        label.set_in_layout(peaked)  # otherwise it stands where the peaks would be
    right.set_visible(peaked)


@styled
def accuracies(
    panels: Mapping[str, Mapping[str, tuple[float, float, float]]],
    *,
    floors: Mapping[str, Sequence[float]] | None = None,
) -> Figure:
    """Accuracies of detectors with their intervals, a row each, and chance.

    Args:
        panels: title -> row -> (value, low, high).
        floors: title -> of real images against real images, one for each row; crosses.
    """
    rows = list(next(iter(panels.values())))
    columns = len(panels)
    figure, axes = plt.subplots(
        1, columns, figsize=(6.2, 0.36 * len(rows) + 1.5), sharey=True, sharex=True, squeeze=False
    )
    for ax, (title, found) in zip(axes[0], panels.items(), strict=True):
        ax.axvline(0.5, color="#666666", linestyle="--", linewidth=1.4)
        for row, (value, low, high) in enumerate(found.values()):
            ax.plot((low, high), (row, row), color="#333333", linewidth=1.6)
            ax.plot(value, row, "o", color=COLOURS[1], markersize=7)
        if floors:
            ax.plot(array(floors[title]), range(len(rows)), "x", color=COLOURS[0], markersize=7)
        ax.set_title(title, fontsize=11)
        ax.set(xlim=(0.3, 1.03), xticks=(0.5, 0.75, 1), xlabel="accuracy")
        ax.set_yticks(range(len(rows)), labels=rows)
        ax.set_ylim(len(rows) - 0.5, -0.5)
    return figure


@styled
def remedies(panels: Mapping[str, Mapping[str, Any]], *, floors: Mapping[str, float]) -> Figure:
    """Scores of a network and of variants of it, one row each, one panel for each measure.

    Args:
        panels: quantity and unit -> variant -> score of each seed, a dot; the others are compared with the
            first, whose mean is a line.
        floors: quantity -> what real images score, dashed.
    """
    variants = list(next(iter(panels.values())))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(6.2, 0.34 * len(variants) + 1.2), sharey=True, squeeze=False
    )
    for ax, (title, scores) in zip(axes[0], panels.items(), strict=True):
        for row, values in enumerate(scores.values()):
            colour = COLOURS[0] if row == 0 else COLOURS[1]
            ax.plot(
                array(values), np.full(len(array(values)), row), "o", color=colour, markersize=5, alpha=0.85
            )
        ax.axvline(array(scores[variants[0]]).mean(), color=COLOURS[0], linewidth=1.2)
        ax.axvline(floors[title], color="#666666", linestyle="--", linewidth=1.4)
        ax.set_xlabel(title, fontsize=11)
        ax.set_yticks(range(len(variants)), labels=variants)
        ax.set_ylim(len(variants) - 0.5, -0.5)
    return figure
