"""The spectrum: gates with mutants that must fail them, properties, references, bad input, speed."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
import scipy.signal
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fans import images, spectrum
from fans.spectrum import RadialSpectrum, radial_spectrum
from yardsticks import (
    GATES,
    Estimator,
    Gate,
    Radial,
    Size,
    a_constant_is_at_zero,
    axes_are_alike,
    energy_is_kept,
    flat_stays_flat,
    plane_waves_land,
    sort_and_cumsum,
    timings,
    white_noise_is_one,
)

SIZES: list[Size] = [(15, 15), (16, 16), (31, 31), (32, 32), (64, 64), (48, 64)]
# Rounding errors of an FFT grow as eps * log2(n) and stay below 20 eps here; summing a ring adds as much
# again. Powers near zero are compared with the total. 1000 eps leaves the margin for other FFT libraries.
TOLERANCE = {"float32": 1e-4, "float64": 2e-13}
KINDS = [(library, dtype) for library in ("numpy", "torch") for dtype in TOLERANCE]

few = settings(max_examples=30, deadline=None)
seeds = st.integers(0, 2**32 - 1)
sizes = st.tuples(st.integers(3, 20), st.integers(3, 20))
windows = st.sampled_from([None, "hann"])


def named(library: str, dtype: str, x: Any) -> Any:
    """The array as the library and the precision have it."""
    return np.asarray(x, dtype) if library == "numpy" else torch.tensor(x, dtype=getattr(torch, dtype))


def plain(values: Any) -> np.ndarray:
    return np.asarray(values.numpy() if isinstance(values, torch.Tensor) else values, dtype=float)


def estimator(library: str = "numpy", dtype: str = "float64", **options: Any) -> Estimator:
    def estimate(x: np.ndarray) -> Radial:
        radial = radial_spectrum(named(library, dtype, x), **options)
        return Radial(plain(radial.frequency), plain(radial.power), plain(radial.count))

    return estimate


def noise(size: Size, seed: int = 0, *batch: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((*batch, *size))


def plane(size: Size) -> np.ndarray:
    """Radial frequency of the full plane."""
    return np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.fftfreq(size[1]))


# ---------------------------------------------------------------- gates


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("library", "dtype"), KINDS)
@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.__name__)
def test_gate(gate: Gate, library: str, dtype: str, size: Size) -> None:
    gate(estimator(library, dtype), size, TOLERANCE[dtype])


def by_definition(
    x: np.ndarray,
    *,
    shift: float = 0.0,
    swapped: bool = False,
    backwards: bool = False,
    rounding: Callable[[np.ndarray], np.ndarray] = np.rint,
    size_of: Callable[[np.ndarray], np.ndarray] = lambda spectrum: np.abs(spectrum) ** 2,
    norm: Any = "ortho",
    dropped: tuple[Any, ...] | None = None,
    hermitian: bool = False,
) -> Radial:
    """The definition, coefficient by coefficient of the full plane; each option is a known mistake."""
    height, width = x.shape[-2:]
    fy, fx = np.fft.fftfreq(height) + shift / height, np.fft.fftfreq(width) + shift / width
    if swapped:
        fy, fx = np.resize(fx, height), np.resize(fy, width)
    f = np.hypot((fy[::-1] if backwards else fy)[:, None], fx)
    power = size_of(np.fft.fft2(x, norm=norm))
    counted = np.ones(f.shape, bool)
    if dropped:
        counted[dropped] = False
    if hermitian:
        counted[:, width // 2 + 1 :] = False
    ring = rounding(f * min(height, width)).astype(int)[counted]
    count = np.bincount(ring)
    rings = count > 0
    frequency = np.bincount(ring, f[counted])[rings] / count[rings]
    flat = power[..., counted].reshape(-1, ring.size)
    sums = np.stack([np.bincount(ring, image)[rings] for image in flat])
    return Radial(frequency, (sums / count[rings]).reshape(*x.shape[:-2], -1), count[rings].astype(float))


def wrong(**options: Any) -> Estimator:
    return lambda x: by_definition(x, **options)


def times_k(x: np.ndarray) -> Radial:
    right = by_definition(x)
    return right._replace(power=right.power * np.arange(right.power.shape[-1]))


def sums_for_means(x: np.ndarray) -> Radial:
    right = by_definition(x)
    return right._replace(power=right.power * right.count)


def without_zero(x: np.ndarray) -> Radial:
    right = by_definition(x)
    return Radial(right.frequency[1:], right.power[..., 1:], right.count[1:])


MUTANTS: dict[str, tuple[Estimator, tuple[Gate, ...]]] = {
    "half-pixel centre": (wrong(shift=0.5), (plane_waves_land, axes_are_alike, a_constant_is_at_zero)),
    "k times mean": (times_k, (flat_stays_flat, a_constant_is_at_zero, energy_is_kept, white_noise_is_one)),
    "sum for mean": (sums_for_means, (flat_stays_flat, energy_is_kept, white_noise_is_one)),
    "corner row dropped": (wrong(dropped=(24,)), (energy_is_kept, axes_are_alike)),
    "corner dropped": (wrong(dropped=(24, 32)), (energy_is_kept,)),
    "zero dropped": (without_zero, (energy_is_kept, a_constant_is_at_zero)),
    "axes swapped": (wrong(swapped=True), (plane_waves_land,)),
    "rows backwards": (wrong(backwards=True), (plane_waves_land, axes_are_alike, a_constant_is_at_zero)),
    "floor for round": (wrong(rounding=np.floor), (plane_waves_land,)),
    "unnormalised": (wrong(norm="backward"), (flat_stays_flat, energy_is_kept, white_noise_is_one)),
    "mean for orthonormal": (wrong(norm="forward"), (flat_stays_flat, energy_is_kept, white_noise_is_one)),
    "magnitude for power": (wrong(size_of=np.abs), (energy_is_kept, white_noise_is_one)),
    "half plane counted once": (wrong(hermitian=True), (energy_is_kept, axes_are_alike)),
}


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.__name__)
def test_the_definition_passes_every_gate_that_mutants_fail(gate: Gate) -> None:
    gate(by_definition, (48, 64), TOLERANCE["float64"])


@pytest.mark.parametrize(
    ("mutant", "gate"),
    [
        pytest.param(mutant, gate, id=f"{name}-{gate.__name__}")
        for name, (mutant, gates) in MUTANTS.items()
        for gate in gates
    ],
)
def test_mutant_fails_its_gate(mutant: Estimator, gate: Gate) -> None:
    with pytest.raises(AssertionError):
        gate(mutant, (48, 64), TOLERANCE["float64"])


def test_every_gate_has_a_mutant() -> None:
    assert {gate for _, gates in MUTANTS.values() for gate in gates} == set(GATES)


def alpha_is_recovered(estimate: Estimator, alpha: float) -> None:
    """The exponent of fields that reach beyond the frame, within 0.1, from 64 crops of 64 x 64."""
    crops = images.load("power_law", alpha=alpha, scale=4, size=64, count=64)
    found = estimate(crops[:, 0].double().numpy())
    law = spectrum.fit_power_law(RadialSpectrum(found.frequency, found.power.mean(0), found.count, (64, 64)))
    assert abs(law.exponent - alpha) < 0.1, law


@pytest.mark.parametrize(("library", "dtype"), KINDS)
@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0, 3.0])
def test_alpha_is_recovered(alpha: float, library: str, dtype: str) -> None:
    alpha_is_recovered(estimator(library, dtype, window="hann"), alpha)


@pytest.mark.parametrize(
    ("mutant", "alpha"),
    [
        pytest.param(estimator(), 3.0, id="no window"),
        pytest.param(times_k, 0.0, id="k times mean"),
        pytest.param(wrong(size_of=np.abs), 1.0, id="magnitude for power"),
        pytest.param(sums_for_means, 1.0, id="sum for mean"),
    ],
)
def test_mutant_misses_alpha(mutant: Estimator, alpha: float) -> None:
    with pytest.raises(AssertionError):
        alpha_is_recovered(mutant, alpha)


def level_is_kept(estimate: Estimator, size: Size) -> None:
    """A window leaves the level of white noise at 1, out of reach of the mean that it removes."""
    found = estimate(noise(size, 3, 400))
    held = found.count * (found.frequency > 3 / min(size))
    level = (found.power.mean(0) * held).sum() / held.sum()
    # Hann correlates neighbours: squared correlations add up to (35/18)^2, and so the variance grows.
    assert abs(level - 1) < 4.5 * 35 / 18 * np.sqrt(2 / (400 * held.sum()))


def scaled_window(x: np.ndarray) -> Radial:
    taper = np.outer(*(scipy.signal.windows.hann(n, sym=False) for n in x.shape[-2:]))
    return by_definition(x * taper)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_window_keeps_the_level_of_white_noise(size: Size) -> None:
    level_is_kept(estimator(window="hann"), size)
    with pytest.raises(AssertionError):
        level_is_kept(scaled_window, size)


# ---------------------------------------------------------------- properties


@few
@given(size=sizes, seed=seeds, window=windows, factor=st.floats(0.01, 100))
def test_power_is_quadratic(size: Size, seed: int, window: Any, factor: float) -> None:
    """P(cx) = c^2 P(x), and the parallelogram law P(x + y) + P(x - y) = 2 P(x) + 2 P(y)."""
    x, y = noise(size, seed, 2)

    def power(image: np.ndarray) -> np.ndarray:
        return plain(radial_spectrum(image, window=window).power)

    both = power(x) + power(y)
    # Rounding is relative to the largest ring: the window leaves zero almost empty.
    bound = 1e-12 * both.max()
    np.testing.assert_allclose(power(factor * x), factor**2 * power(x), rtol=1e-12, atol=bound * factor**2)
    np.testing.assert_allclose(power(x + y) + power(x - y), 2 * both, rtol=1e-12, atol=bound)


@few
@given(size=sizes, seed=seeds, by=st.tuples(st.integers(-20, 20), st.integers(-20, 20)))
def test_periodic_shifts_change_nothing(size: Size, seed: int, by: tuple[int, int]) -> None:
    x = noise(size, seed)
    moved = np.roll(x, by, axis=(0, 1))
    # 1e-12: rounding, relative to a ring that holds at least one coefficient's share of the energy.
    assert plain(radial_spectrum(moved).power) == pytest.approx(
        plain(radial_spectrum(x).power), rel=1e-9, abs=1e-12
    )
    assert spectrum.power_spectrum(moved) == pytest.approx(spectrum.power_spectrum(x), rel=1e-9, abs=1e-12)


@few
@given(size=sizes, seed=seeds, window=windows, level=st.floats(-100, 100))
def test_a_constant_added_changes_frequency_zero_only(
    size: Size, seed: int, window: Any, level: float
) -> None:
    x = noise(size, seed)
    raised, bare = (radial_spectrum(image, window=window).power for image in (x + level, x))
    # The sum loses digits to the constant: 1e-16 * 100, times the energy of the image.
    assert raised[1:] == pytest.approx(bare[1:], rel=1e-9, abs=1e-10)
    if window:
        assert raised[0] == pytest.approx(bare[0], abs=1e-10)


@few
@given(
    size=sizes,
    seed=seeds,
    window=windows,
    batch=st.sampled_from([(), (1,), (3,), (2, 3), (2, 1, 2)]),
    corners=st.sampled_from(["keep", "cut"]),
    reduction=st.sampled_from(["mean", "sum"]),
)
def test_batches_and_libraries_agree(size: Size, seed: int, batch: Any, **options: Any) -> None:
    x = noise(size, seed, *batch)
    whole, tensor = radial_spectrum(x, **options), radial_spectrum(torch.tensor(x), **options)
    assert isinstance(whole.power, np.ndarray) and isinstance(tensor.power, torch.Tensor)
    assert whole.power.shape == batch + whole.frequency.shape
    # Another FFT library, the same sums.
    bound = 1e-13 * float(np.max(whole.power))
    for ours, theirs in zip(plainly(whole), plainly(tensor), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=bound)
    for index in np.ndindex(batch):
        alone = radial_spectrum(x[index], **options).power
        np.testing.assert_allclose(whole.power[index], alone, rtol=1e-10, atol=bound)
    mean = whole.mean()
    assert mean.power == pytest.approx(whole.power.reshape(-1, whole.power.shape[-1]).mean(0), rel=1e-12)


def plainly(radial: RadialSpectrum) -> tuple[np.ndarray, ...]:
    return plain(radial.frequency), plain(radial.power), plain(radial.count), plain(radial.energy)


@pytest.mark.parametrize(("library", "dtype"), KINDS)
def test_the_kind_and_precision_of_the_input_are_kept(library: str, dtype: str) -> None:
    x = named(library, dtype, noise((8, 9), 0, 2, 3))
    radial = radial_spectrum(x, window="hann")
    results = [radial.power, radial.frequency, spectrum.power_spectrum(x), spectrum.band_pass(x, 0.1, 0.3)]
    results.append(spectrum.band_power(x, spectrum.radial_bands((8, 9), 3)))
    assert [type(r) for r in results] == [type(x)] * 5 and [r.dtype for r in results] == [x.dtype] * 5


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_large_batches_are_cut_in_chunks_without_a_seam(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = named(library, "float64", noise((15, 16), 0, 7, 3))
    whole = plain(radial_spectrum(x, window="hann").power)
    for chunk in (1, 4 * 15 * 16):  # 21 images one by one, then by fours
        monkeypatch.setattr(spectrum.radial, "_CHUNK", chunk)
        np.testing.assert_allclose(plain(radial_spectrum(x, window="hann").power), whole, rtol=1e-12)


DIFFERENTIABLE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "radial": lambda x: radial_spectrum(x).power,
    "radial, window": lambda x: radial_spectrum(x, window="hann").power,
    "radial, cut sums": lambda x: radial_spectrum(x, corners="cut", reduction="sum").power,
    "energy": lambda x: radial_spectrum(x).energy,
    "power": lambda x: spectrum.power_spectrum(x),
    "power, window": lambda x: spectrum.power_spectrum(x, window="hann"),
    "band power": lambda x: spectrum.band_power(x, spectrum.radial_bands((5, 6), 2)),
    "band pass": lambda x: spectrum.band_pass(x, 0.1, 0.4),
}


@pytest.mark.parametrize("function", DIFFERENTIABLE.values(), ids=DIFFERENTIABLE)
def test_gradients(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    x = torch.tensor(noise((5, 6), 0, 2, 1), requires_grad=True)
    before = x.detach().clone()
    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradgradcheck(function, x)
    assert torch.equal(x, before), "the images are left alone"


# ---------------------------------------------------------------- the plane


def fourier(n: int) -> np.ndarray:
    """Matrix of the orthonormal DFT."""
    k = np.arange(n)
    return np.exp(-2j * np.pi * np.outer(k, k) / n) / n**0.5


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("library", "dtype"), KINDS)
def test_power_spectrum_is_its_formula(size: Size, library: str, dtype: str) -> None:
    x = noise(size, 4, 2)
    exact = np.abs(fourier(size[0]) @ x @ fourier(size[1]).T) ** 2
    mine = spectrum.power_spectrum(named(library, dtype, x))
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(plain(mine), exact, rtol=tolerance, atol=tolerance)  # some powers are near 0
    cells = size[0] * size[1]
    for norm, factor in (("forward", 1 / cells), ("backward", cells)):
        other = spectrum.power_spectrum(named(library, dtype, x), norm=norm)  # type: ignore[arg-type]
        np.testing.assert_allclose(plain(other), factor * exact, rtol=tolerance, atol=tolerance * factor)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_hann_window_is_its_formula(size: Size) -> None:
    x = noise(size, 5) + 3
    taper = np.outer(*(scipy.signal.windows.hann(n, sym=False) for n in size))
    centred = (x - np.average(x, weights=taper)) * taper
    exact = np.abs(np.fft.fft2(centred)) ** 2 / (taper**2).sum()
    mine = spectrum.power_spectrum(x, window="hann")
    np.testing.assert_allclose(mine, exact, rtol=1e-10, atol=1e-10)  # both lose digits to the mean of 3
    assert mine[0, 0] < 1e-25


@pytest.mark.parametrize("width", [15, 16, 64])
def test_power_spectrum_is_scipys_periodogram(width: int) -> None:
    """Of images that vary along one axis only, whose power is in one row, H times that of a line."""
    line = noise((1, width), 6)[0]
    x = np.broadcast_to(line, (5, width))
    _, expected = scipy.signal.periodogram(line, detrend=False, return_onesided=False)
    np.testing.assert_allclose(spectrum.power_spectrum(x)[0], 5 * expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("size", [*SIZES, (9, 40), (3, 3)], ids=str)
@pytest.mark.parametrize("corners", ["keep", "cut"])
def test_radial_spectrum_is_scipys_mean_over_labels(size: Size, corners: Any) -> None:
    x, f = noise(size, 7), plane(size)
    rings = np.rint(f * min(size)).astype(int)
    index = np.unique(rings)
    index = index[index / min(size) <= 0.5] if corners == "cut" else index
    power = np.abs(scipy.fft.fft2(x, norm="ortho")) ** 2
    radial = radial_spectrum(x, corners=corners)
    np.testing.assert_allclose(radial.power, scipy.ndimage.mean(power, rings, index), rtol=1e-10)
    np.testing.assert_allclose(radial.frequency, scipy.ndimage.mean(f, rings, index), rtol=1e-12)
    assert radial.count.tolist() == scipy.ndimage.sum_labels(np.ones(size), rings, index).tolist()
    summed = radial_spectrum(x, corners=corners, reduction="sum")
    np.testing.assert_allclose(summed.power, radial.power * radial.count, rtol=1e-12)
    np.testing.assert_allclose(summed.energy, radial.energy, rtol=1e-12)


def test_the_result_says_how_it_was_made() -> None:
    x = torch.tensor(noise((12, 16), 8))
    radial = radial_spectrum(x, window="hann", reduction="sum", corners="cut")
    assert (radial.size, radial.window, radial.norm) == ((12, 16), "hann", "ortho")
    assert (radial.reduction, radial.corners) == ("sum", "cut")
    square = radial_spectrum(noise((18, 18)))  # the corner is alone in its ring
    assert square.count[-1] == 1 and square.radius[-1] == pytest.approx(1, rel=1e-15)


@pytest.mark.parametrize("kind", ["uint8", "int64", "bool", "float16"])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_other_real_types_are_computed_in_single_precision(library: str, kind: str) -> None:
    x = np.random.default_rng(9).integers(0, 2, (8, 8))
    image = x.astype(kind) if library == "numpy" else torch.tensor(x).to(getattr(torch, kind))
    radial = radial_spectrum(image)
    assert str(radial.power.dtype).endswith("float32")
    np.testing.assert_allclose(
        plain(radial.power), radial_spectrum(x.astype(float)).power, rtol=1e-5, atol=1e-5
    )


# ---------------------------------------------------------------- bands


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("corners", ["keep", "cut"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_bands_partition_the_plane(size: Size, corners: Any, count: int) -> None:
    parts, f = spectrum.radial_bands(size, count, corners=corners), plane(size)
    top = f.max() if corners == "keep" else 0.5
    np.testing.assert_allclose(parts.edges, np.linspace(0, top, count + 1))
    np.testing.assert_allclose(parts.frequency, (parts.edges[1:] + parts.edges[:-1]) / 2)
    full = parts.index[:, np.minimum(np.arange(size[1]), -np.arange(size[1]) % size[1])]
    mirrored = full[-np.arange(size[0]) % size[0]][:, -np.arange(size[1]) % size[1]]
    assert (full == mirrored).all(), "a real image's coefficients come in pairs"
    for band in range(count):
        held = f[full == band]
        assert len(held) == parts.count[band]
        # Edges and frequencies are rounded separately.
        assert held.min() >= parts.edges[band] - 1e-12 and held.max() <= parts.edges[band + 1] + 1e-12
    outside = f[full == -1]
    assert len(outside) + parts.count.sum() == f.size and (outside > 0.5).all()
    assert (len(outside) > 0) == (corners == "cut")


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("library", "dtype"), KINDS)
@pytest.mark.parametrize("batch", [(), (3,), (4, 3)], ids=str)
def test_band_power_is_its_formula(size: Size, library: str, dtype: str, batch: Any) -> None:
    """Channels of an image are added, images averaged: a batch (3,) is one image of three channels."""
    grouped = noise(size, 10, 4 if len(batch) == 2 else 1, 3 if batch else 1)
    grouped *= np.linspace(0.1, 3, len(grouped))[:, None, None, None]  # which must not matter
    parts = spectrum.radial_bands(size, 4)
    shares = plain(spectrum.band_power(named(library, dtype, grouped.reshape(*batch, *size)), parts))
    power = (np.abs(np.fft.fft2(grouped)) ** 2).sum(1)
    power[:, 0, 0] = 0
    band = np.clip(np.searchsorted(parts.edges, plane(size), side="right") - 1, 0, 3)
    expected = np.mean([[image[band == b].sum() / image.sum() for b in range(4)] for image in power], axis=0)
    assert shares.sum() == pytest.approx(1, rel=TOLERANCE[dtype])
    np.testing.assert_allclose(shares, expected, rtol=TOLERANCE[dtype] * 10)


def test_band_power_weighs_images_not_energy() -> None:
    size = (16, 16)
    rows, columns = np.mgrid[:16, :16]
    low, high = np.cos(2 * np.pi * columns / 16), 100 * np.cos(np.pi * rows)
    shares = spectrum.band_power(np.stack([low, high])[:, None], spectrum.radial_bands(size, 2))
    np.testing.assert_allclose(shares, [0.5, 0.5], atol=1e-12)


@few
@given(size=sizes, seed=seeds, cuts=st.lists(st.floats(0.01, 0.7), min_size=1, max_size=3, unique=True))
def test_band_passes_add_up_to_the_image(size: Size, seed: int, cuts: list[float]) -> None:
    x = noise(size, seed)
    edges = [0.0, *sorted(cuts), 1.0]
    parts = [spectrum.band_pass(x, low, high) for low, high in itertools.pairwise(edges)]
    np.testing.assert_allclose(sum(parts), x, atol=1e-12)
    for part, (low, high) in zip(parts, itertools.pairwise(edges), strict=True):
        np.testing.assert_allclose(spectrum.band_pass(part, low, high), part, atol=1e-12)
        power = spectrum.power_spectrum(part)
        outside = (plane(size) < low) | (plane(size) >= high)
        assert power[outside].sum() < 1e-20 * (x**2).sum()


# ---------------------------------------------------------------- power laws


def curve(power: Any, frequency: Any, size: Size = (64, 64)) -> RadialSpectrum:
    return RadialSpectrum(frequency, power, np.ones(len(frequency)), size)


@few
@given(seed=seeds, alpha=st.floats(-3, 5), rings=st.integers(3, 40), dtype=st.sampled_from(list(TOLERANCE)))
def test_fit_is_the_closed_form(seed: int, alpha: float, rings: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    f = np.linspace(0.05, 0.4, rings).astype(dtype).astype(float)  # single precision overshoots the limits
    power = 7 * f**-alpha * np.exp(0.3 * rng.standard_normal(rings))
    law = spectrum.fit_power_law(curve(power, f), 0.05, 0.4)
    x, y = np.log(f) - np.log(f).mean(), np.log(power) - np.log(power).mean()
    slope = (x * y).sum() / (x**2).sum()
    residual = y - slope * x
    assert law.points == rings
    # The closed form cancels digits when few rings lie close together.
    assert law.exponent == pytest.approx(-slope, rel=1e-8, abs=1e-8)
    error = np.sqrt((residual**2).sum() / (rings - 2) / (x**2).sum())
    assert law.stderr == pytest.approx(error, rel=1e-6, abs=1e-8)
    assert law.r2 == pytest.approx(1 - (residual**2).sum() / (y**2).sum(), abs=1e-8)
    assert law.amplitude == pytest.approx(np.exp(np.log(power).mean() - slope * np.log(f).mean()), rel=1e-8)
    np.testing.assert_allclose(law(f), law.amplitude * f**-law.exponent)
    low, high = law.interval(0.9)
    quantile = scipy.stats.t(rings - 2).ppf(0.95)
    assert (low, high) == pytest.approx(
        (law.exponent - quantile * law.stderr, law.exponent + quantile * law.stderr)
    )
    for confidence in (95, 1.0, 0.0, math.nan):
        with pytest.raises(ValueError, match="confidence must lie between 0 and 1, got"):
            law.interval(confidence)


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(12)
    f = np.linspace(0.05, 0.4, 20)
    laws = [
        spectrum.fit_power_law(curve(f**-2.0 * np.exp(0.3 * rng.standard_normal(20)), f)) for _ in range(500)
    ]
    covered = np.mean([low <= 2 <= high for low, high in (law.interval(0.9) for law in laws)])
    assert abs(covered - 0.9) < 4.5 * np.sqrt(0.9 * 0.1 / 500)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_fit_takes_the_rings_between_its_limits(dtype: str) -> None:
    x = torch.tensor(noise((64, 64), 13, 8), dtype=getattr(torch, dtype))
    radial = radial_spectrum(x, window="hann").mean()
    assert spectrum.fit_power_law(radial).points == len(range(3, 26)), "three cycles to 0.4 cycles per pixel"
    # A broken ring outside of the range does no harm.
    radial.power[:3] = radial.power[26:] = float("nan")
    inside = spectrum.fit_power_law(radial)
    assert np.isfinite(inside.exponent) and inside.points == 23
    assert spectrum.fit_power_law(radial, 0.1, 0.2).points == sum(0.1 <= f <= 0.2 for f in radial.frequency)


def field(size: int, count: int, power: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Periodic Gaussian fields with a given power of frequency and orientation."""
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None]
    f = np.hypot(fy, fx)
    f[0, 0] = 1
    spectra = np.fft.fft2(noise((size, size), 14, count)) * np.sqrt(power(f, np.arctan2(fy, fx)))
    return np.fft.ifft2(spectra).real


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_oriented_fit_recovers_an_anisotropic_field(library: str) -> None:
    """Stronger horizontal frequencies, falling more steeply, and a lean of the amplitude to one diagonal."""

    def log_amplitude(theta: np.ndarray) -> np.ndarray:
        return 0.8 * np.cos(2 * theta) + 0.4 * np.sin(2 * theta)

    def alpha(theta: np.ndarray) -> np.ndarray:
        return 2 + 0.4 * np.cos(2 * theta)

    x = field(64, 200, lambda f, theta: np.exp(log_amplitude(theta)) * f ** -alpha(theta))
    fit = spectrum.fit_oriented_power_law(named(library, "float64", x[:, None]), window=None)
    np.testing.assert_allclose(fit.theta, np.arange(12) * np.pi / 12)
    # A sector has about 3 coefficients a ring of each of 200 images, over 23 rings: 0.02; the rest is the
    # variation of the law within the sector.
    np.testing.assert_allclose(fit.exponent, alpha(fit.theta), atol=0.1)
    level = np.log(fit.power(0.15)) - np.log(fit.power(0.15)).mean()
    expected = log_amplitude(fit.theta) - alpha(fit.theta) * np.log(0.15)
    np.testing.assert_allclose(level, expected - expected.mean(), atol=0.1)
    np.testing.assert_allclose(fit.amplitude * 0.15**-fit.exponent, fit.power(0.15))


def test_oriented_fit_of_an_isotropic_field_is_isotropic() -> None:
    crops = images.load("power_law", alpha=2.0, scale=4, size=64, count=256)
    fit = spectrum.fit_oriented_power_law(crops)
    # As above, the window correlates neighbours: errors twice as large.
    assert np.ptp(fit.exponent) < 0.2 and abs(fit.exponent.mean() - 2) < 0.1
    assert np.ptp(np.log(fit.power(0.15))) < 0.2


# ---------------------------------------------------------------- aliasing


@few
@given(frequency=st.floats(-3, 3), rate=st.floats(0.1, 10))
def test_alias_has_the_same_samples(frequency: float, rate: float) -> None:
    apparent = spectrum.alias(frequency, rate=rate)
    assert -rate / 2 <= apparent <= rate / 2
    times = np.arange(32) / rate
    # Results are rounded to 1e-12; over 32 samples at a rate of 0.1 the phase is that times 2000.
    np.testing.assert_allclose(
        np.exp(2j * np.pi * apparent * times), np.exp(2j * np.pi * frequency * times), atol=1e-8
    )


@pytest.mark.parametrize("cycles", [3, 20, 40, 61, 64, 100, 129])
def test_alias_is_where_the_peak_is(cycles: int) -> None:
    samples = np.cos(2 * np.pi * cycles / 64 * np.arange(64))
    peak = np.argmax(np.abs(np.fft.rfft(samples))) / 64
    assert abs(spectrum.alias(cycles / 64)) == pytest.approx(peak, abs=1e-12)
    tensor = torch.tensor([cycles / 64], dtype=torch.float64)
    assert spectrum.alias(tensor).item() == pytest.approx(spectrum.alias(cycles / 64), abs=1e-12)


@pytest.mark.parametrize("exponent", [1.5, 2.0, 3.0])
def test_aliased_power_law_is_the_sum_of_its_copies(exponent: float) -> None:
    f = np.array([0.01, 0.1, 0.3, 0.5])
    n = np.arange(-2000, 2001)[:, None]
    tail = 2 * 2000.5 ** (1 - exponent) / (exponent - 1)  # the integral beyond, by the midpoint rule
    direct = (np.abs(f + n) ** -exponent).sum(0) + tail
    np.testing.assert_allclose(spectrum.aliased_power_law(f, exponent), direct, rtol=1e-6)


# ---------------------------------------------------------------- bad input

LAW = curve(np.array([1.0, 2, 3, 4]), np.array([0.1, 0.2, 0.3, 0.4]))


def cases(library: str) -> dict[str, tuple[type[Exception], str, Callable[[], Any]]]:
    def image(value: float, *shape: int) -> Any:
        x = noise(shape[-2:], 0, *shape[:-2])
        x.flat[0] = value
        return named(library, "float32", x)

    def constant(*shape: int) -> Any:
        return named(library, "float32", np.full(shape, 0.3))

    nan, inf, good = image(np.nan, 2, 8, 8), image(np.inf, 8, 8), image(1, 32, 32)
    bands = spectrum.radial_bands((8, 8), 2)
    unfinished, empty, constant_image = "clean or rescale", "at least one pixel", "is the image constant"
    transforms: dict[str, Callable[[Any], Any]] = {
        "radial": radial_spectrum,
        "windowed": lambda x: radial_spectrum(x, window="hann"),
        "power": spectrum.power_spectrum,
        "pass": lambda x: spectrum.band_pass(x, 0.1, 0.2),
        "band power": lambda x: spectrum.band_power(x, bands),
    }
    table: dict[str, tuple[type[Exception], str, Callable[[], Any]]] = {}
    for name, run in transforms.items():
        for what, x in (("nan", nan), ("inf", inf), ("overflow", 1e30 * image(1, 8, 8))):
            if (name, what) != ("pass", "overflow"):  # linear: nothing is squared
                table[f"{name}: {what}"] = (ValueError, unfinished, lambda run=run, x=x: run(x))
        zero = named(library, "float32", np.zeros((0, 8, 8)))
        table[f"{name}: empty"] = (ValueError, empty, lambda run=run, x=zero: run(x))
        line = named(library, "float32", np.ones(8))
        table[f"{name}: 1-D"] = (ValueError, "two axes or more", lambda run=run, x=line: run(x))
        wave = named(library, "complex64", np.ones((8, 8)))
        table[f"{name}: complex"] = (TypeError, "take the real part", lambda run=run, x=wave: run(x))
        table[f"{name}: list"] = (TypeError, "NumPy array or a torch tensor", lambda run=run: run([[1.0]]))
    fit = spectrum.fit_power_law
    for n in (15, 31, 32, 64):  # sizes at which rounding does and does not leave something
        for window in (None, "hann"):
            flat = constant(n, n)
            table[f"fit: constant {n} {window}"] = (
                ValueError,
                constant_image,
                lambda x=flat, w=window: fit(radial_spectrum(x, window=w)),
            )
            table[f"oriented: constant {n} {window}"] = (
                ValueError,
                constant_image,
                lambda x=flat, w=window: spectrum.fit_oriented_power_law(x, window=w, sectors=2, fmin=0.05),
            )
            table[f"band power: constant {n}"] = (
                ValueError,
                "remove it from the data set",
                lambda x=flat, n=n: spectrum.band_power(x, spectrum.radial_bands((n, n), 2)),
            )
    mixed = named(library, "float32", np.stack([noise((8, 8)), np.full((8, 8), 0.3)])[:, None])
    return (
        table
        | {
            "band power: one constant": (ValueError, "remove it", lambda: spectrum.band_power(mixed, bands)),
            "band power: size": (ValueError, "make bands for them", lambda: spectrum.band_power(good, bands)),
            "bands: too many": (ValueError, "ask for fewer", lambda: spectrum.radial_bands((8, 8), 20)),
            "bands: none": (ValueError, "at least 1", lambda: spectrum.radial_bands((8, 8), 0)),
            "bands: corners": (
                ValueError,
                "keep, cut",
                lambda: spectrum.radial_bands((8, 8), 2, corners="drop"),
            ),  # type: ignore[arg-type]
            "size": (ValueError, "height, width", lambda: spectrum.radial_bands((8,), 2)),  # type: ignore[arg-type]
            "window": (ValueError, "use one of hann", lambda: radial_spectrum(good, window="boxcar")),  # type: ignore[arg-type]
            "power: window": (
                ValueError,
                "use one of hann",
                lambda: spectrum.power_spectrum(good, window=""),
            ),  # type: ignore[arg-type]
            "window: too small": (
                ValueError,
                "use window=None",
                lambda: radial_spectrum(good[:2], window="hann"),
            ),
            "norm": (ValueError, "ortho, forward", lambda: spectrum.power_spectrum(good, norm="l2")),  # type: ignore[arg-type]
            "reduction": (ValueError, "mean, sum", lambda: radial_spectrum(good, reduction="max")),  # type: ignore[arg-type]
            "corners": (ValueError, "keep, cut", lambda: radial_spectrum(good, corners="drop")),  # type: ignore[arg-type]
            "radius": (ValueError, "use .frequency", lambda: radial_spectrum(good[:16]).radius),
            "pass: order": (ValueError, "0 <= low < high", lambda: spectrum.band_pass(good, 0.3, 0.2)),
            "fit: batch": (ValueError, "call .mean", lambda: fit(radial_spectrum(good[None]))),
            "fit: few rings": (ValueError, "widen the range", lambda: fit(radial_spectrum(good), 0.1, 0.15)),
            "fit: small image": (ValueError, "larger images", lambda: fit(radial_spectrum(good[:8, :8]))),
            "fit: zero": (ValueError, constant_image, lambda: fit(replace(LAW, power=LAW.power * 0))),
            "fit: nan": (ValueError, constant_image, lambda: fit(replace(LAW, power=LAW.power * np.nan))),
            "oriented: sectors": (
                ValueError,
                "larger images",
                lambda: spectrum.fit_oriented_power_law(good, sectors=90),
            ),
            "oriented: none": (
                ValueError,
                "at least 1",
                lambda: spectrum.fit_oriented_power_law(good, sectors=0),
            ),
            "alias: rate": (ValueError, "must be positive", lambda: spectrum.alias(0.3, rate=0)),
            "aliased: exponent": (
                ValueError,
                "exponent > 1",
                lambda: spectrum.aliased_power_law(np.array([0.1]), 1.0),
            ),
            "aliased: frequency": (
                ValueError,
                "<= 0.5",
                lambda: spectrum.aliased_power_law(np.array([0.6]), 2.0),
            ),
        }
    )


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("case", cases("numpy"))
@pytest.mark.filterwarnings(
    "ignore:overflow encountered:RuntimeWarning", "ignore:invalid value:RuntimeWarning"
)
def test_bad_input_gets_one_message_that_says_what_to_do(library: str, case: str) -> None:
    error, message, run = cases(library)[case]
    with pytest.raises(error) as raised:
        run()
    assert raised.type is error and message in str(raised.value) and "\n" not in str(raised.value)


# ---------------------------------------------------------------- speed


def test_speed() -> None:
    """Generous limits: the benchmark aims at 1.5 and 4, this at a slip of the code on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        x = torch.tensor(noise((64, 64), 0, 256, 3), dtype=torch.float32)
        seconds = timings(
            {
                "ours": lambda: radial_spectrum(x),
                "rfft2": lambda: torch.fft.rfft2(x),
                "sort and cumsum": lambda: sort_and_cumsum(x),
            },
            rounds=9,
            calls=2,
        )
    finally:
        torch.set_num_threads(threads)
    assert np.median(seconds["ours"] / seconds["rfft2"]) <= 3
    assert np.median(seconds["sort and cumsum"] / seconds["ours"]) >= 2


def test_a_large_image_needs_little_more_memory_than_its_plane() -> None:
    """Rings are lists, not matrices: 1024 x 1024 pixels once took seconds and gigabytes."""
    rings = spectrum.radial._rings((1024, 1024))
    held = sum(getattr(rings, name).nbytes for name in ("frequency", "count", "mirror", "index", "weight"))
    assert held < 1024 * 1024 * 8


@pytest.mark.parametrize("n", [15, 16, 31, 32, 64])
@pytest.mark.parametrize("gate", [plane_waves_land, axes_are_alike, flat_stays_flat])
def test_the_published_form_passes_gates_too(gate: Gate, n: int) -> None:
    """What ours is timed against computes the same, up to the width of its rings; it gives no frequency."""

    def published(x: np.ndarray) -> Radial:
        power = sort_and_cumsum(torch.tensor(x)).numpy()
        return Radial(np.arange(power.shape[-1]) / n, power, np.ones(power.shape[-1]))

    gate(published, (n, n), 1e-11)  # a cumulative sum carries the rounding of all rings before it


# Sums over bands, and decibels


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("corners", ["keep", "cut"])
@pytest.mark.parametrize("size", [(8, 8), (9, 12)])
def test_sums_over_bands_are_those_of_the_full_plane(
    size: tuple[int, int], corners: spectrum.Corners, kind: str
) -> None:
    parts, f = spectrum.radial_bands(size, 3, corners=corners), plane(size)
    full = spectrum.power_spectrum(np.random.default_rng(0).normal(size=(2, 3, *size)))
    half = full[..., : size[1] // 2 + 1]
    edges = [*parts.edges[:-1], np.nextafter(parts.edges[-1], 1)]
    expected = np.stack([full[..., (f >= a) & (f < b)].sum(-1) for a, b in pairwise(edges)], -1)
    found = spectrum.band_sum(torch.from_numpy(half) if kind == "torch" else half, parts)
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-13)
    without = np.asarray(spectrum.band_sum(half, parts, zero=False))
    np.testing.assert_allclose(without[..., 0] + full[..., 0, 0], expected[..., 0], rtol=1e-13)
    np.testing.assert_array_equal(without[..., 1:], spectrum.band_sum(half, parts)[..., 1:])
    np.testing.assert_array_equal(spectrum.membership(parts).sum((1, 2)), parts.count)


def test_power_of_another_plane_has_no_bands() -> None:
    with pytest.raises(ValueError, match=r"must end in the rFFT plane \(8, 5\)"):
        spectrum.band_sum(np.ones((8, 8)), spectrum.radial_bands((8, 8), 2))


def test_decibels() -> None:
    assert spectrum.decibel(1000.0) == pytest.approx(30) and spectrum.decibel(1.0, 2.0) == pytest.approx(
        -3.0103
    )
    power, reference = np.array([4.0, 0.0, 1.0, 0.0]), np.array([2.0, 1.0, 0.0, 0.0])
    expected = [10 * math.log10(2), -math.inf, math.nan, math.nan]
    np.testing.assert_allclose(spectrum.decibel(power, reference), expected)
    tensors = torch.from_numpy(power), torch.from_numpy(reference)
    np.testing.assert_allclose(spectrum.decibel(*tensors), expected)
    level = torch.tensor([2.0, 5.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(spectrum.decibel, (level,))
