"""Figures of shaped noise: what bands of the data hold, what noise they get, and what faults of it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fans.spectrum import Bands
from spectralbook.figures.base import COLOURS, FREQUENCY, array, label_ends, show, styled


@styled
def shares_and_densities(shares: Mapping[str, Any], bands: Bands) -> Figure:
    """The share of the power in each band, above the same per coefficient, relative to white noise.

    Args:
        shares: name -> pi, ``(B,)``.
        bands: the partition they belong to.
    """
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(6.2, 5.6), sharex=True)
    size = bands.count / bands.count.sum()
    for share in shares.values():
        top.plot(bands.frequency, array(share), marker="o", markersize=5)
        bottom.plot(bands.frequency, _decibel(array(share) / size), marker="o", markersize=5)
    top.plot(bands.frequency, size, "--", color="#666666", linewidth=1.4)
    bottom.plot(bands.frequency, 0 * size, "--", color="#666666", linewidth=1.4)
    top.set(yscale="log", ylabel="share of the power")
    bottom.set(ylabel="per coefficient (dB)", xlabel=f"band centre, {FREQUENCY}")
    for ax in (top, bottom):
        label_ends(ax, [*shares, "white"], gap=0.1)
    return figure


@styled
def noise_rows(rows: Mapping[str, Sequence[Any]], titles: Sequence[str]) -> Figure:
    """Pictures of noise, one row for each process, all on one gray scale of three deviations.

    Args:
        rows: name -> images ``(H, W)``, of deviation about 1.
        titles: one for each column.
    """
    figure, axes = plt.subplots(len(rows), len(titles), figsize=(6.2, 1.45 * len(rows) + 0.3), squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for ax, image in zip(line, images, strict=True):
            show(ax, image, (-3.0, 3.0))
        line[0].text(-0.07, 0.5, name, transform=line[0].transAxes, rotation=90, ha="right", va="center")
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title)
    return figure


@styled
def band_maps(levels: Mapping[str, Any], bands: Bands, *, limit: float = 12.0) -> Figure:
    """Noise level of each band over time, relative to white noise, side by side.

    Args:
        levels: name -> dB, ``(T, B)``: the first row is the clean end.
        bands: the partition they belong to.
        limit: the colours reach from minus to plus this level, white noise in the middle.
    """
    figure, axes = plt.subplots(1, len(levels), figsize=(6.2, 3.3), sharey=True, squeeze=False)
    for ax, (name, values) in zip(axes[0], levels.items(), strict=True):
        shown = _band_map(ax, array(values), bands, limit)
        ax.set_title(name)
    axes[0, 0].set_ylabel(FREQUENCY)
    figure.colorbar(shown, ax=axes, label="noise, white = 0 (dB)", shrink=0.9)
    return figure


def _band_map(ax: Axes, values: Any, bands: Bands, limit: float) -> Any:
    edges = np.linspace(0, 1, len(values) + 1)
    shown = ax.pcolormesh(edges, bands.edges, values.T, cmap="PuOr_r", vmin=-limit, vmax=limit)
    ax.set(xlabel="time t / T", xticks=(0, 0.5, 1))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.grid(False)
    return shown


@styled
def band_levels(
    levels: Mapping[str, Any],
    bands: Bands,
    *,
    dashed: Mapping[str, Any] | None = None,
    ylabel: str = "noise, white = 0 (dB)",
    limits: tuple[float, float] | None = None,
    title: str = "",
) -> Figure:
    """Decibels as steps over the rings of a partition, with zero marked.

    Args:
        levels: name -> dB, ``(B,)``.
        bands: the partition they belong to.
        dashed: named references, drawn dashed in gray.
        ylabel: quantity and unit.
        limits: range of the vertical axis.
        title: one line above.
    """
    figure, ax = plt.subplots(figsize=(6.2, 3.6))
    gray: dict[str, Any] = {"color": "#666666", "linestyle": "--", "linewidth": 1.8}
    for group, look in ((levels, {}), (dashed or {}, gray)):
        for values in group.values():
            steps = array(values)
            ax.step(bands.edges, np.append(steps, steps[-1]), where="post", **look)
    ax.axhline(0, color="#333333", linewidth=1)
    if limits:
        ax.set_ylim(*limits)
    ax.set(xlabel=FREQUENCY, ylabel=ylabel, title=title)
    label_ends(ax, [*levels, *(dashed or {})])
    return figure


@styled
def repairs(
    errors: Mapping[str, Any], bands: Bands, *, before: Any, limits: tuple[float, float] | None = None
) -> Figure:
    """Errors of the power in each band before and after single repairs, one small plot for each repair.

    Args:
        errors: repair -> dB, ``(B,)``.
        bands: the partition they belong to.
        before: error without any repair, dB, ``(B,)``; drawn in gray everywhere.
        limits: range of the vertical axis.
    """
    rows = -(-len(errors) // 2)
    figure, axes = plt.subplots(
        rows, 2, figsize=(6.2, 2.2 * rows + 0.4), sharex=True, sharey=True, squeeze=False
    )
    for ax, (name, error) in zip(axes.flat, errors.items(), strict=False):
        ax.axhline(0, color="#333333", linewidth=1)
        ax.plot(bands.frequency, array(before), color="#8a8a8a", linewidth=4)
        ax.plot(bands.frequency, array(error), color=COLOURS[1], marker="o", markersize=4)
        ax.set_title(name)
    if limits:
        axes[0, 0].set_ylim(*limits)
    figure.supxlabel(FREQUENCY, fontsize=12)
    figure.supylabel("error of the power (dB)", fontsize=12)
    return figure


@styled
def shaping_view(
    levels: Any,
    bands: Bands,
    noise: Any,
    snr: Any,
    frequency: Any,
    *,
    rises: tuple[Any, Any],
    title: str,
) -> Figure:
    """Shaped noise at a glance: its spectrum over time, one draw of it, and the SNR that it leaves.

    Args:
        levels: dB relative to white noise, ``(T, B)``, clean end first.
        bands: the partition they belong to.
        noise: one draw, ``(H, W)``, of deviation about 1.
        snr: dB, ``(T, F)``, clean end first.
        frequency: cycles per pixel, ``(F,)``.
        rises: times t / T and frequencies at which the SNR rises with time; black dots.
        title: one line above.
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(6.2, 3.5), width_ratios=(1, 0.85, 1))
    _bar(left, _band_map(left, array(levels), bands, 15.0), "noise (dB)")
    left.set(ylabel=FREQUENCY)
    show(middle, noise, (-3.0, 3.0))
    middle.set_title("a draw at T/4", fontsize=11)
    time, values = np.linspace(0, 1, len(array(snr))), np.clip(array(snr).T, -40, 40)
    shown = right.contourf(time, array(frequency), values, levels=np.linspace(-40, 40, 17), cmap="PuOr")
    right.contour(time, array(frequency), values, levels=[0.0], colors="black", linewidths=1.5)
    right.plot(array(rises[0]), array(rises[1]), "k.", markersize=5)
    right.set(xlabel="time t / T", xticks=(0, 0.5, 1), ylim=(0, bands.edges[-1]))
    right.xaxis.set_major_formatter("{x:g}")
    right.tick_params(labelleft=False)
    right.grid(False)
    _bar(right, shown, "SNR (dB)")
    figure.suptitle(title, fontsize=12)
    return figure


def _bar(ax: Axes, shown: Any, label: str) -> None:
    limit = shown.get_clim()[1]
    bar = ax.figure.colorbar(shown, ax=ax, location="top", ticks=(-limit, 0, limit), aspect=12)
    bar.set_label(label, fontsize=11)


def _decibel(ratio: Any) -> Any:
    return 10 * np.log10(ratio)
