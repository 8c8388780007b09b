"""Figures of spectra: pictures beside their power, radial curves, exponents, orientations, aliasing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from fans.spectrum import NYQUIST, Bands, OrientedPowerLaw, PowerLaw, RadialSpectrum
from spectralbook.figures.base import (
    COLOURS,
    FREQUENCY,
    array,
    curves,
    label_ends,
    mark,
    scale_axes,
    show,
    styled,
)


@styled
def spectrum_beside(image: Any, power: Any, *, floor: float = -60.0) -> Figure:
    """An image and its power in decibels below the maximum.

    Args:
        image: ``(H, W)``, ``(1, H, W)`` or ``(3, H, W)`` in [-1, 1].
        power: power of the full plane, ``(H, W)``, in the order of ``numpy.fft.fftfreq``.
        floor: level shown black, dB.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.2, 3.3), width_ratios=(1, 1.3))
    show(left, image)
    left.set_title("image")
    level = np.fft.fftshift(array(power))
    level = 10 * np.log10(np.maximum(level / level.max(), 10 ** (floor / 10)))
    shown = right.imshow(level, cmap="magma", vmin=floor, vmax=0, extent=(-0.5, 0.5, 0.5, -0.5))
    right.set(xlabel="horizontal frequency", ylabel="vertical frequency", title="power (dB)")
    right.set(xticks=(-0.5, 0, 0.5), yticks=(-0.5, 0, 0.5))
    right.grid(False)
    figure.colorbar(shown, ax=right, shrink=0.8)
    return figure


@styled
def field_and_spectrum(image: Any, radial: RadialSpectrum, law: PowerLaw, alpha: float) -> Figure:
    """A synthetic field beside its radial spectrum, the fit, and the power law it was drawn from.

    Args:
        image: one field, ``(H, W)`` or ``(1, H, W)``.
        radial: mean spectrum of many such fields.
        law: the fit to it.
        alpha: the true exponent; its line is put through the middle of the curve.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.2, 3.0), width_ratios=(1, 1.35))
    show(left, image, None)
    f, power = array(radial.frequency)[1:], array(radial.power)[1:]
    middle = len(f) // 3
    right.plot(f, power / power[middle], color=COLOURS[0], label=f"measured, fit {law.exponent:.2f}")
    right.plot(f, (f / f[middle]) ** -alpha, "--", color="#666666", label=f"true, {alpha:.2f}")
    scale_axes(right, "xy")
    right.set(xlabel=FREQUENCY, ylabel="relative power", ylim=(1e-3, 1e5))
    right.legend(loc="upper right", fontsize=10.5)
    return figure


@styled
def fields_over_spectra(fields: Mapping[float, Any], spectra: Mapping[float, RadialSpectrum]) -> Figure:
    """Fields of several exponents, each over its measured radial spectrum on common axes.

    Args:
        fields: exponent -> one image.
        spectra: exponent -> mean spectrum of many such fields.
    """
    figure, axes = plt.subplots(2, len(fields), figsize=(9.0, 4.6), sharey="row", height_ratios=(1.15, 1))
    for (top, bottom), (alpha, field), radial, colour in zip(
        axes.T, fields.items(), spectra.values(), COLOURS, strict=False
    ):
        show(top, field, None)
        top.set_title(rf"$\alpha = {alpha:g}$")
        f, power = array(radial.frequency)[2:], array(radial.power)[2:]
        bottom.plot(f, power / power[len(f) // 3], color=colour, linewidth=2.5)
        scale_axes(bottom, "xy")
        bottom.set_xlabel("cycles per pixel")
    axes[1, 0].set_ylabel("relative power")
    return figure


def radial_spectra(
    spectra: Mapping[str, RadialSpectrum],
    *,
    laws: Mapping[str, PowerLaw] | None = None,
    frame: float = NYQUIST,
) -> Figure:
    """Mean radial spectra in log-log coordinates, relative to their mean power, with fitted lines.

    Args:
        spectra: name -> spectrum with one curve.
        laws: name -> fit, drawn dashed over the frequencies of that spectrum.
        frame: highest frequency shown.
    """
    lines, fits = {}, {}
    for name, radial in spectra.items():
        f, power, count = (array(v) for v in (radial.frequency, radial.power, radial.count))
        shown = (f > 0) & (f <= frame)
        mean = (power * count)[1:].sum() / count[1:].sum()
        lines[name] = (f[shown], power[shown] / mean)
        if laws and name in laws:
            fits[f"fit {name}"] = (f[shown], laws[name](f[shown]) / mean)
    return curves(lines, xlabel=FREQUENCY, ylabel="power / mean power", log="xy", references=fits)


@styled
def exponents(
    estimates: Mapping[str, tuple[float, tuple[float, float]]], *, claimed: tuple[float, float]
) -> Figure:
    """Exponents with their intervals, one row each, over a claimed range.

    Args:
        estimates: name -> (exponent, (low, high)).
        claimed: range shaded behind the points.
    """
    figure, ax = plt.subplots(figsize=(6.2, 0.42 * len(estimates) + 1.2))
    ax.axvspan(*claimed, color="#0072B2", alpha=0.12, linewidth=0)
    for row, (alpha, (low, high)) in enumerate(estimates.values()):
        ax.plot((low, high), (row, row), color="#333333", linewidth=1.6)
        ax.plot(alpha, row, "o", color=COLOURS[1], markersize=7)
    ax.set_yticks(range(len(estimates)), labels=list(estimates))
    ax.invert_yaxis()
    ax.set_xlabel(r"exponent $\alpha$ of $1 / f^{\alpha}$")
    return figure


@styled
def orientations(laws: Mapping[str, OrientedPowerLaw], *, frequency: float = 0.1) -> Figure:
    """Power at one frequency and the exponent, against orientation.

    Args:
        laws: name -> fit by orientation.
        frequency: where the fitted power is compared, cycles per pixel.
    """
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(6.2, 5.2), sharex=True)
    for law in laws.values():
        degrees = np.rad2deg(np.append(law.theta, np.pi))
        level = 10 * np.log10(law.power(frequency) / law.power(frequency).mean())
        top.plot(degrees, np.append(level, level[0]), marker="o", markersize=4)
        bottom.plot(degrees, np.append(law.exponent, law.exponent[0]), marker="o", markersize=4)
    top.set(ylabel=f"power at f = {frequency:g} (dB)", xticks=np.arange(0, 181, 45))
    bottom.set(ylabel=r"exponent $\alpha$", xlabel="orientation of the frequency (degrees)")
    label_ends(top, list(laws))
    return figure


@styled
def profiles(shares: Mapping[str, Any], bands: Bands) -> Figure:
    """Share of the power in each band, one line per data set, logarithmic.

    Args:
        shares: name -> pi, ``(B,)``.
        bands: the partition they belong to.
    """
    figure, ax = plt.subplots()
    for share in shares.values():
        ax.plot(bands.frequency, array(share), marker="o", markersize=5)
    ax.plot(bands.frequency, bands.count / bands.count.sum(), "--", color="#666666")
    ax.set(yscale="log", xlabel=f"band centre, {FREQUENCY}", ylabel="share of the power")
    label_ends(ax, [*shares, "white noise"])
    return figure


@styled
def arc_fraction(r: Any, closed_form: Any, counted: Any) -> Figure:
    """How much of the circle of radius r lies inside the square frequency plane."""
    figure, ax = plt.subplots(figsize=(6.2, 3.2))
    ax.plot(array(r)[::5], array(counted)[::5], "o", color=COLOURS[1], markersize=5)
    ax.plot(array(r), array(closed_form), color=COLOURS[0])
    ax.set(xlabel="normalised radius r", ylabel="share of the circle", ylim=(-0.03, 1.08))
    mark(ax, "edge of the plane", 0.5**0.5)
    return figure


@styled
def step_series(x: Any, partial_sums: Mapping[str, Any], coefficients: Any) -> Figure:
    """A step, its Fourier sums, and the size of its coefficients.

    Args:
        x: positions in one period.
        partial_sums: name -> values at x; the first is the step itself.
        coefficients: amplitude of the n-th odd sine, from n = 1.
    """
    figure, (left, right) = plt.subplots(2, 1, figsize=(6.2, 5.4), height_ratios=(1.3, 1))
    for name, colour in zip(partial_sums, ("#999999", *COLOURS), strict=False):
        left.plot(array(x), array(partial_sums[name]), color=colour, linewidth=1.8)
    label_ends(left, list(partial_sums), gap=0.12)
    left.set(xlabel="position (periods)", ylabel="value")
    n = np.arange(1, 2 * len(array(coefficients)), 2)
    right.stem(n, array(coefficients), basefmt=" ")
    right.set(xlabel="harmonic n", ylabel="coefficient", xticks=n)
    return figure


@styled
def aliasing(times: Any, wave: Any, samples: tuple[Any, Any], apparent: Any) -> Figure:
    """A sinusoid, the samples taken of it, and the slower one that fits them as well.

    Args:
        times: fine grid of positions, pixels.
        wave: the signal on that grid.
        samples: positions and values of the samples.
        apparent: the folded sinusoid on the fine grid.
    """
    figure, ax = plt.subplots(figsize=(6.2, 3.2))
    ax.plot(array(times), array(wave), color="#999999", linewidth=1.4)
    ax.plot(array(times), array(apparent), color=COLOURS[1])
    ax.plot(array(samples[0]), array(samples[1]), "o", color=COLOURS[0], markersize=7, zorder=3)
    ax.set(xlabel="position (pixels)", ylabel="value", ylim=(-1.25, 1.25))
    label_ends(ax, ["scene", "what the\nsamples show"], gap=0.2)
    return figure
