"""Figures of filters and test beds show what they are given, at the place where it belongs."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fans import filters, spectrum
from spectralbook import figures

# Pictures are drawn in single precision, positions pass through the figure's transforms in double.
SINGLE = 1e-6


def curve(ax: Axes, number: int = 0) -> np.ndarray:
    return np.asarray(ax.get_lines()[number].get_xydata(), dtype=float)


def panels(figure: Figure) -> Sequence[Axes]:
    """Axes in order, without those of colour bars."""
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


# ---------------------------------------------------------------- maps


def plane_of(peak: tuple[int, int], size: int = 16) -> np.ndarray:
    plane = np.zeros((size, size))
    plane[peak] = 2.0
    return plane


def place(figure: Figure) -> tuple[float, float]:
    """Frequency (f_y, f_x) in the middle of the brightest pixel of the first map."""
    picture = panels(figure)[0].get_images()[0]
    shown = np.asarray(picture.get_array())
    row, column = np.unravel_index(shown.argmax(), shown.shape)
    left, right, bottom, top = picture.get_extent()
    size = len(shown)
    return top + (row + 0.5) * (bottom - top) / size, left + (column + 0.5) * (right - left) / size


@pytest.mark.parametrize(
    ("peak", "frequency"), [((0, 0), (0, 0)), ((3, 15), (3 / 16, -1 / 16)), ((8, 4), (-0.5, 0.25))]
)
def test_maps_have_each_frequency_at_its_place(peak: tuple[int, int], frequency: tuple[float, float]) -> None:
    figure = figures.frequency_maps({"one": plane_of(peak)}, label="magnitude")
    assert place(figure) == pytest.approx(frequency, abs=SINGLE)
    view = figures.correlation_view(plane_of(peak), (np.arange(4, 65), np.ones(61)), at=16, title="")
    assert place(view) == pytest.approx(frequency, abs=SINGLE)


def test_maps_are_relative_to_their_own_maximum() -> None:
    figure = figures.frequency_maps({"a": plane_of((0, 0)), "b": 7 * plane_of((1, 1)) + 1}, label="magnitude")
    shown = [np.asarray(ax.get_images()[0].get_array()) for ax in panels(figure)]
    assert [float(values.max()) for values in shown] == [1, 1]
    assert float(shown[1].min()) == pytest.approx(1 / 15, rel=SINGLE)


# ---------------------------------------------------------------- laws


def test_the_dot_lies_on_the_law() -> None:
    d = torch.arange(4, 129)
    law = filters.adjacent_correlation(3, d)
    figure = figures.correlation_view(filters.filter_correlation(3, 20).abs(), (d, law), at=20, title="")
    dot = curve(panels(figure)[1], 1)[0]
    assert dot == pytest.approx([20, float(filters.adjacent_correlation(3, 20))], rel=SINGLE)


def test_error_bars_are_two_standard_errors() -> None:
    lag, mean, stderr = np.arange(3), np.array([1.0, 0.5, -0.2]), np.array([0.0, 0.1, 0.2])
    figure = figures.lag_curves(lag, {"law": mean}, {"law": (mean, stderr)}, ylabel="correlation")
    bars = figure.axes[0].collections[0].get_segments()  # type: ignore[attr-defined]
    assert np.array(bars)[:, :, 1] == pytest.approx(np.stack([mean - 2 * stderr, mean + 2 * stderr], 1))
    panel = figures.against_law({"layers": (0.9, mean, stderr)}, xlabel="layer", ylabel="correlation").axes[0]
    assert (curve(panel)[:, 1] == 0.9).all(), "the law is a level line"
    bars = panel.collections[0].get_segments()  # type: ignore[attr-defined]
    assert np.array(bars)[:, :, 1] == pytest.approx(np.stack([mean - 2 * stderr, mean + 2 * stderr], 1))


def test_a_layer_is_shaded_beyond_its_limit_only() -> None:
    f = np.linspace(0, 0.5, 9)
    figure = figures.layer_responses(f, {"d = 8": 1 + f, "d = 64": 2 + f}, (0.0625, 0.5))
    first, last = figure.axes
    assert first.patches[0].get_x() == 0.0625 and not list(last.patches)  # type: ignore[attr-defined]
    assert curve(first)[-1] == pytest.approx([0.5, 1]), "relative to the largest"


def test_lines_of_a_rectified_cosine_are_those_of_its_series() -> None:
    n = np.arange(64)
    half = np.maximum(np.cos(2 * np.pi * 2 * n / 64), 0)
    line = np.abs(np.fft.rfft(half)) / 64
    f = np.array([4, 8])
    figure = figures.rectified(n, {"rectified": half}, {"harmonics": (f, 2 * line[f])})
    shown = curve(figure.axes[1])
    # 2/pi/(4m^2 - 1); sampling folds the harmonics beyond 32 back, which are weaker than 2/pi/(4 8^2 - 1).
    assert shown[:, 1] == pytest.approx(2 / np.pi / np.array([3, 15]), abs=2 / np.pi / 255)


# ---------------------------------------------------------------- upsampling


def test_the_wanted_spectrum_is_the_dashed_one() -> None:
    x = torch.randn(4, 32, 32, generator=torch.Generator().manual_seed(0))
    coarse, fine = (spectrum.radial_spectrum(v).mean() for v in (x[:, ::2, ::2], x))
    figure = figures.upsampling_view((x[0], x[1]), {"wanted": fine, "zeros": coarse}, title="")
    dashed, solid = figure.axes[2].get_lines()[:2]
    assert (dashed.get_linestyle(), solid.get_linestyle()) == ("--", "-")
    assert np.asarray(dashed.get_ydata()) == pytest.approx(fine.power[1:].numpy(), rel=SINGLE)
    plt.close(figure)


# ---------------------------------------------------------------- test beds

CENTRE = np.array([0.1, 0.3, 0.5])
ERRORS = np.array([[0.0, -4.0, -8.0], [0.0, -2.0, -6.0]])  # two seeds
PEAKS = np.array([5.0, 9.0])


def test_lines_are_means_and_shades_are_ranges_over_seeds() -> None:
    figure = figures.missing_and_added({"Generator alone": {"zeros": (ERRORS, PEAKS)}}, CENTRE)
    left, right = figure.axes
    assert curve(left).tolist() == [[0.1, 0.0], [0.3, -3.0], [0.5, -7.0]]
    shade = np.concatenate([path.vertices for path in left.collections[0].get_paths()])
    assert {tuple(v) for v in shade} >= {(0.3, -4.0), (0.3, -2.0), (0.5, -8.0), (0.5, -6.0)}
    assert curve(right)[0, 1] == 7 and right.collections[0].get_segments()[0][:, 1].tolist() == [5, 9]  # type: ignore[attr-defined]


def words(figure: Figure) -> set[str]:
    return {text.get_text() for ax in figure.axes if ax.get_visible() for text in ax.texts}


@pytest.mark.parametrize("peaks", [PEAKS, None])
def test_methods_and_signs_are_named_with_and_without_peaks(peaks: np.ndarray | None) -> None:
    case = {"stride": (ERRORS, peaks), "blur": (-ERRORS, peaks)}
    figure = figures.missing_and_added({"Discriminator alone": case}, CENTRE)
    assert words(figure) == {"too much", "missing", "stride", "blur"}
    left, right = figure.axes
    low, high = left.get_ylim()
    assert low < 0 < high and right.get_visible() == (peaks is not None)


def test_zero_is_never_at_the_edge() -> None:
    """All errors of one sign still leave room for the word of the other."""
    figure = figures.missing_and_added({"one": {"blur": (np.abs(ERRORS) + 20, None)}}, CENTRE)
    low, high = figure.axes[0].get_ylim()
    assert low < -0.1 * high


def test_accuracies_stand_on_their_rows() -> None:
    found = {"spectrum": {"accuracy": (0.8, 0.7, 0.9), "JPEG": (0.6, 0.5, 0.7)}}
    ax = figures.accuracies(found, floors={"spectrum": [0.5, 0.45]}).axes[0]
    chance, *lines = (np.asarray(line.get_xydata(), dtype=float).tolist() for line in ax.get_lines())
    assert {x for x, _ in chance} == {0.5}
    assert lines == [
        [[0.7, 0.0], [0.9, 0.0]],
        [[0.8, 0.0]],
        [[0.5, 1.0], [0.7, 1.0]],
        [[0.6, 1.0]],
        [[0.5, 0.0], [0.45, 1.0]],
    ]


def test_remedies_are_compared_with_the_first() -> None:
    scores = {"nearest": np.array([1.0, 3.0]), "focal loss": np.array([2.0, 2.0])}
    ax = figures.remedies({"FD (dB)": scores}, floors={"FD (dB)": 0.5}).axes[0]
    first, second, plain, floor = (np.asarray(line.get_xdata(), dtype=float) for line in ax.get_lines())
    assert first.tolist() == [1, 3] and second.tolist() == [2, 2]
    assert set(plain) == {2} and set(floor) == {0.5}
    assert [label.get_text() for label in ax.get_yticklabels()] == ["nearest", "focal loss"]
