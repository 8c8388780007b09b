"""Figures of samplers: what each loses at each frequency, and what options change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from spectralbook.figures.base import COLOURS, FREQUENCY, array, scale_axes, styled

MARKERS = "os^Dv*P"


@styled
def scheduler_map(
    errors: Mapping[str, Any], frequency: Any, *, limits: tuple[float, float] = (-10.0, 10.0)
) -> Figure:
    """Errors in dB of many samplers, a row each, over frequency.

    Args:
        errors: name -> values, ``(F,)``, from top to bottom.
        frequency: cycles per pixel, rising, ``(F,)``.
        limits: range of the colours.
    """
    figure, ax = plt.subplots(figsize=(6.2, 0.225 * len(errors) + 1.2))
    rows = np.stack([array(values) for values in errors.values()])
    shown = ax.pcolormesh(
        array(frequency), np.arange(len(rows)), rows, cmap="PuOr", vmin=limits[0], vmax=limits[1]
    )
    ax.set_yticks(range(len(errors)), labels=list(errors), fontsize=9)
    scale_axes(ax, "x")
    ax.set(xlabel=FREQUENCY, ylim=(len(errors) - 0.5, -0.5))
    ax.grid(False)
    figure.colorbar(shown, ax=ax, label="error of the power (dB)", extend="both", aspect=40)
    return figure


@styled
def option_dots(
    cases: Mapping[str, Mapping[str, float]], *, xlabel: str, limits: tuple[float, float]
) -> Figure:
    """One row for each method and one mark for each option, on a logarithmic axis.

    Args:
        cases: method -> option -> value; not every method has every option.
        xlabel: quantity and unit.
        limits: of the axis; a value outside is drawn at the edge.
    """
    options = list(dict.fromkeys(option for found in cases.values() for option in found))
    figure, ax = plt.subplots(figsize=(6.2, 0.36 * len(cases) + 1.9))
    for option, colour, marker in zip(options, COLOURS, MARKERS, strict=False):
        found = {row: values[option] for row, values in enumerate(cases.values()) if option in values}
        values = np.clip(list(found.values()), *limits)
        ax.plot(values, list(found), marker, color=colour, markersize=7, label=option, clip_on=False)
    ax.set_xlim(*limits)
    scale_axes(ax, "x")
    ax.set_yticks(range(len(cases)), labels=list(cases))
    ax.set(xlabel=xlabel, ylim=(len(cases) - 0.5, -0.5))
    figure.legend(loc="outside upper center", ncols=4, fontsize=10)
    return figure
