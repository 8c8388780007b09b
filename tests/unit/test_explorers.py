"""Explorers: a grid of pictures that a browser walks without a kernel, and live figures with one."""

import base64
import html
import io
import itertools
import re
from collections.abc import Iterator
from typing import Any

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from spectralbook import explorers

ALT = 'Field of exponent <{alpha}> & "{window}" window'
ALPHA, WINDOW = [0.0, 1.0, 2.5], ["Hann", "none"]


class Draw:
    """Draws a bar as high as alpha, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, **state: Any) -> Figure:
        self.calls.append(state)
        figure, ax = plt.subplots(figsize=(2, 1.5))
        ax.bar(0, 1 + float(state.get("alpha", 0)))
        ax.set(ylim=(0, 5), title=state.get("window", ""))
        return figure


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has the page for itself, and leaves no figure to pyplot."""
    monkeypatch.delenv("FANS_STATIC", raising=False)
    widgets.Widget.close_all()
    yield
    assert plt.get_fignums() == []


class Picture:
    """An HTML image: its description and what it shows."""

    def __init__(self, source: str) -> None:
        form = r'<img alt="([^"<>]*)" src="data:image/png;base64,([\w+/=]+)" style="[^"<>]*">'
        found = re.fullmatch(form, source)
        assert found, source[:200]
        self.alt, self.png = html.unescape(found[1]), base64.b64decode(found[2])


class Browser:
    """Walks the saved state of a page as a browser without a kernel does: links are all that acts."""

    def __init__(self, page: widgets.VBox) -> None:
        models = widgets.Widget.get_manager_state()["state"]
        self.models = {name: dict(model["state"]) for name, model in models.items()}
        *self.controls, self.view = self.children(page.model_id)

    def children(self, name: str) -> list[str]:
        return [child.removeprefix("IPY_MODEL_") for child in self.models[name]["children"]]

    def choose(self, *indices: int) -> Picture:
        """Set the controls, and return the picture in view."""
        for control, index in zip(self.controls, indices, strict=True):
            self.models[control]["index"] = index
            for link in self.models.values():
                if link["_model_name"] == "LinkModel" and link["source"] == [f"IPY_MODEL_{control}", "index"]:
                    target, trait = link["target"]
                    self.models[target.removeprefix("IPY_MODEL_")][trait] = index
        name = self.view
        while self.models[name]["_model_name"] == "StackModel":
            name = self.children(name)[self.models[name]["selected_index"]]
        return Picture(self.models[name]["value"])


# ---------------------------------------------------------------- without a kernel


def test_one_control_walks_its_pictures() -> None:
    draw = Draw()
    page = explorers.explorer(draw, alt="exponent {alpha}", static=True, alpha=ALPHA)
    assert draw.calls == [{"alpha": alpha} for alpha in ALPHA]
    browser = Browser(page)
    for index in (2, 0, 1):
        assert browser.choose(index).alt == f"exponent {ALPHA[index]}"
    assert len({browser.choose(i).png for i in range(3)}) == 3


def test_two_controls_walk_the_grid() -> None:
    draw = Draw()
    page = explorers.explorer(draw, alt=ALT, static=True, alpha=ALPHA, window=WINDOW)
    assert draw.calls == [{"alpha": a, "window": w} for a, w in itertools.product(ALPHA, WINDOW)]
    browser = Browser(page)
    seen = set()
    for i, j in [(1, 1), (0, 0), (2, 1), (1, 0), (2, 0), (0, 1)]:
        picture = browser.choose(i, j)
        assert picture.alt == ALT.format(alpha=ALPHA[i], window=WINDOW[j])
        seen.add(picture.png)
    assert len(seen) == 6, "every state has its own picture"


def test_a_page_without_links_would_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk above rests on the links, not on Python's side of the widgets."""
    monkeypatch.setattr(explorers.widgets, "jslink", lambda *_: None)
    page = explorers.explorer(Draw(), alt="exponent {alpha}", static=True, alpha=ALPHA)
    assert Browser(page).choose(2).alt == "exponent 0.0"


def test_descriptions_are_escaped() -> None:
    page = explorers.explorer(Draw(), alt=ALT, static=True, alpha=[0, 1], window=['a"b', "<i>"])
    source = page.children[-1].children[0].children[0].value
    assert 'alt="Field of exponent &lt;0&gt; &amp; &quot;a&quot;b&quot; window"' in source
    assert Browser(page).choose(1, 1).alt == 'Field of exponent <1> & "<i>" window'


def test_numbers_become_a_slider_and_strings_a_menu() -> None:
    page = explorers.explorer(
        Draw(), alt=ALT, labels={"alpha": "exponent"}, static=True, alpha=ALPHA, window=WINDOW
    )
    slider, menu, _ = page.children
    assert isinstance(slider, widgets.SelectionSlider) and isinstance(menu, widgets.Dropdown)
    assert (slider.description, menu.description) == ("exponent", "window")
    assert [label for label, _ in slider.options] == ["0", "1", "2.5"]
    assert [label for label, _ in menu.options] == WINDOW


# ---------------------------------------------------------------- with a kernel


def test_every_move_draws_anew() -> None:
    draw = Draw()
    page = explorers.explorer(draw, alt=ALT, static=False, alpha=[0.0, 1.0, 2.0], window=WINDOW)
    slider, menu, shown = page.children
    assert draw.calls == [{"alpha": 0.0, "window": "Hann"}]
    pictures = [shown.value]
    for move in (lambda: setattr(slider, "value", 1.3), lambda: setattr(menu, "value", "none")):
        move()
        pictures.append(shown.value)
    assert draw.calls[1:] == [{"alpha": 1.3, "window": "Hann"}, {"alpha": 1.3, "window": "none"}]
    assert len({Picture(p).png for p in pictures}) == 3
    assert [Picture(p).alt for p in pictures] == [ALT.format(**state) for state in draw.calls]
    menu.value = "none"
    assert len(draw.calls) == 3, "no move, no drawing"


def test_the_live_slider_is_finer_than_the_grid() -> None:
    slider = explorers.explorer(Draw(), alt="{alpha}", static=False, alpha=[0.0, 0.5, 1.0]).children[0]
    assert isinstance(slider, widgets.FloatSlider)
    assert (slider.min, slider.max, slider.step) == (0, 1, 0.05)
    assert not slider.continuous_update, "a drag does not queue drawings"


def test_uneven_numbers_keep_their_places() -> None:
    draw = Draw()
    slider = explorers.explorer(draw, alt="{alpha}", static=False, alpha=ALPHA).children[0]
    assert isinstance(slider, widgets.SelectionSlider)
    slider.index = 2
    assert draw.calls[-1] == {"alpha": 2.5}


@pytest.mark.parametrize(("variable", "drawn"), [("1", 3), ("", 1), (None, 1)])
def test_the_environment_decides_by_default(
    variable: str | None, drawn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv("FANS_STATIC", variable)
    draw = Draw()
    explorers.explorer(draw, alt="{alpha}", alpha=ALPHA)
    assert len(draw.calls) == drawn
    for static, count in ((True, 3), (False, 1)):  # said outright, it does not ask
        draw = Draw()
        explorers.explorer(draw, alt="{alpha}", static=static, alpha=ALPHA)
        assert len(draw.calls) == count


@pytest.mark.parametrize("static", [True, False])
@pytest.mark.parametrize(
    "controls",
    [{}, {"a": [1.0]}, {"a": []}, {"a": [1, 2], "b": ["x"]}, {"a": [1, 2], "b": [1, 2], "c": [1, 2]}],
    ids=str,
)
def test_other_numbers_of_controls_or_values_are_refused(controls: dict[str, Any], static: bool) -> None:
    draw = Draw()
    with pytest.raises(ValueError, match="one or two controls with two values or more each"):
        explorers.explorer(draw, alt="", static=static, **controls)
    assert draw.calls == []


# ---------------------------------------------------------------- pictures


def test_palette_png_is_small_and_true() -> None:
    def noisy() -> Figure:
        figure, ax = plt.subplots(figsize=(3, 2))
        ax.imshow(np.random.default_rng(0).random((32, 32)), cmap="gray")
        ax.plot([0, 31], [31, 0], color="#0072B2", linewidth=3)
        return figure

    reference, figure = io.BytesIO(), noisy()
    figure.savefig(reference, format="png", dpi=100)
    plt.close(figure)
    data = explorers.palette_png(noisy())
    with Image.open(io.BytesIO(data)) as picture:
        picture.verify()  # checksums; it has to be opened again
    with Image.open(io.BytesIO(data)) as picture, Image.open(reference) as full:
        assert picture.format == "PNG" and picture.mode == "P" and picture.size == full.size == (300, 200)
        colours, exact, rgb = picture.getcolors(), full.convert("RGB"), io.BytesIO()
        assert colours is not None and len(colours) <= explorers.COLOURS
        exact.save(rgb, "png", optimize=True)
        assert len(data) < 0.7 * len(rgb.getvalue())
        error = np.abs(np.asarray(picture.convert("RGB"), float) - np.asarray(exact, float))
    # 48 colours for 256 grays and a line: about five levels apart, half of that on average.
    assert error.mean() < 4


def test_dpi_and_colours_are_followed() -> None:
    figure = Figure(figsize=(2, 1))
    figure.text(0.1, 0.5, "text")
    with Image.open(io.BytesIO(explorers.palette_png(figure, colours=4, dpi=50))) as picture:
        colours = picture.getcolors()
        assert picture.size == (100, 50) and colours is not None and len(colours) <= 4


@pytest.mark.parametrize("alt", ["", "a field", "exponent {beta}", "{alpha} and {beta}"])
def test_descriptions_must_tell_the_pictures_apart(alt: str) -> None:
    with pytest.raises(ValueError, match="name every control"):
        explorers.explorer(Draw(), alt=alt, static=True, alpha=ALPHA)


@pytest.mark.parametrize("values", [[2.0, 1.0, 0.0], [1.0, 1.0], [False, True], [0, 10, 20]])
def test_other_numbers_keep_their_values_with_a_kernel(values: list[Any]) -> None:
    draw = Draw()
    slider = explorers.explorer(draw, alt="{alpha}", static=False, alpha=values).children[0]
    assert isinstance(slider, widgets.SelectionSlider)
    assert [value for _, value in slider.options] == values
