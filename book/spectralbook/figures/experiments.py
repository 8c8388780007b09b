"""Figures of trained networks: what their errors are made of, and how methods compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from spectralbook.figures.base import COLOURS, array, label_ends, scale_axes, styled

SAMPLER, GAIN, STRAY = COLOURS[0], COLOURS[1], "#999999"
TERMS = {"sampler": SAMPLER, "gain": GAIN, "stray": STRAY}


@styled
def error_terms(
    cases: Mapping[str, Mapping[str, Any]],
    edges: Any,
    *,
    columns: int = 2,
    names: Mapping[str, str] | None = None,
) -> Figure:
    """What the error of each band is made of: bars stacked from zero, their sum as a dot.

    Args:
        cases: title -> ``sampler``, ``gain`` and ``stray`` in dB, (S, B) for S seeds.
        edges: band edges in cycles per pixel, (B + 1,).
        columns: panels in a row.
        names: label of each term.
    """
    rows = -(-len(cases) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(6.2, 2.3 * rows + 0.6), sharex=True, sharey="row", squeeze=False
    )
    centre = (array(edges)[1:] + array(edges)[:-1]) / 2
    for ax, (title, terms) in zip(axes.flat, cases.items(), strict=False):
        _stack(ax, centre, {name: array(values) for name, values in terms.items()})
        ax.set_title(title, fontsize=11)
    for ax in axes[-1]:
        ax.set_xlabel("frequency")
    for ax in axes[:, 0]:
        ax.set_ylabel("error (dB)")
    labels = names or {"sampler": "sampler", "gain": "network's gain", "stray": "stray power"}
    handles = [Rectangle((0, 0), 1, 1, color=TERMS[name]) for name in labels]
    dot = Line2D([], [], marker="o", color="black", linestyle="none", markersize=5)
    figure.legend(
        [*handles, dot], [*labels.values(), "all"], loc="outside upper center", ncols=4, fontsize=11
    )
    return figure


def _stack(ax: Axes, centre: NDArray[np.float64], terms: Mapping[str, NDArray[np.float64]]) -> None:
    width = 0.8 * (centre[1] - centre[0])
    means = {name: values.mean(0) for name, values in terms.items()}
    above, below = np.zeros_like(centre), np.zeros_like(centre)
    for name, mean in means.items():
        start = np.where(mean >= 0, above, below)
        ax.bar(centre, mean, width, bottom=start, color=TERMS[name])
        above, below = above + mean.clip(0), below + mean.clip(None, 0)
    total = np.sum(list(terms.values()), axis=0)
    span = np.abs(np.quantile(total, [0, 1], axis=0) - total.mean(0))
    ax.errorbar(centre, total.mean(0), span, fmt="o", color="black", markersize=4.5, elinewidth=1.3)
    ax.axhline(0, color="#333333", linewidth=1)


@styled
def which_term(
    panels: Mapping[str, tuple[Any, Any]],
    budgets: Sequence[int],
    steps: Sequence[int],
) -> Figure:
    """Which term of the error is larger, over training steps and sampler steps, and how large the error is.

    Args:
        panels: title -> (rms of the sampler's term, rms of the network's) in dB, each (budgets, steps).
        budgets: training steps.
        steps: steps of the sampler.
    """
    rows = -(-len(panels) // 2)
    figure, axes = plt.subplots(
        rows, 2, figsize=(6.2, 2.5 * rows + 0.5), sharex=True, sharey=True, squeeze=False
    )
    for ax, (title, (sampler, network)) in zip(axes.flat, panels.items(), strict=False):
        s, n = array(sampler), array(network)
        shown = ax.imshow(n / (s + n), cmap="PuOr_r", vmin=0, vmax=1, origin="lower", aspect="auto")
        for row, column in np.ndindex(s.shape):
            share = n[row, column] / (s + n)[row, column]
            ax.text(
                column,
                row,
                f"{s[row, column]:.1f}\n{n[row, column]:.1f}",
                ha="center",
                va="center",
                fontsize=9,
                linespacing=1.0,
                color="white" if abs(share - 0.5) > 0.38 else "black",
            )
        ax.set_title(title, fontsize=11)
        ax.set_xticks(range(len(steps)), labels=[str(step) for step in steps])
        ax.set_yticks(range(len(budgets)), labels=[str(budget) for budget in budgets])
        ax.grid(False)
    for ax in axes[-1]:
        ax.set_xlabel("sampler steps")
    for ax in axes[:, 0]:
        ax.set_ylabel("training steps")
    bar = figure.colorbar(shown, ax=axes, ticks=[0, 0.5, 1], shrink=0.8)
    bar.set_ticklabels(["sampler", "equal", "network"])
    return figure


@styled
def progress(
    lines: Mapping[str, tuple[Any, Any]], *, xlabel: str, ylabel: str, floor: float | None = None
) -> Figure:
    """Scores of several methods against a budget, the range over seeds shaded, on logarithmic axes.

    Args:
        lines: name -> (budgets (K,), scores (S, K) of S seeds).
        xlabel, ylabel: quantities with their units.
        floor: what real images score.
    """
    figure, ax = plt.subplots(figsize=(6.2, 4.2))
    for name, (x, scores) in lines.items():
        values = array(scores)
        (line,) = ax.plot(array(x), values.mean(0), marker="o", markersize=5, label=name)
        ax.fill_between(
            array(x), values.min(0), values.max(0), color=line.get_color(), alpha=0.2, linewidth=0
        )
    if floor is not None:
        ax.axhline(floor, color="#666666", linestyle="--", linewidth=1.4)
        ax.annotate(
            "real images",
            (0.01, floor),
            (0, 3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            fontsize=10,
            color="#555555",
        )
    scale_axes(ax, "xy")
    ax.set_xticks([int(v) for v in next(iter(lines.values()))[0]])
    ax.xaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    label_ends(ax, list(lines))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return figure


@styled
def league(
    panels: Mapping[str, Mapping[str, tuple[Any, Any]]],
    *,
    xlabel: str,
    names: tuple[str, str],
    floors: Mapping[str, float] | None = None,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Scores of methods, a row each, with and without a treatment; one panel for each data set.

    Args:
        panels: title -> method -> (scores without, scores with), a dot for each seed; empty where missing.
        xlabel: quantity and unit.
        names: of the two treatments.
        floors: title -> what real images score.
        limits: of a linear axis, with zero marked; logarithmic without. Dots beyond are left out.
    """
    methods = list(next(iter(panels.values())))
    rows = -(-len(panels) // 2)
    height = (0.3 * len(methods) + 0.85) * rows + 0.5
    figure, axes = plt.subplots(rows, 2, figsize=(6.2, height), sharey=True, squeeze=False)
    for ax, (title, scores) in zip(axes.flat, panels.items(), strict=False):
        for row, method in enumerate(methods):
            for values, colour, marker, shift in zip(
                scores[method], COLOURS, "os", (-0.14, 0.14), strict=False
            ):
                dots = array(values)
                ax.plot(
                    dots,
                    np.full(len(dots), row + shift),
                    marker,
                    color=colour,
                    markersize=5,
                    alpha=0.85,
                    markeredgewidth=0,
                )
        if floors:
            ax.axvline(floors[title], color="#666666", linestyle="--", linewidth=1.3)
        if limits:
            ax.axvline(0, color="#333333", linewidth=1)
            ax.set_xlim(*limits)
        else:
            scale_axes(ax, "x")
        ax.set_title(title, fontsize=11)
        ax.set_yticks(range(len(methods)), labels=methods)
        ax.set_ylim(len(methods) - 0.5, -0.5)
    for ax in axes[-1]:
        ax.set_xlabel(xlabel)
    handles = [
        Line2D([], [], marker=m, color=c, linestyle="none", markersize=6)
        for m, c in zip("os", COLOURS, strict=False)
    ]
    figure.legend(handles, names, loc="outside upper center", ncols=2, fontsize=11)
    return figure
