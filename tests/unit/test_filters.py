"""Small filters, upsampling and masks: closed forms against brute force, and wrong forms that must fail."""

import itertools
from collections.abc import Callable
from functools import cache, partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import interpolate, pad, pixel_shuffle

from fans import filters
from fans.filters import Estimate, Upsampling

# Sums of at most a few hundred terms of size 1 in double precision: an FFT or a convolution is off by less
# than 100 eps = 2e-14 here. Fifty times that leaves the margin for other libraries.
ROUNDING = 1e-12

GRID = list(itertools.product([1, 3, 5, 7], [4, 8, 16, 32]))  # (k, d); 5 and 7 taps wrap around 4 bins
BASES = [(0, 0), (1, 2)]  # DC, where one coefficient is real, and one that is like no other
SCALAR: list[Upsampling] = ["none", "zeros", "nearest", "bilinear"]
METHODS: list[Upsampling] = [*SCALAR, "shuffle"]
SIZES = [(8, 8), (5, 6), (1, 4), (3, 16)]

few = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**32 - 1)
methods = st.sampled_from(METHODS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def worst(found: Tensor, wanted: Tensor) -> float:
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max())


# ---------------------------------------------------------------- Dirichlet kernel


def waves(d: int, first: int, k: int) -> Tensor:
    """The k waves whose sum the kernel is, (k, d)."""
    m, u = torch.arange(first, first + k, dtype=torch.float64), torch.arange(d, dtype=torch.float64)
    return torch.exp(-2j * torch.pi * torch.outer(m, u) / d)


@few
@given(st.integers(1, 40), st.integers(1, 40), st.integers(-20, 20))
def test_dirichlet_is_the_sum_of_its_waves(k: int, d: int, first: int) -> None:
    wanted = waves(d, first, k).sum(0)
    assert worst(filters.dirichlet(k, d, first=first), wanted) < ROUNDING * k
    plane = filters.dirichlet(k, d, dims=2, first=first)
    assert worst(plane, wanted[:, None] * wanted) < ROUNDING * k**2


@pytest.mark.parametrize(("k", "d"), [(k, d) for k, d in GRID if k <= d])
def test_dirichlet_is_the_spectrum_of_a_window(k: int, d: int) -> None:
    window = torch.zeros(d, d, dtype=torch.float64)
    window[:k, :k] = 1
    kernel = filters.dirichlet(k, d, dims=2)
    assert worst(kernel, torch.fft.fft2(window)) < ROUNDING
    # Parseval, and a window is its own square, so that its spectrum convolved with itself is d^2 times it
    assert float(kernel.abs().square().sum()) == pytest.approx(d**2 * k**2, rel=ROUNDING)
    assert worst(torch.fft.fft2(torch.fft.ifft2(kernel) ** 2), kernel) < ROUNDING
    # a centred window of odd length has a real spectrum
    assert float(filters.dirichlet(k, d, first=-(k // 2)).imag.abs().max()) < ROUNDING


# ---------------------------------------------------------------- correlation of coefficients


@cache
def experiment(k: int, d: int, base: tuple[int, int]) -> Estimate:
    return filters.sampled_correlation(k, d, 2000, generator(), base=base)


def deviation(estimate: Estimate, law: Tensor) -> float:
    """Largest deviation of all bins in standard errors; an error of zero, of a bin with itself, is rounding.

    Rule for many comparisons: no bin may be off by more than 4 standard errors, |difference| over its root
    mean square. By chance one bin is with probability e^-16 = 1e-7 if real and imaginary part vary alike, and
    at worst, if one of them does not vary, 6e-5. Added up over the 10,880 bins of GRID and BASES with the
    shares of the two parts in each, that is 1.4% for a single excess anywhere. The seed is 0, not chosen.
    """
    return float(((estimate.mean - law).abs() / (estimate.stderr + ROUNDING)).max())


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("k", "d"), GRID)
def test_correlation_law(k: int, d: int, base: tuple[int, int]) -> None:
    assert deviation(experiment(k, d, base), filters.filter_correlation(k, d)) < 4


def sinc_law(k: int, d: int) -> Tensor:
    """Spectrum of a box of the continuous plane, not repeated, with the window's phase."""
    u = torch.arange(d, dtype=torch.float64)
    along = torch.sinc(u * k / d) * torch.exp(-1j * torch.pi * u * (k - 1) / d)
    return along[:, None] * along


def late_law(k: int, d: int) -> Tensor:
    """Centre of the window at k/2 instead of (k - 1)/2."""
    phase = torch.exp(-1j * torch.pi * torch.arange(d, dtype=torch.float64) / d)
    return filters.filter_correlation(k, d) * phase[:, None] * phase


WRONG_LAWS: dict[str, Callable[[int, int], Tensor]] = {
    "1/k": lambda k, d: filters.dirichlet(k, d, dims=2) / k,
    "1/k^4": lambda k, d: filters.dirichlet(k, d, dims=2) / k**4,
    "no phase": lambda k, d: filters.filter_correlation(k, d).abs(),
    "other sign of the lag": lambda k, d: filters.filter_correlation(k, d).conj(),
    "power": lambda k, d: filters.filter_correlation(k, d) ** 2,
    "one axis": lambda k, d: filters.dirichlet(k, d)[:, None].repeat(1, d) / k,
    "one tap more": lambda k, d: filters.filter_correlation(k + 1, d),
    "white": lambda k, d: (torch.arange(d**2).reshape(d, d) == 0).to(torch.complex128),
    "sinc": sinc_law,
    "centre": late_law,
}


@pytest.mark.parametrize("name", WRONG_LAWS)
def test_wrong_laws_are_caught(name: str) -> None:
    """By the rule, at every grid larger than the filter, and not only where a bin meets itself.

    A single tap has no phase to get wrong, and one that wraps around may look like another.
    """
    for k, d in GRID:
        if 1 < k < d:
            mean, stderr = experiment(k, d, BASES[1])
            law = WRONG_LAWS[name](k, d)
            law[0, 0] = 1
            assert deviation(Estimate(mean, stderr), law) > 4, (k, d)


def test_standard_errors_are_right() -> None:
    """Over many experiments the mean of |z|^2 is 1 in each bin, and an error halved or doubled shows."""
    runs, law = 400, filters.filter_correlation(3, 8)  # from 0.02 to 0.80, where the variances matter
    rng = generator(1)
    z2 = []
    for _ in range(runs):
        mean, stderr = filters.sampled_correlation(3, 8, 300, rng, base=(1, 2))
        z2.append(((mean - law) / stderr).abs().square().flatten()[1:])  # without the bin itself
    calibration = torch.stack(z2).mean(0)
    # |z|^2 has deviation at most sqrt(2), so that the mean of 400 has at most 0.071; 4.5 of these for the
    # worst of 63 bins. Experiments with 300 filters add about a per cent.
    assert float((calibration - 1).abs().max()) < 4.5 * (2 / runs) ** 0.5
    assert 4 * float(calibration.min()) > 2 and float(calibration.max()) / 4 < 0.5


@pytest.mark.parametrize("name", ["uniform", "signs", "exponential"])
def test_taps_need_not_be_gaussian(name: str) -> None:
    noise = torch.rand(2000, 3, 3, generator=generator(), dtype=torch.float64)
    taps = {"uniform": noise, "signs": (noise - 0.5).sign(), "exponential": -noise.log()}[name]
    found = filters.measured_correlation(taps, 8, base=(1, 2))
    assert deviation(found, filters.filter_correlation(3, 8)) < 4


@pytest.mark.parametrize("base", list(itertools.product(range(4), range(4))))
def test_law_depends_on_the_lag_only(base: tuple[int, int]) -> None:
    assert deviation(experiment(3, 4, base), filters.filter_correlation(3, 4)) < 4


def correlated_law(k: int, d: int, c: float, base: tuple[int, int]) -> Tensor:
    """Correlation of coefficients if all taps share a part: covariance (1 - c) I + c 1 1^T between taps."""
    D = filters.dirichlet(k, d, dims=2)
    here = D.roll((-base[0], -base[1]), (0, 1))
    cov = (1 - c) * D + c * here * here[0, 0].conj()
    var = (1 - c) * k**2 + c * here.abs().square()
    return cov / (var * var[0, 0]).sqrt()


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("c", [0.3, 0.9])
def test_correlated_taps_have_another_law(c: float, base: tuple[int, int]) -> None:
    shared = randn(2000, 1, 1, seed=1)
    taps = (1 - c) ** 0.5 * randn(2000, 3, 3) + c**0.5 * shared
    found = filters.measured_correlation(taps, 16, base=base)
    assert deviation(found, correlated_law(3, 16, c, base)) < 4
    assert deviation(found, filters.filter_correlation(3, 16)) > 8
    torch.testing.assert_close(correlated_law(3, 16, 0.0, base), filters.filter_correlation(3, 16))


def test_one_free_number_correlates_all_bins_fully() -> None:
    # 1 for neighbours, where independent taps have 0.901
    mean, _ = filters.measured_correlation(randn(50, 1, 1).expand(50, 3, 3), 16)
    torch.testing.assert_close(mean.abs(), torch.ones(16, 16, dtype=torch.float64))
    assert float(filters.filter_correlation(3, 16)[1, 1].abs()) == pytest.approx(0.901, abs=1e-3)


def test_averaging_over_bases_would_hide_correlated_taps() -> None:
    """The trap that `base` is for: averaged over all bases, one free number passes for nine."""
    F = filters.filter_spectrum(torch.ones(3, 3), (16, 16))
    average = torch.stack(
        [(F.roll((-i, -j), (0, 1)) * F[i, j].conj()) for i, j in itertools.product(range(16), repeat=2)]
    ).mean(0)
    assert worst(average / 9, filters.filter_correlation(3, 16)) < ROUNDING


def test_taps_of_unequal_variance_have_another_law() -> None:
    spread = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    spread = spread[:, None] * spread
    found = filters.measured_correlation(randn(2000, 3, 3) * spread, 8, base=(1, 2))
    law = filters.filter_spectrum(spread**2, (8, 8)) / spread.square().sum()
    assert deviation(found, law) < 4
    assert deviation(found, filters.filter_correlation(3, 8)) > 8


def test_uncorrelated_is_not_independent() -> None:
    # opposite coefficients of any real filter are conjugates, while the law may say zero
    F = filters.filter_spectrum(randn(100, 4, 4), (8, 8))
    assert worst(F[:, 1, 3], F[:, -1, -3].conj()) < ROUNDING
    assert float(filters.filter_correlation(4, 8)[2, 6].abs()) < ROUNDING


# Neighbours and others


def test_adjacent_correlation_has_the_known_values() -> None:
    d = torch.tensor([4, 8, 16, 32, 64, 128])
    wanted = [0.1111, 0.6476, 0.9011, 0.9745, 0.9936, 0.9984]  # of an independent computation, 4 digits
    assert filters.adjacent_correlation(3, d).tolist() == pytest.approx(wanted, abs=6e-5)


@pytest.mark.parametrize(("k", "d"), GRID)
def test_adjacent_correlation_is_the_law_at_lag_one(k: int, d: int) -> None:
    law = filters.filter_correlation(k, d).abs()
    for diagonal, lag in ((True, (1, 1)), (False, (0, 1)), (False, (1, 0))):
        found = float(filters.adjacent_correlation(k, d, diagonal=diagonal))
        assert found == pytest.approx(float(law[lag]), abs=ROUNDING)


def test_adjacent_correlation_falls_with_k_and_rises_with_d() -> None:
    k, d = torch.arange(1, 33)[:, None], torch.arange(2, 129)
    curve = filters.adjacent_correlation(k, d)
    assert (curve.diff(dim=0)[(k < d)[:-1]] < 0).all()
    # a single tap has 1 at all d; beyond that, wherever the grid is no smaller than the filter
    assert (curve.diff(dim=1)[1:][(k <= d)[1:, :-1]] > 0).all()
    assert worst(curve[0], torch.ones_like(curve[0])) < ROUNDING
    # the condition is needed: a filter that wraps around can do the reverse
    assert filters.adjacent_correlation(6, 4) > filters.adjacent_correlation(4, 4)


@few
@given(st.integers(1, 32), st.integers(100, 10_000))
def test_adjacent_correlation_of_small_filters(k: int, d: int) -> None:
    # the next terms are of order (pi k / d)^4: (1 - x/2)^2 with x = pi^2 (k^2 - 1) / (3 d^2) leaves < x^2
    x = torch.pi**2 * (k**2 - 1) / (3 * d**2)
    assert abs(float(filters.adjacent_correlation(k, d)) - (1 - x)) <= x**2 + ROUNDING


def test_distant_bins_go_up_and_down() -> None:
    # d = 16, lag 3 along an axis: a larger filter has the larger correlation, 0.070 < 0.214
    five, seven = (float(filters.filter_correlation(k, 16)[3, 0].abs()) for k in (5, 7))
    assert (five, seven) == pytest.approx((0.070, 0.214), abs=1e-3)


# ---------------------------------------------------------------- upsampling

REFERENCE: dict[Upsampling, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "nearest": partial(interpolate, scale_factor=2, mode="nearest"),
    "bilinear": lambda x: interpolate(
        pad(x, (1, 1, 1, 1), mode="circular"), scale_factor=2, mode="bilinear", align_corners=False
    )[..., 2:-2, 2:-2],
    "shuffle": partial(pixel_shuffle, upscale_factor=2),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("method", REFERENCE)
def test_upsampling_is_that_of_torch(method: Upsampling, size: tuple[int, int], dtype: torch.dtype) -> None:
    x = randn(2, 8, *size).to(dtype)
    # two weighted sums of values up to 4, in another order: a few eps
    torch.testing.assert_close(
        filters.upsample(x, method), REFERENCE[method](x), rtol=0, atol=20 * torch.finfo(dtype).eps
    )


def test_zero_insertion_inserts_zeros() -> None:
    x = randn(2, 3, 4)
    y = filters.upsample(x, "zeros")
    assert torch.equal(y[..., ::2, ::2], x)
    assert y[..., 1::2, :].abs().max() == 0 and y[..., 1::2].abs().max() == 0


def by_hand(method: Upsampling, size: tuple[int, int]) -> Tensor:
    """Gains of the plane, (J, H, W), written out."""
    fy, fx = (torch.fft.fftfreq(n if method == "none" else 2 * n, dtype=torch.float64) for n in size)
    fy, fx = fy[:, None], fx[None]
    half = torch.exp(-1j * torch.pi * (fy + fx))
    low = torch.cos(torch.pi * fy) * torch.cos(torch.pi * fx)
    ones = torch.ones_like(half)
    shifts = [torch.exp(-2j * torch.pi * (a * fy + b * fx)) for a in (0, 1) for b in (0, 1)]
    return {
        "none": ones[None],
        "zeros": ones[None],
        "nearest": 4 * low[None] * half,
        "bilinear": 4 * low[None] ** 3 * half,
        "shuffle": torch.stack(shifts),
    }[method]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_measured_gain_is_the_formula(method: Upsampling, size: tuple[int, int]) -> None:
    channels = 4 if method == "shuffle" else 1
    operator = REFERENCE.get(method, partial(filters.upsample, method=method))
    gain, residual = filters.measured_gain(operator, size, generator(), channels=channels)
    # A fit to 16 draws in 4 unknowns multiplies rounding by its condition, about 10.
    assert worst(gain, filters.upsampling_gain(method, size)) < ROUNDING
    assert worst(gain, by_hand(method, size)) < ROUNDING
    assert residual < ROUNDING**2


WRONG_GAINS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    # interpolation between points instead of pixels, (1, 2, 1) / 2
    "cos^2": lambda fy, fx: 4 * (torch.cos(torch.pi * fy) * torch.cos(torch.pi * fx)) ** 2 + 0j,
    "no phase": lambda fy, fx: 4 * (torch.cos(torch.pi * fy) * torch.cos(torch.pi * fx)) ** 3 + 0j,
    "cycles per input pixel": lambda fy, fx: (
        4
        * (torch.cos(torch.pi * fy / 2) * torch.cos(torch.pi * fx / 2)) ** 3
        * torch.exp(-1j * torch.pi * (fy + fx))
    ),
    "orthonormal": lambda fy, fx: (
        2 * (torch.cos(torch.pi * fy) * torch.cos(torch.pi * fx)) ** 3 * torch.exp(-1j * torch.pi * (fy + fx))
    ),
}


@pytest.mark.parametrize("name", WRONG_GAINS)
def test_wrong_gains_of_bilinear_are_caught(name: str) -> None:
    gain, _ = filters.measured_gain(REFERENCE["bilinear"], (8, 8), generator())
    f = torch.fft.fftfreq(16, dtype=torch.float64)
    assert worst(gain[0], WRONG_GAINS[name](f[:, None], f[None])) > 0.1


def test_order_of_the_shuffle_is_caught() -> None:
    gain, _ = filters.measured_gain(REFERENCE["shuffle"], (8, 8), generator(), channels=4)
    assert worst(gain[[0, 2, 1, 3]], filters.upsampling_gain("shuffle", (8, 8))) > 1


OUTSIDE: dict[str, Callable[[Tensor], Tensor]] = {
    "border repeated": partial(interpolate, scale_factor=2, mode="bilinear", align_corners=False),
    "corners aligned": partial(interpolate, scale_factor=2, mode="bilinear", align_corners=True),
    "rectified": lambda x: filters.upsample(x, "nearest").relu(),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_operators_without_a_response_leave_a_residual(name: str) -> None:
    _, residual = filters.measured_gain(OUTSIDE[name], (8, 8), generator())
    assert residual > 1e-3
    _, louder = filters.measured_gain(lambda x: 10 * OUTSIDE[name](x), (8, 8), generator())
    assert louder == pytest.approx(residual, rel=1e-9)  # a share of energy has no unit


def test_the_residual_of_noise_is_the_share_that_no_fit_takes() -> None:
    """(N - J) / N of the energy of N outputs that know nothing of their input, whatever their scale."""
    count, size, scale = 8, (16, 16), 30.0
    noise = scale * randn(count, 1, *size, seed=1)
    _, residual = filters.measured_gain(lambda x: noise, size, generator(), count=count)
    # 256 frequencies, half of them independent: shares of 1/8 scatter by 0.11 each, their mean by 0.01
    assert residual == pytest.approx(1 - 1 / count, abs=0.04)


@few
@given(seeds, methods, st.integers(1, 7), st.integers(1, 7))
def test_upsampling_repeats_and_weakens(seed: int, method: Upsampling, height: int, width: int) -> None:
    x = randn(4, height, width, seed=seed)
    y = torch.fft.fft2(filters.upsample(x, method))
    copies = filters.repeated(torch.fft.fft2(x), 1 if method == "none" else 2)
    gain = filters.upsampling_gain(method, (height, width))
    wanted = (gain * copies).sum(0, keepdim=True) if method == "shuffle" else gain * copies
    assert worst(y, wanted) < 100 * ROUNDING  # coefficients are up to 100 here


def test_orthonormal_power() -> None:
    """Power 1 at every frequency becomes 1/4 with zeros, stays 1 with the shuffle, falls off with nearest."""
    f = torch.fft.fftfreq(16, dtype=torch.float64)
    fall = 4 * (torch.cos(torch.pi * f)[:, None] * torch.cos(torch.pi * f)) ** 2
    wanted = {"zeros": torch.full((16, 16), 0.25), "shuffle": torch.ones(16, 16), "nearest": fall}
    for method, power in wanted.items():
        found = (filters.upsampling_gain(method, (8, 8)).abs() / 2).square().sum(0)
        torch.testing.assert_close(found, power.double())
    point = torch.zeros(1, 8, 8)
    point[0, 3, 5] = 8  # power 1 at every frequency
    spectrum = torch.fft.fft2(filters.upsample(point, "zeros"), norm="ortho")
    torch.testing.assert_close(spectrum.abs().square(), torch.full((1, 16, 16), 0.25))


@pytest.mark.parametrize("c", [0.0, 0.5, 1.0])
def test_shuffle_of_correlated_channels_lies_between_zeros_and_nearest(c: float) -> None:
    count, d = 2000, 4
    x = (1 - c) ** 0.5 * randn(count, 4, d, d) + c**0.5 * randn(count, 1, d, d, seed=1)
    power = torch.fft.fft2(filters.upsample(x, "shuffle")[:, 0]).abs().square() / d**2
    f = torch.fft.fftfreq(2 * d, dtype=torch.float64)
    low = torch.cos(torch.pi * f).square()
    wanted = 4 * (1 - c) + 16 * c * low[:, None] * low
    stderr = power.std(0) / count**0.5 + ROUNDING
    # 64 bins, and powers are skew (an exponential law at best): 4.5 errors, beyond which is 1 in 1000 tests
    assert float(((power.mean(0) - wanted).abs() / stderr).max()) < 4.5
    other = 4 * (1 - c) + 4 * c * torch.ones_like(wanted)  # correlation ignored
    assert c == 0 or float(((power.mean(0) - other).abs() / stderr).max()) > 9


# ---------------------------------------------------------------- layers


@few
@given(seeds, st.integers(1, 6), st.integers(1, 6), st.integers(1, 7))
def test_convolution_is_a_sum_of_shifts_and_the_dft_makes_it_a_product(
    seed: int, height: int, width: int, k: int
) -> None:
    x, F = randn(2, 3, height, width, seed=seed), randn(4, 3, k, k, seed=seed + 1)
    y = filters.convolve(x, F)
    shifts = sum(
        torch.einsum("ic,bchw->bihw", F[..., m, n], x.roll((m, n), (-2, -1)))
        for m, n in itertools.product(range(k), repeat=2)
    )
    # sums of up to 3 x 49 products
    assert worst(y, shifts) < 10 * ROUNDING
    response = filters.filter_spectrum(F, (height, width))
    product = torch.einsum("ichw,bchw->bihw", response, torch.fft.fft2(x))
    assert worst(torch.fft.fft2(y), product) < 1000 * ROUNDING  # coefficients are up to 1000 here


def test_cutting_a_filter_is_not_wrapping_it() -> None:
    F = randn(5, 5)
    cut = torch.fft.fft2(F, s=(4, 4))
    assert worst(filters.filter_spectrum(F, (4, 4)), cut) > 0.1
    assert worst(filters.filter_spectrum(F, (8, 8)), torch.fft.fft2(F, s=(8, 8))) < ROUNDING


def test_a_layer_is_its_formula() -> None:
    H, F = randn(2, 3, 4, 6), randn(5, 3, 3, 3, seed=1)
    up = filters.upsample(H.relu(), "bilinear")
    wanted = torch.einsum("ichw,bchw->bihw", torch.fft.fft2(pad(F, (0, 9, 0, 5))), torch.fft.fft2(up))
    found = filters.generative_layer(H, F, upsampling="bilinear")
    assert worst(found, torch.fft.ifft2(wanted).real) < 10 * ROUNDING
    assert found.shape == (2, 5, 8, 12)


def test_a_mask_makes_new_frequencies() -> None:
    """Rectifying one wave leaves lines at every even multiple, in closed form but for aliasing."""
    n = torch.arange(64, dtype=torch.float64)
    x = torch.cos(2 * torch.pi * 5 * n / 64)
    before, after = (torch.fft.rfft(y).abs() / 64 for y in (x, filters.rectify(x)))
    assert (before > ROUNDING).nonzero().flatten().tolist() == [5]
    assert (after > ROUNDING).nonzero().flatten().tolist() == sorted([5, *range(0, 33, 2)])
    # half a wave: 1/pi, 1/4, then 1/(pi (m^2 - 1)) at m times the frequency; aliases add less than 0.001
    wanted = [1 / torch.pi, 1 / 4, 1 / (3 * torch.pi), 1 / (15 * torch.pi)]
    assert after[[0, 5, 10, 20]].tolist() == pytest.approx(wanted, abs=1e-3)
    # and they come from the mask: the spectrum is that of the mask convolved with the wave's
    mask = torch.fft.fft(filters.relu_mask(x))
    assert worst(torch.fft.fft(filters.rectify(x)), (mask.roll(5) + mask.roll(-5)) / 2) < 10 * ROUNDING


def test_rectify_is_relu_with_its_gradient() -> None:
    x = randn(100)
    x[0] = 0.0  # where the slope is a convention
    x.requires_grad_()
    assert torch.equal(filters.rectify(x), x.relu())
    found, wanted = (torch.autograd.grad(f(x).sum(), x)[0] for f in (filters.rectify, torch.relu))
    assert torch.equal(found, wanted) and torch.equal(found, filters.relu_mask(x))
    assert torch.equal(filters.rectify(x, torch.ones(100)), x)


# Masks and moving weights


def network(seed: int, method: Upsampling) -> tuple[Tensor, list[Tensor]]:
    """A latent of 3 x 3 pixels, and filters from 2 channels to 3, 2 and 1."""
    fold = 4 if method == "shuffle" else 1
    channels = [2, 3, 2, 1]
    latent = randn(2, fold * channels[0], 3, 3, seed=seed)
    layers = [
        randn(fold * channels[l + 1] if l < 2 else 1, channels[l], 3, 3, seed=seed + 1 + l) for l in range(3)
    ]
    return latent, layers


def masks_of(latent: Tensor, layers: list[Tensor], method: Upsampling) -> list[Tensor]:
    maps = filters.feature_maps(latent, layers, upsampling=method)
    return [filters.relu_mask(h) for h in maps[:-1]]


def moved(layers: list[Tensor], layer: int, step: Tensor) -> list[Tensor]:
    return [F + step if l == layer else F for l, F in enumerate(layers)]


@few
@given(st.integers(0, 2**31), methods, st.integers(0, 1))
def test_masks_switch_at_the_flip_distance_and_not_before(seed: int, method: Upsampling, layer: int) -> None:
    latent, layers = network(seed, method)
    direction = randn(*layers[layer].shape, seed=seed + 9)
    t = filters.flip_distance(latent, layers, direction, layer=layer, upsampling=method)
    assert 0 < t < float("inf")
    start = masks_of(latent, layers, method)
    # t is off by rounding only, about 1e-13 of itself or less
    before, after = (
        masks_of(latent, moved(layers, layer, direction * t * (1 + off)), method) for off in (-1e-6, 1e-6)
    )
    assert all(torch.equal(a, b) for a, b in zip(start, before, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(start, after, strict=True))
    # up to there the output is linear in t
    halfway, arrived = outputs(latent, layers, layer, direction * t, method)
    assert worst(arrived, 2 * halfway) <= 100 * ROUNDING * (1 + float(arrived.abs().max()))


def outputs(
    latent: Tensor, layers: list[Tensor], layer: int, step: Tensor, method: Upsampling
) -> tuple[Tensor, Tensor]:
    """Change of the output by half a step of one layer's filters, and by the whole."""
    here, half, full = (
        filters.feature_maps(latent, moved(layers, layer, step * part), upsampling=method)[-1]
        for part in (0, 0.5, 1)
    )
    return half - here, full - here


@pytest.mark.parametrize("method", METHODS)
def test_beyond_the_flip_distance_the_output_bends(method: Upsampling) -> None:
    latent, layers = network(1, method)
    direction = randn(*layers[0].shape, seed=10)
    t = filters.flip_distance(latent, layers, direction, layer=0, upsampling=method)
    for steps, bends in ((1, False), (100, True)):
        halfway, arrived = outputs(latent, layers, 0, direction * t * steps, method)
        off = worst(arrived, 2 * halfway) / float(arrived.abs().max())
        assert off > 1e-3 if bends else off < 1e3 * ROUNDING


@few
@given(st.integers(0, 2**31), st.floats(0.01, 100))
def test_flip_distance_counts_in_multiples_of_the_direction(seed: int, factor: float) -> None:
    latent, layers = network(seed, "nearest")
    direction = randn(*layers[0].shape, seed=seed + 9)
    one, many = (filters.flip_distance(latent, layers, direction * c, layer=0) for c in (1.0, factor))
    assert many * factor == pytest.approx(one, rel=1e-6)


def test_no_neighbourhood_of_zero_weights_has_fixed_masks() -> None:
    # there is a neighbourhood of almost every point, not every neighbourhood of any
    latent, layers = network(0, "nearest")
    direction = randn(*layers[0].shape, seed=9)
    layers[0] = torch.zeros_like(layers[0])
    assert filters.flip_distance(latent, layers, direction, layer=0) == 0


def test_masks_that_cannot_switch() -> None:
    latent, layers = network(0, "nearest")
    last = randn(*layers[2].shape, seed=9)
    assert filters.flip_distance(latent, layers, last, layer=2) == float("inf")
    # a scaling up changes no sign, a scaling down does so when it arrives at zero
    assert filters.flip_distance(latent, layers, layers[1], layer=1) == float("inf")
    assert filters.flip_distance(latent, layers, -layers[1], layer=1) == pytest.approx(1)
    # a dead layer stays dead
    assert filters.flip_distance(-latent.abs(), layers, layers[1], layer=1) == float("inf")


def test_with_fixed_masks_the_output_is_linear_in_each_layer() -> None:
    latent, layers = network(3, "bilinear")
    fixed = masks_of(latent, layers, "bilinear")
    run = partial(filters.feature_maps, latent, upsampling="bilinear")
    assert torch.equal(run(layers, masks=fixed)[-1], run(layers)[-1])
    for l in range(3):
        doubled = [2.0 * F if i == l else F for i, F in enumerate(layers)]
        other = [randn(*F.shape, seed=77) if i == l else F for i, F in enumerate(layers)]
        both = [a + b if i == l else a for i, (a, b) in enumerate(zip(layers, other, strict=True))]
        first, second, sum_, double = (run(f, masks=fixed)[-1] for f in (layers, other, both, doubled))
        assert worst(sum_, first + second) < ROUNDING * float(sum_.abs().max())
        assert worst(double, 2 * first) < ROUNDING * float(double.abs().max())


# Chains of layers


@few
@given(st.integers(0, 2**31), st.tuples(methods, methods, methods), st.integers(1, 4), st.integers(1, 4))
def test_a_linear_chain_is_one_filter(
    seed: int, each: tuple[Upsampling, Upsampling, Upsampling], height: int, width: int
) -> None:
    folds = [4 if method == "shuffle" else 1 for method in each]
    latent = randn(1, 2 * folds[0], height, width, seed=seed)
    layers = [
        randn(3 * folds[1], 2, 3, 3, seed=seed + 1),
        randn(2 * folds[2], 3, 5, 5, seed=seed + 2),
        randn(1, 2, 2, 2, seed=seed + 3),
    ]
    ones: list[Tensor] = [torch.ones(())] * 3
    output = torch.fft.fft2(filters.feature_maps(latent, layers, upsampling=each, masks=ones)[-1])
    E = filters.effective_filter(layers, (height, width), upsampling=each)
    copies = filters.repeated(torch.fft.fft2(latent), output.shape[-1] // width)
    wanted = torch.einsum("ichw,bchw->bihw", E, copies)
    assert E.shape == (1, latent.shape[1], *output.shape[-2:])
    assert worst(output, wanted) < 10 * ROUNDING * float(wanted.abs().max())


def test_a_chain_with_rectifiers_is_not() -> None:
    latent, layers = network(0, "nearest")
    output = torch.fft.fft2(filters.feature_maps(latent, layers)[-1])
    E = filters.effective_filter(layers, (3, 3))
    wanted = torch.einsum("ichw,bchw->bihw", E, filters.repeated(torch.fft.fft2(latent), 8))
    assert worst(output, wanted) > 0.1 * float(wanted.abs().max())


def test_early_layers_repeat_themselves_and_late_ones_need_not() -> None:
    """On the output's grid the response of a layer on d of 32 bins has period d."""
    point = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    box = torch.ones(1, 1, 3, 3, dtype=torch.float64)
    for place, d in enumerate((8, 16, 32)):
        chain = [box if l == place else point for l in range(3)]
        E = filters.effective_filter(chain, (4, 4), upsampling="zeros")[0, 0]
        assert worst(E, filters.repeated(filters.dirichlet(3, d, dims=2), 32 // d)) < ROUNDING
        # so that the top frequency along an axis has the gain 9 of DC, unless the layer is the last
        expected = 9.0 if d < 32 else 3.0
        assert float(E[16, 0].abs()) == pytest.approx(expected)


# ---------------------------------------------------------------- bad input


def test_errors_say_what_is_allowed() -> None:
    for call in (filters.dirichlet, filters.filter_correlation):
        for k, d in ((0, 8), (3, 0)):
            with pytest.raises(ValueError, match="at least one tap"):
                call(k, d)
    for k, d in ((3, 1), (0, 8), (torch.tensor([1, 0]), 8), (3, torch.tensor([8, 1]))):
        with pytest.raises(ValueError, match="two bins"):
            filters.adjacent_correlation(k, d)
    assert (
        filters.adjacent_correlation(1, 2) == filters.dirichlet(1, 1).real == 1
    )  # the least that is allowed
    with pytest.raises(ValueError, match="two filters or more"):
        filters.measured_correlation(torch.ones(3, 3), 8)
    assert filters.measured_correlation(randn(2, 3, 3), 8).mean.shape == (8, 8)
    for k, d, count in ((0, 8, 10), (3, 0, 10), (3, 8, 1)):
        with pytest.raises(ValueError, match=r"at least one tap|two filters or more"):
            filters.sampled_correlation(k, d, count, generator())
    with pytest.raises(ValueError, match="use one of none, zeros, nearest, bilinear, shuffle"):
        filters.upsample(torch.ones(2, 2), "bicubic")
    with pytest.raises(ValueError, match="use one of"):
        filters.upsampling_gain("bicubic", (4, 4))
    with pytest.raises(ValueError, match=r"4C, H, W"):
        filters.upsample(torch.ones(6, 4, 4), "shuffle")
    with pytest.raises(ValueError, match="must be larger"):
        filters.measured_gain(lambda x: x, (4, 4), generator(), channels=4, count=4)
    with pytest.raises(ValueError, match="operator must return"):
        filters.measured_gain(lambda x: x[..., 1:], (4, 4), generator())
    maps, F = torch.ones(1, 2, 4, 4), torch.ones(1, 2, 3, 3)
    for wrong in (torch.ones(1, 3, 3, 3), torch.ones(3, 3)):
        with pytest.raises(ValueError, match="with the same C"):
            filters.convolve(maps, wrong)
    with pytest.raises(ValueError, match="at least one layer"):
        filters.feature_maps(maps, [])
    with pytest.raises(ValueError, match="2 upsamplings for 1 layers"):
        filters.feature_maps(maps, [F], upsampling=["zeros", "zeros"])
    with pytest.raises(ValueError, match="0 masks for 1 layers"):
        filters.feature_maps(maps, [F], masks=[])
    with pytest.raises(ValueError, match=r"layer=1: must be 0 \.\.\. 0"):
        filters.flip_distance(maps, [F], F, layer=1)
    with pytest.raises(ValueError, match="the filters' shape"):
        filters.flip_distance(maps, [F], F[0], layer=0)
