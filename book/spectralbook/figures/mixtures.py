"""Figures of data that are not Gaussian: what samplers lose of them, beside what the linear denoiser does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from spectralbook.figures.base import COLOURS, FREQUENCY, array, styled


@styled
def loss_panels(panels: Mapping[str, Mapping[str, Any]], frequency: Any) -> Figure:
    """Errors of band power in dB, one panel for each process or data set.

    Args:
        panels: title -> name -> values, ``(B,)``; the same names in all panels. The first is drawn dashed, in
            gray.
        frequency: middles of the bands, cycles per pixel, ``(B,)``.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(6.2, 3.4), sharey=True, squeeze=False)
    for ax, (title, lines) in zip(axes[0], panels.items(), strict=True):
        for i, (name, values) in enumerate(lines.items()):
            style = {"color": "#666666", "linestyle": "--"} if i == 0 else {"color": COLOURS[i - 1]}
            ax.plot(array(frequency), array(values), label=name, **style)
        ax.axhline(0, color="#888888", linewidth=0.8)
        ax.set(title=title, xlabel=FREQUENCY)
    axes[0, 0].set_ylabel("error of the power (dB)")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=10, frameon=False)
    return figure
