"""Figures: of constant size, inside their canvas, told apart by the colour-blind, without side effects."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from scipy.optimize import lsq_linear
from skimage.color import deltaE_ciede2000, rgb2lab

from fans import spectrum
from spectralbook import figures
from spectralbook.figures.base import label_ends, spread

TERMS = ("sampler", "gain", "stray")
METHODS = ("nearest", "bilinear", "zeros", "shuffle")
NAMES = ("photographs", "white noise", "galaxies", "α = 2")
KINDS: dict[str, Callable[[Any], Any]] = {"numpy": np.asarray, "torch": torch.tensor}


@dataclass(frozen=True)
class Data:
    """Images, curves and fits as the book has them; sizes are fixed, values follow the seed."""

    images: Any  # (8, 3, 32, 32)
    plane: Any  # power of the first channel
    radial: spectrum.RadialSpectrum
    law: spectrum.PowerLaw
    oriented: spectrum.OrientedPowerLaw
    shares: Any
    f: Any
    unit: Any  # positions in [0, 1]
    wave: Any  # values in [-1, 1] there
    gain: Any  # values in [0, 1], one for each frequency
    power: Any
    levels: Any  # decibels, one row for each name
    maps: Any  # decibels over time and frequency, two of them


BANDS = spectrum.radial_bands((32, 32), 5)


@cache
def data(kind: str = "numpy", seed: int = 0) -> Data:
    rng = np.random.default_rng(seed)
    to, scale = KINDS[kind], 30.0**seed
    x = rng.standard_normal((8, 3, 32, 32)).cumsum(-1).cumsum(-2)
    x *= scale / np.abs(x).max()
    radial = spectrum.radial_spectrum(x, window="hann").mean()
    f = np.geomspace(0.02, 0.5, 30)
    return Data(
        images=to(x),
        plane=to(spectrum.power_spectrum(x[0, 0], window="hann")),
        radial=replace(
            radial, **{name: to(getattr(radial, name)) for name in ("frequency", "power", "count")}
        ),
        law=spectrum.fit_power_law(radial),
        oriented=spectrum.fit_oriented_power_law(x, sectors=8),
        shares=to(spectrum.band_power(x, BANDS)),
        f=to(f),
        unit=to(np.linspace(0, 1, 101)),
        wave=to(np.sin(2 * np.pi * (1 + seed) * np.linspace(0, 1, 101))),
        gain=to(1 / (1 + scale * f)),
        power=to(scale * f**-2.0),
        levels=to(20 * rng.standard_normal((4, 30))),
        maps=to(60 * np.sort(rng.standard_normal((2, 20, 30)))),
    )


FIGURES: dict[str, Callable[[Data], Figure]] = {
    "accuracies": lambda d: figures.accuracies(
        {title: dict.fromkeys(NAMES, (0.8, 0.7, 0.8 + 0.2 * d.law.r2)) for title in ("spectrum", "tail fit")},
        floors=dict.fromkeys(("spectrum", "tail fit"), d.gain[:4]),
    ),
    "adapter_view": lambda d: figures.adapter_view(
        d.power, d.power / 2, d.power[:4], {"A": float(d.gain[9]), "B": 0.5}, most=1.0
    ),
    "against_law": lambda d: figures.against_law(
        {name: (float(d.gain[9]), d.gain[:7], d.gain[:7] / 20) for name in NAMES[:3]},
        xlabel="layer of this size",
        ylabel="correlation",
    ),
    "aliasing": lambda d: figures.aliasing(40 * d.unit, d.wave, (40 * d.unit[::10], d.wave[::10]), -d.wave),
    "arc_fraction": lambda d: figures.arc_fraction(d.unit, d.unit, d.wave**2),
    "band_levels": lambda d: figures.band_levels(
        dict(zip(NAMES, d.levels[:, :5], strict=True)),
        BANDS,
        dashed={"equal": d.levels[0, 5:10]},
        limits=(-50, 50),
        title="no Markov chain",
    ),
    "band_maps": lambda d: figures.band_maps(
        {"photographs": d.maps[0][:, 13:18], "PLTB": d.maps[1][:, 13:18]}, BANDS
    ),
    "before_and_after": lambda d: figures.before_and_after(
        dict.fromkeys(NAMES, (30.0 * d.law.r2, 2.0)),
        names=("uniform", "equal angle"),
        xlabel="error (dB)",
    ),
    "correlation_view": lambda d: figures.correlation_view(
        abs(d.images[0, 0]) / d.power.max(),
        (np.geomspace(4, 128, 30), d.gain),
        at=64,
        title="k = 11, d = 128: neighbours correlate by 0.976",
    ),
    "curves": lambda d: figures.curves(
        {name: (d.f, d.power * (i + 1)) for i, name in enumerate(NAMES)},
        xlabel="frequency (cycles per pixel)",
        ylabel="power",
        log="xy",
        dashed={"a reference": (d.f, d.power)},
        references={"fit": (d.f, 2 * d.power)},
        verticals={"edge of the plane": 0.5},
    ),
    "decibel_curves": lambda d: figures.decibel_curves(dict(zip(NAMES, d.levels, strict=True)), d.f),
    "denoising_view": lambda d: figures.denoising_view(
        d.images[0, 0], d.images[1, 0], d.f, {"data": d.power, "noisy": 2 * d.power, "denoised": d.power}
    ),
    "error_terms": lambda d: figures.error_terms(
        {name: {term: d.levels[:3, 5 * i : 5 * i + 5] for i, term in enumerate(TERMS)} for name in NAMES},
        BANDS.edges,
    ),
    "exponents": lambda d: figures.exponents(
        {name: (d.law.exponent, d.law.interval()) for name in NAMES}, claimed=(1, 3)
    ),
    "field_and_spectrum": lambda d: figures.field_and_spectrum(d.images[0, :1], d.radial, d.law, 2.0),
    "fields_over_spectra": lambda d: figures.fields_over_spectra(
        dict.fromkeys((0.0, 1.0, 2.5), d.images[0, 0]), dict.fromkeys((0.0, 1.0, 2.5), d.radial)
    ),
    "frequency_maps": lambda d: figures.frequency_maps(
        dict.fromkeys(("free filter", "kernel", "3 × 3 of its taps"), d.plane), label="magnitude / maximum"
    ),
    "lag_curves": lambda d: figures.lag_curves(
        d.f,
        dict(zip(NAMES, d.levels, strict=True)),
        dict.fromkeys(NAMES, (d.gain, d.gain / 10)),
        ylabel="corr",
    ),
    "layer_responses": lambda d: figures.layer_responses(
        d.f, {f"d = {n}": d.gain for n in (8, 16, 32, 64)}, (0.0625, 0.125, 0.25, 0.5)
    ),
    "gate_view": lambda d: figures.gate_view(
        d.images[0, 0], d.unit[20:24], d.f, {"ideal": d.power, "gated": 2 * d.power}, limits=(1e-5, 1e5)
    ),
    "gates_over_time": lambda d: figures.gates_over_time(
        dict.fromkeys(("down 0", "up 0", "up 1"), d.unit[:96].reshape(6, 4, 4) * d.gain[0]), d.unit[:6]
    ),
    "intervals": lambda d: figures.intervals(
        {name: {"gates": (0.1, -0.2, 0.4), "loss": (float(d.gain[9]), 0.5, 50.0)} for name in NAMES},
        xlabel="change of the FD (dB)",
        limits=(-10, 10),
    ),
    "league": lambda d: figures.league(
        {
            title: dict.fromkeys(NAMES, (d.power[:3], 2 * d.power[3:6]))
            for title in ("PLTB", "EGM", "rings", "grass")
        },
        xlabel="FD, scattering",
        names=("in pixels", "preconditioned"),
        floors=dict.fromkeys(("PLTB", "EGM", "rings", "grass"), float(d.power[10])),
    ),
    "missing_and_added": lambda d: figures.missing_and_added(
        {
            title: {
                name: (d.levels[:3, 5 * i : 5 * i + 5], d.levels[:3, 20 + i] if peaks else None)
                for i, name in enumerate(METHODS)
            }
            for title, peaks in (("Generator alone", True), ("Discriminator alone", False))
        },
        BANDS.frequency,
    ),
    "noise_rows": lambda d: figures.noise_rows(
        {"photographs": d.images[:4, 0], "PLTB": d.images[4:, 0]}, ["t = T", "3T/4", "T/2", "T/4"]
    ),
    "loss_panels": lambda d: figures.loss_panels(
        {t: {n: row[:8] for n, row in zip(NAMES, d.levels, strict=True)} for t in ("white", "EqualSNR")},
        d.f[:8],
    ),
    "loss_shares": lambda d: figures.loss_shares(d.shares, BANDS, title="flat for α = −1"),
    "option_dots": lambda d: figures.option_dots(
        {name: dict(zip(METHODS, d.gain[i : i + 4] * 10, strict=True)) for i, name in enumerate(NAMES)},
        xlabel="error (dB)",
        limits=(0.01, 20),
    ),
    "orientations": lambda d: figures.orientations(dict.fromkeys(NAMES, d.oriented)),
    "pictures": lambda d: figures.pictures(
        list(d.images[:4]), ["all", "f < 0.05", "0.05 to 0.2", "f > 0.2"], columns=2
    ),
    "profiles": lambda d: figures.profiles(dict.fromkeys(NAMES, d.shares), BANDS),
    "progress": lambda d: figures.progress(
        {name: ((150, 450, 1350), (i + 1) * d.power[:9].reshape(3, 3)) for i, name in enumerate(NAMES)},
        xlabel="training steps",
        ylabel="FD, scattering",
        floor=float(d.power[-1]),
    ),
    "radial_spectra": lambda d: figures.radial_spectra(
        dict.fromkeys(NAMES, d.radial), laws={NAMES[0]: d.law}
    ),
    "rectified": lambda d: figures.rectified(
        64 * d.unit,
        {"cosine": d.wave, "rectified": d.wave.clip(0)},
        {
            name: (d.f[i : i + 5] * 60, d.gain[i : i + 5])
            for i, name in enumerate(("its own", "harmonics", "folded"))
        },
    ),
    "remedies": lambda d: figures.remedies(
        {
            title: {f"nearest, {name}": d.levels[i, :3] for i, name in enumerate(NAMES)}
            for title in ("FD (dB)", "error (dB)", "detected")
        },
        floors={"FD (dB)": float(d.levels[0, 9]), "error (dB)": 0.5, "detected": 0.5},
    ),
    "repairs": lambda d: figures.repairs(
        dict(zip(NAMES, d.levels[:, :5], strict=True)), BANDS, before=d.levels[0, 5:10], limits=(-50, 50)
    ),
    "scheduler_map": lambda d: figures.scheduler_map(
        {f"{name} {i}": row for i in range(8) for name, row in zip(NAMES, d.levels / 4, strict=True)}, d.f
    ),
    "schedule_view": lambda d: figures.schedule_view(d.maps[0], d.f, {"t = 100": d.gain, "t = 400": d.gain}),
    "shaping_view": lambda d: figures.shaping_view(
        d.maps[0][:, 13:18],
        BANDS,
        d.images[0, 0],
        d.maps[1],
        d.f,
        rises=(d.unit[40:60], d.unit[40:60]),
        title="no Markov chain",
    ),
    "shares_and_densities": lambda d: figures.shares_and_densities(dict.fromkeys(NAMES, d.shares), BANDS),
    "singular_spectra": lambda d: figures.singular_spectra(
        dict.fromkeys(NAMES, (d.power, d.power / 2, d.power[:4]))
    ),
    "spectrum_beside": lambda d: figures.spectrum_beside(d.images[0], d.plane),
    "step_series": lambda d: figures.step_series(
        d.unit, {"step": d.wave, "1 term": 2 * d.wave, "9 terms": d.unit}, 1 / (1 + d.unit[:9])
    ),
    "subbands": lambda d: figures.subbands(
        d.images[0, 0], (d.images[1, 0, :8, :8], [d.images[1, :, :8, :8], d.images[2, :, :16, :16]])
    ),
    "time_maps": lambda d: figures.time_maps(
        {"white noise": d.maps[0], "edge": d.maps[1]}, d.f, label="SNR (dB)"
    ),
    "trainings": lambda d: figures.trainings(
        {name: (d.power[None, :20] * (i + 1), d.power[None, :20]) for i, name in enumerate(NAMES)}
    ),
    "upsampling_view": lambda d: figures.upsampling_view(
        d.images[:2, 0], {"wanted": d.radial, "bilinear": d.radial}, title="bilinear, data with power 1/f^3"
    ),
    "which_term": lambda d: figures.which_term(
        dict.fromkeys(NAMES, (d.power[:12].reshape(4, 3), d.power[12:24].reshape(4, 3))),
        (50, 150, 450, 1350),
        (5, 20, 100),
    ),
}
every_figure = pytest.mark.parametrize("name", FIGURES)
seeds = pytest.mark.parametrize("seed", [0, 1])


@contextmanager
def drawn_texts() -> Iterator[list[tuple[str, Bbox]]]:
    """What is really drawn: axes keep labels of ticks that are out of view."""
    seen: list[tuple[str, Bbox]] = []
    draw = Text.draw

    def draw_and_note(self: Text, renderer: Any, *args: Any, **kwargs: Any) -> None:
        if self.get_visible() and self.get_text().strip():
            seen.append((self.get_text(), Text.get_window_extent(self, renderer)))
        draw(self, renderer, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", draw_and_note)
        yield seen


@dataclass(frozen=True)
class Page:
    """A figure as drawn, without a trace in the settings or in pyplot's list of figures."""

    pixels: np.ndarray
    canvas: Bbox
    texts: list[tuple[str, Bbox]]

    def outside(self) -> list[str]:
        """Texts that reach beyond the canvas, by more than the pixel that glyphs are rounded to."""
        (x0, y0), (x1, y1) = self.canvas.min - 1, self.canvas.max + 1
        return [t for t, b in self.texts if b.x0 < x0 or b.y0 < y0 or b.x1 > x1 or b.y1 > y1]

    def touching(self) -> list[tuple[str, str]]:
        """Pairs of texts that overlap by more than the room for accents that boxes of lines have."""
        boxes = [(t, Bbox.from_extents(b.x0 + 1, b.y0 + 2, b.x1 - 1, b.y1 - 2)) for t, b in self.texts]
        return [(s, t) for (s, a), (t, b) in itertools.combinations(boxes, 2) if a.overlaps(b)]


def drawn(figure: Figure) -> Page:
    canvas = FigureCanvasAgg(figure)
    with drawn_texts() as texts:
        canvas.draw()
    return Page(np.array(canvas.buffer_rgba()), figure.bbox, texts)


@cache
def page(name: str, kind: str = "numpy", seed: int = 0) -> Page:
    given, before = data(kind, seed), dict(matplotlib.rcParams)
    figure = FIGURES[name](given)
    assert isinstance(figure, Figure)
    assert dict(matplotlib.rcParams) == before and plt.get_fignums() == [], "a trace is left"
    return drawn(figure)


def test_traces_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def untidy(_: Data) -> Figure:
        return plt.figure()

    monkeypatch.setitem(FIGURES, "untidy", untidy)
    with pytest.raises(AssertionError, match="a trace is left"):
        page("untidy")
    plt.close()


def test_every_figure_is_tested() -> None:
    assert set(FIGURES) == set(figures.__all__) - {"COLOURS", "STYLE", "styled"}


@every_figure
def test_size_does_not_follow_the_data(name: str) -> None:
    first, second = page(name), page(name, seed=1)
    assert first.pixels.shape == second.pixels.shape and (first.pixels != second.pixels).any()
    assert (first.pixels[..., 3] == 255).all(), "opaque, to be legible on a dark page"


@every_figure
def test_arrays_and_tensors_give_the_same_figure(name: str) -> None:
    assert (page(name).pixels == page(name, "torch").pixels).all()


@every_figure
@seeds
def test_text_is_inside_the_canvas_and_apart(name: str, seed: int) -> None:
    found = page(name, seed=seed)
    assert found.texts and found.outside() == [] and found.touching() == []


def test_texts_outside_or_on_each_other_are_found() -> None:
    figure = Figure(figsize=(4, 3))
    for x, y, text in [(0.2, 0.5, "one"), (0.22, 0.5, "two"), (0.97, 0.2, "beyond"), (0.6, 0.6, "fine")]:
        figure.text(x, y, text)
    assert drawn(figure).outside() == ["beyond"] and drawn(figure).touching() == [("one", "two")]


# ---------------------------------------------------------------- labels

heights = st.lists(st.floats(-1, 2), min_size=1, max_size=8).map(np.array)
gaps = st.floats(0.01, 0.3)


@settings(max_examples=100, deadline=None)
@given(heights=heights, gap=gaps)
def test_spread_keeps_order_and_gaps_and_moves_least(heights: np.ndarray, gap: float) -> None:
    moved = spread(heights, gap)
    order = np.argsort(heights, kind="stable")
    steps = np.diff(moved[order])
    assert (steps >= gap - 1e-12).all()
    # Least squares over the lowest position and the steps, which are bounded from below.
    sums = np.tril(np.ones((len(heights), len(heights))))
    bounds = ([-np.inf] + [gap] * len(steps), np.inf)
    best = sums @ lsq_linear(sums, heights[order], bounds, tol=1e-12).x
    assert np.abs(moved[order] - best).max() < 1e-4  # the solver stops at about the root of its tolerance


@settings(max_examples=50, deadline=None)
@given(heights=heights, gap=gaps)
def test_spread_leaves_alone_what_is_apart(heights: np.ndarray, gap: float) -> None:
    once = spread(heights, gap)
    np.testing.assert_allclose(spread(once, gap), once, atol=1e-12)


@pytest.mark.parametrize("log", ["", "x", "y", "xy"])
def test_labels_are_beside_the_ends_of_their_lines(log: str) -> None:
    figure, ax = plt.subplots()
    x = np.array([1.0, 2.0, 4.0, 8.0])
    ends = {"low": 1.0, "high": 90.0, "middle": 40.0}
    for end in ends.values():
        ax.plot(x, [5.0, 9.0, end, np.nan])  # the last finite point counts
    ax.set(xscale="log" if "x" in log else "linear", yscale="log" if "y" in log else "linear")
    label_ends(ax, list(ends), gap=0.01)
    for text, line, end in zip(ax.texts, ax.get_lines(), ends.values(), strict=True):
        at = ax.transAxes.inverted().transform(ax.transData.transform((4.0, end)))
        assert text.get_text() in ends and text.get_color() == line.get_color()
        assert text.xy[1] == pytest.approx(at[1])  # type: ignore[attr-defined]
    plt.close(figure)


def test_many_lines_that_end_together_are_labelled_apart() -> None:
    lines = {f"line {i}": (np.arange(3.0), np.arange(3.0)) for i in range(7)}
    found = drawn(figures.curves(lines, xlabel="x", ylabel="y"))
    assert found.outside() == [] and found.touching() == []


# ---------------------------------------------------------------- colours

# What is seen without one kind of cone, in linear RGB: Machado, Oliveira and Fernandes (2009), severity 1.
SIMULATED = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}


def least_difference(colours: Sequence[str], vision: str) -> float:
    """Smallest CIEDE2000 difference of two of the colours as seen."""
    rgb = np.array([to_rgb(colour) for colour in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ SIMULATED[vision].T, 0, 1)
    seen = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = rgb2lab(seen[None])[0]
    return min(deltaE_ciede2000(a, b) for a, b in itertools.combinations(lab, 2))


@pytest.mark.parametrize("vision", SIMULATED)
def test_colours_are_told_apart(vision: str) -> None:
    # A difference of 1 is just noticeable side by side; thin lines apart from each other need about ten.
    assert least_difference(figures.COLOURS, vision) > 10


def test_red_and_green_are_found_alike() -> None:
    assert least_difference(("#d62728", "#2ca02c"), "normal") > 50
    assert least_difference(("#d62728", "#2ca02c"), "deuteranopia") < 5


@pytest.mark.parametrize(("images", "titles"), [(2, ()), (2, ("one",)), (1, ("one", "two")), (0, ())])
def test_every_picture_has_a_title(images: int, titles: tuple[str, ...]) -> None:
    message = f"{images} images and {len(titles)} titles: give at least one, and a title for each"
    with pytest.raises(ValueError, match=message):
        figures.pictures([np.zeros((4, 4))] * images, titles)
