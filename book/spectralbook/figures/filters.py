"""Figures of filters and upsampling: what a small window, a rectifier and a finer grid do to a spectrum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fans.spectrum import NYQUIST, RadialSpectrum
from spectralbook.figures.base import COLOURS, FREQUENCY, array, label_ends, mark, show, styled

GRAY = "#666666"


@styled
def frequency_maps(maps: Mapping[str, Any], *, label: str) -> Figure:
    """Magnitudes over the frequency plane, up to three in a row, each relative to its largest.

    Args:
        maps: name -> non-negative values in the order of ``numpy.fft.fftfreq``, ``(H, W)``.
        label: quantity, for the colour bar.
    """
    rows = -(-len(maps) // 3)
    columns = -(-len(maps) // rows)
    size = (6.2, rows * (4.4 / columns + 0.7))  # inches, so that the colour bar is as high as the maps
    figure, axes = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
    for ax, (name, values) in zip(axes.flat, maps.items(), strict=False):
        shown = _plane(ax, array(values) / array(values).max())
        ax.set_title(name, fontsize=11)
    for ax in axes.flat[len(maps) :]:
        ax.axis("off")
    for ax in axes[-1]:
        ax.set_xlabel("frequency")
    for ax in axes[:, 0]:
        ax.set_ylabel("frequency")
    figure.colorbar(shown, ax=axes, label=label, ticks=(0, 0.5, 1), shrink=0.9)
    return figure


def _plane(ax: Axes, values: Any) -> Any:
    """Values in [0, 1] over the plane, frequency zero in the middle of a pixel."""
    half = 0.5 / len(values)
    edges = (-NYQUIST - half, NYQUIST - half)
    shown = ax.imshow(np.fft.fftshift(values), cmap="magma", vmin=0, vmax=1, extent=(*edges, *edges[::-1]))
    ax.set(xticks=(-0.4, 0, 0.4), yticks=(-0.4, 0, 0.4))
    ax.grid(False)
    return shown


@styled
def rectified(position: Any, waves: Mapping[str, Any], lines: Mapping[str, tuple[Any, Any]]) -> Figure:
    """A wave before and after a rectifier, above the lines of the rectified spectrum.

    Args:
        position: pixels, ``(N,)``.
        waves: name -> values there; the first is drawn in gray.
        lines: origin -> (frequencies in cycles per image, magnitudes).
    """
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(6.2, 5.2))
    for values, colour in zip(waves.values(), ("#999999", *COLOURS), strict=False):
        top.plot(array(position), array(values), color=colour)
    label_ends(top, list(waves), gap=0.14)
    top.set(xlabel="position (pixels)", ylabel="value")
    for (name, (f, height)), colour, shape in zip(lines.items(), COLOURS, "osD^", strict=False):
        bottom.vlines(array(f), 1e-4, array(height), color=colour, linewidth=2)
        bottom.plot(array(f), array(height), shape, color=colour, markersize=6, label=name)
    bottom.set(yscale="log", ylim=(1e-3, 3), xlabel="frequency (cycles per image)", ylabel="magnitude")
    bottom.legend(loc="upper right", ncols=len(lines), fontsize=11, handletextpad=0.1, columnspacing=1)
    return figure


@styled
def lag_curves(
    lag: Any, laws: Mapping[str, Any], measured: Mapping[str, tuple[Any, Any]], *, ylabel: str
) -> Figure:
    """A law against lag as lines, and what experiments found as points with two standard errors.

    Args:
        lag: bins, ``(L,)``.
        laws: name -> values, ``(L,)``.
        measured: name -> (values, standard errors), each ``(L,)``; names as in laws.
        ylabel: quantity.
    """
    figure, ax = plt.subplots()
    for values in laws.values():
        ax.plot(array(lag), array(values), linewidth=1.6)
    for name, colour, shape in zip(laws, COLOURS, "osD^v", strict=False):
        mean, stderr = (array(part) for part in measured[name])
        ax.errorbar(array(lag), mean, 2 * stderr, fmt=shape, color=colour, markersize=5, elinewidth=1.3)
    ax.axhline(0, color="#333333", linewidth=1)
    ax.set(xlabel="lag (bins)", ylabel=ylabel)
    label_ends(ax, list(laws))
    return figure


@styled
def correlation_view(correlation: Any, law: tuple[Any, Any], *, at: int, title: str) -> Figure:
    """Correlation of a coefficient with all others, and of neighbours against the size of the grid.

    Args:
        correlation: modulus for each lag modulo d, ``(d, d)``.
        law: sizes of grids, and the correlation of diagonal neighbours on them.
        at: the size shown on the left, marked on the right.
        title: one line above.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.2, 3.2), width_ratios=(1, 1.15))
    shown = _plane(left, array(correlation))
    left.set(xlabel="lag (cycles per pixel)", ylabel="lag", title="|corr| with (0, 0)")
    figure.colorbar(shown, ax=left, ticks=(0, 0.5, 1), shrink=0.75)
    right.plot(array(law[0]), array(law[1]), color=COLOURS[0])
    here = float(np.interp(at, array(law[0]), array(law[1])))
    right.plot(at, here, "o", color=COLOURS[1], markersize=9)
    right.set(
        xscale="log", xlim=(3.6, 142), ylim=(-0.03, 1.05), xlabel="size of the grid d", title="of neighbours"
    )
    right.set_xticks((4, 16, 64), labels=("4", "16", "64"))
    right.minorticks_off()
    figure.suptitle(title, fontsize=12)
    return figure


@styled
def upsampling_view(images: Sequence[Any], spectra: Mapping[str, RadialSpectrum], *, title: str) -> Figure:
    """An image before and after upsampling, beside radial spectra on the finer grid.

    Args:
        images: before and after, ``(H, W)``.
        spectra: name -> mean spectrum; the first is the reference, drawn dashed.
        title: one line above.
    """
    figure, axes = plt.subplots(1, 3, figsize=(6.2, 2.9), width_ratios=(1, 1, 1.5))
    for ax, image, name in zip(axes, images, ("before", "after"), strict=False):
        show(ax, image, None)
        ax.set_title(name, fontsize=11)
    looks: Any = ({"color": GRAY, "linestyle": "--"}, {"color": COLOURS[1]})
    for (name, radial), look in zip(spectra.items(), looks, strict=True):
        f, power = array(radial.frequency)[1:], array(radial.power)[1:]
        axes[2].plot(f, power, label=name, **look)
    axes[2].set(xlabel=FREQUENCY, ylabel="power", yscale="log", ylim=(1e-7, 1e2))
    axes[2].set_yticks((1e-6, 1e-3, 1))
    axes[2].minorticks_off()
    axes[2].legend(fontsize=10, loc="lower left", handlelength=1.3)
    mark(axes[2], "old limit", NYQUIST / 2)
    figure.suptitle(title, fontsize=12)
    return figure


@styled
def layer_responses(frequency: Any, responses: Mapping[str, Any], limits: Sequence[float]) -> Figure:
    """Magnitude of each layer's response, one above the other; beyond a layer's own limit it is shaded.

    Args:
        frequency: cycles per pixel of the output, ``(F,)``.
        responses: name -> magnitudes, ``(F,)``, each drawn relative to its largest.
        limits: highest frequency of each layer's grid.
    """
    figure, axes = plt.subplots(len(responses), 1, figsize=(6.2, 5.0), sharex=True, squeeze=False)
    f = array(frequency)
    for ax, (name, values), limit in zip(axes[:, 0], responses.items(), limits, strict=True):
        ax.plot(f, array(values) / array(values).max(), color=COLOURS[0])
        if limit < f[-1]:
            ax.axvspan(limit, f[-1], color="#999999", alpha=0.25, linewidth=0)
        ax.set(ylim=(-0.05, 1.12), yticks=(0, 1), xlim=(f[0], f[-1]))
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
    axes[-1, 0].set_xlabel(FREQUENCY)
    return figure


@styled
def against_law(
    panels: Mapping[str, tuple[float, Any, Any]], *, xlabel: str, ylabel: str, columns: int = 2
) -> Figure:
    """Measured values, such as those of the layers of a network, against the one value of a law.

    Args:
        panels: title -> (law, values, standard errors), values and errors ``(L,)``; the law is dashed.
        xlabel, ylabel: what is counted, and what is measured.
        columns: panels in a row.
    """
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(6.2, 2.7 * rows + 0.3), sharey=True, squeeze=False)
    for ax, (title, (law, values, errors)) in zip(axes.flat, panels.items(), strict=False):
        number = np.arange(1, len(array(values)) + 1)
        ax.axhline(law, color=GRAY, linestyle="--", linewidth=1.6)
        ax.errorbar(number, array(values), 2 * array(errors), fmt="o", color=COLOURS[1], markersize=5)
        ax.set_title(title, fontsize=11)
        ax.set(xticks=number, xlim=(0.3, len(number) + 0.7))
    for ax in axes[-1]:
        ax.set_xlabel(xlabel)
    for ax in axes[:, 0]:
        ax.set_ylabel(ylabel)
    return figure
