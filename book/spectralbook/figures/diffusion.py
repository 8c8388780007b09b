"""Figures of diffusion processes: maps over time and frequency, and errors of samplers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectralbook.figures.base import COLOURS, FREQUENCY, array, label_ends, scale_axes, show, styled


@styled
def time_maps(
    maps: Mapping[str, Any], frequency: Any, *, label: str, limits: tuple[float, float] = (-40.0, 40.0)
) -> Figure:
    """Quantities over time and frequency, side by side, with the contour at zero.

    Args:
        maps: name -> values, ``(T, F)``: the first row is the clean end, columns follow ``frequency``.
        frequency: cycles per pixel, ``(F,)``.
        label: quantity and unit, for the colour bar.
        limits: range of the colours.
    """
    figure, axes = plt.subplots(1, len(maps), figsize=(6.2, 3.3), sharey=True, squeeze=False)
    for ax, (name, values) in zip(axes[0], maps.items(), strict=True):
        shown = _time_map(ax, array(values), array(frequency), limits)
        ax.set_title(name)
    axes[0, 0].set_ylabel(FREQUENCY)
    figure.colorbar(shown, ax=axes, label=label, shrink=0.9)
    return figure


def _time_map(ax: Axes, values: Any, frequency: Any, limits: tuple[float, float]) -> Any:
    time = np.linspace(0, 1, len(values))
    clipped = np.clip(values.T, *limits)
    shown = ax.pcolormesh(time, frequency, clipped, cmap="PuOr", vmin=limits[0], vmax=limits[1])
    ax.contour(time, frequency, clipped, levels=[0.0], colors="black", linewidths=1.5)
    ax.set(xlabel="time t / T", yscale="log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.grid(False)
    return shown


@styled
def decibel_curves(
    errors: Mapping[str, Any],
    frequency: Any,
    *,
    ylabel: str = "error of the power (dB)",
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Signed errors in dB against frequency, with zero marked.

    Args:
        errors: name -> values, ``(F,)``.
        frequency: cycles per pixel, ``(F,)``.
        ylabel: quantity and unit.
        limits: range of the vertical axis.
    """
    figure, ax = plt.subplots()
    for values in errors.values():
        ax.plot(array(frequency), array(values))
    ax.axhline(0, color="#333333", linewidth=1)
    scale_axes(ax, "x")
    if limits:
        ax.set_ylim(*limits)
    ax.set(xlabel=FREQUENCY, ylabel=ylabel)
    label_ends(ax, list(errors))
    return figure


@styled
def before_and_after(
    pairs: Mapping[str, tuple[float, float]], *, names: tuple[str, str], xlabel: str
) -> Figure:
    """Two values for each of several methods, joined by a line, on a logarithmic axis.

    Args:
        pairs: method -> (before, after).
        names: what the two values are.
        xlabel: quantity and unit.
    """
    figure, ax = plt.subplots(figsize=(6.2, 0.42 * len(pairs) + 1.3))
    for row, pair in enumerate(pairs.values()):
        ax.plot(pair, (row, row), color="#999999", linewidth=1.6)
        for value, colour, marker in zip(pair, COLOURS, "os", strict=False):
            ax.plot(value, row, marker, color=colour, markersize=8)
    first = next(iter(pairs.values()))
    for name, value, colour in zip(names, first, COLOURS, strict=False):
        side = "left" if value == max(first) else "right"
        ax.annotate(name, (value, 0), (0, 12), textcoords="offset points", ha=side, color=colour, fontsize=11)
    scale_axes(ax, "x")
    ax.set_yticks(range(len(pairs)), labels=list(pairs))
    ax.set(xlabel=xlabel, ylim=(len(pairs) - 0.5, -0.9))
    return figure


@styled
def schedule_view(snr: Any, frequency: Any, filters: Mapping[str, Any]) -> Figure:
    """The SNR over time and frequency beside the reconstruction filter at some times.

    Args:
        snr: dB, ``(T, F)``, clean end first.
        frequency: cycles per pixel, ``(F,)``.
        filters: name -> gain ``a G`` of image to reconstruction, ``(F,)``.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.2, 3.2), width_ratios=(1.15, 1))
    shown = _time_map(left, array(snr), array(frequency), (-40.0, 40.0))
    left.set(ylabel=FREQUENCY, title="SNR (dB)")
    figure.colorbar(shown, ax=left)
    for values in filters.values():
        right.plot(array(frequency), array(values))
    scale_axes(right, "x")
    right.set(xlabel="frequency", title="gain of the filter", ylim=(-0.03, 1.05))
    label_ends(right, list(filters), gap=0.1)
    return figure


@styled
def denoising_view(noisy: Any, denoised: Any, frequency: Any, powers: Mapping[str, Any]) -> Figure:
    """A noisy picture, its reconstruction, and the expected spectra.

    Args:
        noisy, denoised: images, ``(H, W)``.
        frequency: cycles per pixel, ``(F,)``.
        powers: name -> power, ``(F,)``.
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(6.2, 2.5), width_ratios=(1, 1, 1.5))
    show(left, noisy, None)
    show(middle, denoised, None)
    left.set_title("noisy", fontsize=11)
    middle.set_title("denoised", fontsize=11)
    for values, colour in zip(powers.values(), ("#999999", *COLOURS), strict=False):
        right.plot(array(frequency), array(values), color=colour)
    scale_axes(right, "xy")
    right.set(xlabel="frequency", ylabel="power", ylim=(1e-5, 1e3))
    label_ends(right, list(powers), gap=0.14)
    return figure
