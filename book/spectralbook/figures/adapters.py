"""Figures of low-rank adapters: singular spectra, first gradients, trainings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spectralbook.figures.base import COLOURS, array, label_ends, styled

WEIGHT, BASE, UPDATE = "#666666", COLOURS[0], COLOURS[1]
LEAST = 1e-4  # of the largest singular value, what is drawn of smaller ones


def _spectra(ax: Axes, weight: Any, base: Any, update: Any) -> None:
    """Singular values of a weight, of the frozen base and of the adapter, over their index."""
    for values, colour, style in ((weight, WEIGHT, "--"), (base, BASE, "-"), (update, UPDATE, "-")):
        shown = array(values)
        shown = np.where(shown > LEAST * array(weight)[0], shown, np.nan)
        ax.plot(np.arange(1, len(shown) + 1), shown, style, color=colour, linewidth=1.8)
    ax.set_yscale("log")
    ax.set_ylim(0.01 * array(weight)[0], 1.5 * array(weight)[0])


def _legend(figure: Figure, ax: Axes) -> None:
    names = ("weight W", "frozen base", "adapter")
    figure.legend(ax.get_lines(), names, loc="outside upper center", ncols=3, fontsize=11)


@styled
def singular_spectra(cases: Mapping[str, tuple[Any, Any, Any]], *, columns: int = 3) -> Figure:
    """What initialisations make of the singular spectrum of a matrix, a panel each.

    Args:
        cases: name -> singular values of the weight, of the frozen base and of the adapter's product.
        columns: panels in a row.
    """
    rows = -(-len(cases) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(6.2, 1.55 * rows + 0.8), sharex=True, sharey=True, squeeze=False
    )
    for ax in axes.flat[len(cases) :]:
        ax.set_axis_off()
    for ax, (name, found) in zip(axes.flat, cases.items(), strict=False):
        _spectra(ax, *found)
        ax.set_title(name, fontsize=11)
    _legend(figure, axes[0, 0])
    figure.supxlabel("index of the singular value", fontsize=12)
    return figure


@styled
def adapter_view(weight: Any, base: Any, update: Any, norms: Mapping[str, float], *, most: float) -> Figure:
    """Singular spectra of one initialisation beside the norms of its first gradient.

    Args:
        weight, base, update: singular values.
        norms: name -> norm.
        most: of the axis of norms.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.2, 3.3), width_ratios=(3, 2))
    _spectra(left, weight, base, update)
    left.set(xlabel="index of the singular value", ylabel="singular value")
    right.bar(list(norms), list(norms.values()), color=COLOURS[2])
    right.set(ylim=(0, most), ylabel="norm of the first gradient")
    right.tick_params(axis="x", labelsize=10)
    _legend(figure, left)
    return figure


@styled
def trainings(
    cases: Mapping[str, tuple[Any, Any]],
    *,
    width: int = 10,
    names: tuple[str, str] = ("loss", "gradient norm"),
) -> Figure:
    """Two quantities over the steps of several trainings: means over seeds, and the spread of the seeds.

    Args:
        cases: name -> two arrays (S, T) for S seeds and T steps.
        width: steps that are averaged.
        names: of the quantities.
    """
    figure, axes = plt.subplots(2, 1, figsize=(6.2, 5.4), sharex=True)
    for quantity, (ax, name) in enumerate(zip(axes, names, strict=True)):
        for values, colour in zip(cases.values(), COLOURS, strict=False):
            smooth = _blocks(array(values[quantity]), width)
            steps = (np.arange(smooth.shape[1]) + 0.5) * width
            ax.plot(steps, smooth.mean(0), color=colour)
        for values, colour in zip(cases.values(), COLOURS, strict=False):
            smooth = _blocks(array(values[quantity]), width)
            steps = (np.arange(smooth.shape[1]) + 0.5) * width
            ax.fill_between(steps, smooth.min(0), smooth.max(0), color=colour, alpha=0.2, linewidth=0)
        ax.set(yscale="log", ylabel=name)
        label_ends(ax, list(cases))
    axes[-1].set_xlabel("step")
    return figure


def _blocks(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Means of blocks of steps, (S, T) to (S, T // width)."""
    whole = values[:, : values.shape[1] // width * width]
    means: NDArray[np.float64] = whole.reshape(len(whole), -1, width).mean(2)
    return means
