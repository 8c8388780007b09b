"""Sliders over figures: computed live with a kernel, drawn beforehand without one.

The same cell serves both. Where a kernel runs, every move of a control draws the figure anew. When the
book is built (``FANS_STATIC=1``), all combinations are drawn once and the controls, linked in the
browser, choose among them: the page needs neither a kernel nor a network.
"""

from __future__ import annotations

import base64
import html
import io
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from string import Formatter
from typing import Any

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

Value = float | str
COLOURS = 128  # per picture: enough for a gray image and six curves, at a third of the bytes of RGB


def explorer(
    draw: Callable[..., Figure],
    *,
    alt: str,
    labels: Mapping[str, str] | None = None,
    static: bool | None = None,
    **controls: Sequence[Value],
) -> widgets.VBox:
    """Put one or two controls above a figure.

    Args:
        draw: called with one keyword per control, returns a figure of constant size.
        alt: description of the picture for readers who cannot see it, a format string over the
            controls, such as ``"field with exponent {alpha}"``.
        labels: text beside each control, its keyword unless given.
        static: draw every combination now; by default True if the variable ``FANS_STATIC`` is set.
        **controls: one or two sequences of values. Numbers become a slider, strings a menu; with a
            kernel, floats that rise evenly become a slider ten times as fine.

    Returns:
        The widget; a notebook shows it when it is the last line of a cell.

    Raises:
        ValueError: unless there are one or two controls with at least two values each, all of which the
            description names.
    """
    if not 1 <= len(controls) <= 2 or any(len(values) < 2 for values in controls.values()):
        raise ValueError("an explorer has one or two controls with two values or more each")
    fields = {field for _, field, _, _ in Formatter().parse(alt) if field is not None}
    if fields != set(controls):
        raise ValueError(
            f"alt={alt!r} must tell the pictures apart: name every control, {{{'}, {'.join(controls)}}}"
        )
    names = {name: (labels or {}).get(name, name) for name in controls}
    if os.environ.get("FANS_STATIC") if static is None else static:
        return _static(draw, alt, names, controls)
    return _live(draw, alt, names, controls)


def _static(
    draw: Callable[..., Figure],
    alt: str,
    names: Mapping[str, str],
    controls: Mapping[str, Sequence[Value]],
) -> widgets.VBox:
    layout = widgets.Layout(width="100%")
    choosers = [_menu(names[name], values) for name, values in controls.items()]
    pictures = [
        widgets.HTML(_img(draw, alt, dict(zip(controls, state, strict=True))), layout=layout)
        for state in itertools.product(*controls.values())
    ]
    inner = choosers[-1]
    step = len(inner.options)
    rows = [
        widgets.Stack(pictures[i : i + step], selected_index=0, layout=layout)
        for i in range(0, len(pictures), step)
    ]
    for row in rows:
        widgets.jslink((inner, "index"), (row, "selected_index"))
    if len(choosers) == 1:
        return widgets.VBox([inner, rows[0]])
    outer = widgets.Stack(rows, selected_index=0, layout=layout)
    widgets.jslink((choosers[0], "index"), (outer, "selected_index"))
    return widgets.VBox([*choosers, outer])


def _live(
    draw: Callable[..., Figure],
    alt: str,
    names: Mapping[str, str],
    controls: Mapping[str, Sequence[Value]],
) -> widgets.VBox:
    choosers = {name: _slider(names[name], values) for name, values in controls.items()}
    picture = widgets.HTML(layout=widgets.Layout(width="100%"))

    def update(_: object = None) -> None:
        picture.value = _img(draw, alt, {name: chooser.value for name, chooser in choosers.items()})

    for chooser in choosers.values():
        chooser.observe(update, names="value")
    update()
    return widgets.VBox([*choosers.values(), picture])


def _menu(label: str, values: Sequence[Value]) -> Any:
    options = [(f"{v:g}" if isinstance(v, float | int) else str(v), v) for v in values]
    kind = widgets.Dropdown if isinstance(values[0], str) else widgets.SelectionSlider
    return kind(options=options, description=label, style={"description_width": "initial"})


def _slider(label: str, values: Sequence[Value]) -> Any:
    if not all(isinstance(v, float) for v in values) or not _rises_evenly(values):
        return _menu(label, values)
    return widgets.FloatSlider(
        value=values[0],
        min=values[0],
        max=values[-1],
        step=(float(values[1]) - float(values[0])) / 10,
        description=label,
        continuous_update=False,
        style={"description_width": "initial"},
    )


def _rises_evenly(values: Sequence[Any]) -> bool:
    steps = np.diff(values)
    return bool(steps[0] > 0 and np.ptp(steps) < 1e-9)


def _img(draw: Callable[..., Figure], alt: str, state: dict[str, Any]) -> str:
    figure = draw(**state)
    data = base64.b64encode(palette_png(figure)).decode()
    text = html.escape(alt.format(**state), quote=True)
    return f'<img alt="{text}" src="data:image/png;base64,{data}" style="max-width: 100%; height: auto">'


def palette_png(figure: Figure, *, colours: int = COLOURS, dpi: int = 100) -> bytes:
    """The figure as a PNG of few colours; closes the figure."""
    raw, small = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png", dpi=dpi)
    plt.close(figure)
    with Image.open(raw) as picture:
        # The octree keeps grays gray and thin curves in colour; a median cut merges the two.
        few = picture.convert("RGB").quantize(colours, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        few.save(small, "png", optimize=True)
    return small.getvalue()
