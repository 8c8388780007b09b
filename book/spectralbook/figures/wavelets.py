"""Figures of wavelet bands and their gates, and of what a weight makes of a loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fans.spectrum import Bands
from spectralbook.figures.base import COLOURS, FREQUENCY, array, label_ends, scale_axes, show, styled

BANDS = ("LL", "LH", "HL", "HH")
_TAG: Any = {"fontsize": 10, "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1.5}}


@styled
def subbands(image: Any, pyramid: tuple[Any, Sequence[Sequence[Any]]]) -> Figure:
    """An image beside its wavelet bands in the usual order, low frequencies at the upper left.

    Args:
        image: ``(H, W)``.
        pyramid: LL of the last level, and LH, HL, HH of each level, coarsest first, each ``(h, w)``
            (``fans.wavelets.Pyramid``). Details are stretched to five deviations of their own.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.2, 3.3))
    show(left, image, None)
    left.set_title("image")
    ll, details = pyramid
    mosaic, size = _unit(array(ll), deviations=None), array(ll).shape[0]
    tags = [("LL", 0, 0)]
    for level in details:
        lh, hl, hh = (_unit(array(band), deviations=5.0) for band in level)
        mosaic = np.block([[mosaic, hl], [lh, hh]])
        tags += [("HL", size, 0), ("LH", 0, size), ("HH", size, size)]
        size *= 2
    show(right, mosaic, (0.0, 1.0))
    for name, x, y in tags:
        right.text(x + size / 50, y + size / 50, name, va="top", ha="left", **_TAG)
    right.set_title("bands")
    return figure


def _unit(band: NDArray[np.float64], deviations: float | None) -> NDArray[np.float64]:
    """Values mapped to [0, 1]: the whole range, or so many deviations about zero."""
    low, high = (band.min(), band.max()) if deviations is None else (-deviations, deviations)
    scale = 1.0 if deviations is None else float(band.std()) or 1.0  # of an empty band
    unit: NDArray[np.float64] = np.clip((band / scale - low) / (high - low), 0, 1)
    return unit


@styled
def gate_view(
    picture: Any, gates: Any, frequency: Any, powers: Mapping[str, Any], *, limits: tuple[float, float]
) -> Figure:
    """A gated picture, its four gates, and spectra.

    Args:
        picture: ``(H, W)``.
        gates: of LL, LH, HL, HH, ``(4,)``.
        frequency: cycles per pixel, ``(F,)``.
        powers: name -> power, ``(F,)``; the first is drawn in gray.
        limits: of the power.
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(6.2, 2.7), width_ratios=(1, 0.62, 1.35))
    show(left, picture, None)
    left.set_title("WG-Down", fontsize=11)
    _tiles(middle, array(gates))
    for values, colour in zip(powers.values(), ("#999999", *COLOURS), strict=False):
        right.plot(array(frequency), array(values), color=colour)
    scale_axes(right, "xy")
    right.set(xlabel="frequency", ylabel="power", ylim=limits)
    label_ends(right, list(powers), gap=0.12)
    return figure


def _tiles(ax: Axes, gates: NDArray[np.float64]) -> None:
    """Gates as four squares, LL at the upper left and HL, which follows columns, at its right."""
    names, order = np.array(BANDS), [[0, 2], [1, 3]]
    ax.imshow(gates[order], cmap="cividis", vmin=0, vmax=1)
    for row, column in np.ndindex(2, 2):
        band = order[row][column]
        ax.text(
            column,
            row,
            f"{names[band]}\n{gates[band]:.2f}",
            ha="center",
            va="center",
            fontsize=10,
            color="white" if gates[band] < 0.6 else "black",
        )
    ax.set_axis_off()
    ax.set_title("gates", fontsize=11)


@styled
def gates_over_time(
    layers: Mapping[str, Any], time: Any, *, limits: tuple[float, float] = (0.0, 1.0)
) -> Figure:
    """The gates of each band over time, mean over channels and their range, one panel a layer.

    Args:
        layers: title -> gates, ``(T, 4, C)``.
        time: t / T, ``(T,)``.
        limits: of the gates.
    """
    rows = -(-len(layers) // 2)
    figure, axes = plt.subplots(
        rows, 2, figsize=(6.2, 2.3 * rows + 0.4), sharex=True, sharey=True, squeeze=False
    )
    for ax, (title, gates) in zip(axes.flat, layers.items(), strict=False):
        values = array(gates)
        for band, colour in enumerate(COLOURS[: len(BANDS)]):
            ax.plot(array(time), values[:, band].mean(-1), color=colour)
            inner = np.quantile(values[:, band], (0.1, 0.9), axis=-1)
            ax.fill_between(array(time), *inner, color=colour, alpha=0.15, linewidth=0)
        ax.axhline(0.5, color="#333333", linewidth=1, linestyle=":")
        ax.set(ylim=limits, xticks=(0, 0.5, 1))
        ax.set_title(title, fontsize=11)
        label_ends(ax, list(BANDS), gap=0.13)
    for ax in axes[-1]:
        ax.set_xlabel("time t / T")
    for ax in axes[:, 0]:
        ax.set_ylabel("gate")
    return figure


@styled
def loss_shares(shares: Any, bands: Bands, *, title: str = "", limit: float = 1.0) -> Figure:
    """Share of a loss in each band, and the share of the band's width, which a flat loss would have.

    Args:
        shares: ``(B,)``, of sum 1.
        bands: the partition they belong to.
        title: one line above.
        limit: top of the axis.
    """
    figure, ax = plt.subplots(figsize=(6.2, 3.4))
    width = np.diff(bands.edges)
    ax.bar(bands.frequency, array(shares), 0.85 * width, color=COLOURS[0])
    even = float(width[0] / width.sum())
    ax.axhline(even, color="#333333", linestyle="--", linewidth=1.4)
    ax.annotate(
        "flat",
        (1.02, even),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=11,
        annotation_clip=False,
    )
    ax.set(xlabel=FREQUENCY, ylabel="share of the loss", ylim=(0, limit), title=title)
    ax.set_xlim(bands.edges[0], bands.edges[-1])
    return figure
