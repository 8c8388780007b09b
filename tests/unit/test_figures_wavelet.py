"""Figures of wavelets and of effects show what they are given, at the place where it belongs."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from fans import spectrum
from fans.wavelets import Subbands, dwt2, wavedec2
from spectralbook import figures

N = 16
GRAY, ORANGE = "#777777", figures.COLOURS[1].lower()
# Pictures are kept in double precision; the mosaic is mapped to [0, 1], where mid-gray is 1/2.
ROUNDING = 1e-12

down, across = torch.meshgrid(torch.arange(N), torch.arange(N), indexing="ij")
STRIPES = {  # what only one band answers to, whatever names a package gives to it
    "lh": (-1.0) ** down,
    "hl": (-1.0) ** across,
    "hh": (-1.0) ** (down + across),
}


def picture(ax: Axes) -> np.ndarray:
    return np.asarray(ax.get_images()[0].get_array())


def lit(figure: Figure) -> set[str]:
    """Quadrants of the mosaic that are not mid-gray, by the names written into them."""
    ax = figure.axes[1]
    mosaic, half = picture(ax), len(picture(ax)) // 2
    named = {text.get_text(): (text.get_position()[1], text.get_position()[0]) for text in ax.texts}
    found = set()
    for name, (y, x) in named.items():
        rows, columns = (slice(half * int(v > half), half * (1 + int(v > half))) for v in (y, x))
        if name != "LL" and np.ptp(mosaic[rows, columns]) > ROUNDING:
            found.add(name.lower())
    return found


# ---------------------------------------------------------------- bands


@pytest.mark.parametrize("band", STRIPES)
def test_each_band_is_under_its_name(band: str) -> None:
    x = 10 + STRIPES[band] * torch.linspace(1, 2, N // 2).repeat_interleave(2).double()
    x = x + torch.linspace(0, 1, N // 2).repeat_interleave(2)  # neither of them changes within a pair
    ll, *details = dwt2(x)
    assert lit(figures.subbands(x, (ll, [details]))) == {band}


def test_two_levels_fill_the_mosaic() -> None:
    x = torch.randn(N, N, generator=torch.Generator().manual_seed(0)).double()
    pyramid = wavedec2(x, level=2)
    mosaic = picture(figures.subbands(x, pyramid).axes[1])
    assert mosaic.shape == (N, N)
    hl = pyramid.details[1].hl.numpy()
    expected = np.clip(0.5 + hl / hl.std() / 10, 0, 1)  # five deviations on either side
    np.testing.assert_allclose(mosaic[: N // 2, N // 2 :], expected, atol=ROUNDING)
    coarse = pyramid.details[0].lh.numpy()
    expected = np.clip(0.5 + coarse / coarse.std() / 10, 0, 1)
    np.testing.assert_allclose(mosaic[N // 4 : N // 2, : N // 4], expected, atol=ROUNDING)


# ---------------------------------------------------------------- gates


def test_tiles_of_gates_lie_as_the_bands_do() -> None:
    gates = Subbands(0.9, 0.7, 0.3, 0.1)  # type: ignore[arg-type]
    f = np.linspace(0.1, 0.5, 5)
    view = figures.gate_view(np.eye(8), gates, f, {"ideal": f, "gated": 2 * f}, limits=(0.01, 10))
    assert picture(view.axes[1]).tolist() == [[gates.ll, gates.hl], [gates.lh, gates.hh]]
    labels = {tuple(text.get_position()): text.get_text().split("\n") for text in view.axes[1].texts}
    assert labels[1, 0] == ["HL", "0.30"] and labels[0, 1] == ["LH", "0.70"]
    ideal, gated = view.axes[2].get_lines()
    np.testing.assert_array_equal(gated.get_ydata(), 2 * np.asarray(ideal.get_ydata()))


def test_gates_over_time_are_means_over_channels() -> None:
    gates = torch.rand(5, 4, 20, generator=torch.Generator().manual_seed(1)).double()
    figure = figures.gates_over_time({"down 0": gates, "up 0": gates / 2}, torch.linspace(0, 1, 5))
    for ax, scale in zip(figure.axes, (1, 0.5), strict=True):
        lines = ax.get_lines()[:4]
        for band, line in enumerate(lines):
            np.testing.assert_allclose(line.get_ydata(), scale * gates[:, band].mean(-1), atol=ROUNDING)
        assert [text.get_text() for text in ax.texts] == ["LL", "LH", "HL", "HH"]


# ---------------------------------------------------------------- losses and effects


def test_shares_stand_beside_a_flat_loss() -> None:
    bands = spectrum.radial_bands((32, 32), 4, corners="cut")
    share = np.array([0.4, 0.3, 0.2, 0.1])
    ax = figures.loss_shares(share, bands).axes[0]
    assert [bar.get_height() for bar in ax.patches] == share.tolist()
    np.testing.assert_allclose([bar.get_x() + bar.get_width() / 2 for bar in ax.patches], bands.frequency)
    assert set(ax.get_lines()[0].get_ydata()) == {0.25}, "bands of equal width share a flat loss equally"


ROWS = {"clear": (-2.0, -3.0, -1.0), "unclear": (0.5, -1.0, 2.0), "beyond": (4.0, 1.0, 9.0)}


def drawn_rows(figure: Figure) -> dict[str, tuple[list[float], str]]:
    """Ends and colour of each interval, by the name of its row."""
    ax = figure.axes[0]
    names = [label.get_text() for label in ax.get_yticklabels()]
    found = {}
    for line in ax.get_lines():
        x, y = np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float)
        if len(x) == 2 and y[0] == y[1]:
            found[names[round(y[0])]] = (x.tolist(), to_hex(line.get_color()))
    return found


def test_intervals_without_zero_are_in_colour() -> None:
    figure = figures.intervals({"set": ROWS}, xlabel="change (dB)", limits=(-5, 5))
    assert drawn_rows(figure) == {
        "clear": ([-3.0, -1.0], ORANGE),
        "unclear": ([-1.0, 2.0], GRAY),
        "beyond": ([1.0, 9.0], ORANGE),
    }


def test_what_reaches_beyond_the_limits_has_an_arrow() -> None:
    def arrows(limits: tuple[float, float] | None) -> list[tuple[float, str]]:
        ax = figures.intervals({"set": ROWS}, xlabel="change (dB)", limits=limits).axes[0]
        lines = [line for line in ax.get_lines() if line.get_marker() in ("<", ">")]
        return [(float(np.ravel(line.get_xdata())[0]), str(line.get_marker())) for line in lines]

    assert arrows((-5, 5)) == [(5.0, ">")]
    assert arrows((-2, 20)) == [(-2.0, "<")]
    assert arrows(None) == []


def test_panels_that_are_not_needed_are_empty() -> None:
    figure = figures.intervals(dict.fromkeys("abc", ROWS), xlabel="change (dB)")
    assert [ax.axison for ax in figure.axes] == [True, True, True, False]
    plt.close(figure)
