"""Wavelet transforms and the wavelet-gated U-Net: definition, PyWavelets, invariants, identities, errors.

Most filters are made here, Daubechies' by factorisation, and orthogonal ones of every kind as products of
rotations. So the definition in NumPy is one oracle, and PyWavelets' transform and tables are another.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from math import comb, pi
from pathlib import Path

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_unet import awake, noise
from torch import Tensor

from fans import diffusion
from fans.diffusion import sampling
from fans.networks import UNet, WaveletUNet, WaveletUNetConfig, preset
from fans.networks.wavelet_unet import Gates, WaveletDown, WaveletUp, wg_down, wg_up
from fans.training import Trainer, TrainingConfig, load_denoiser
from fans.wavelets import Pyramid, Subbands, analysis_matrix, dwt2, filter_bank, idwt2, wavedec2, waverec2

Floats = NDArray[np.float64]
# The largest of 10^4 results of some 100 roundings each, of values up to 5.
SINGLE = {"rtol": 1e-6, "atol": 5e-6}
# The same in double precision, for filters of up to 102 taps.
DOUBLE = {"rtol": 1e-14, "atol": 2e-14}
# Tables of filters have 10 digits at least, and reconstruction is no better.
TABLES = {"rtol": 0, "atol": 1e-9}
TINY = WaveletUNetConfig(widths=(4, 8, 8), groups=4)
ORTHOGONAL = [name for family in ("haar", "db", "sym", "coif") for name in pywt.wavelist(family)]


# Filters


def bank(low: Floats, high: Floats, name: str) -> pywt.Wavelet:
    """A wavelet from its filters; those of the inverse are reversed."""
    return pywt.Wavelet(name, [taps.tolist() for taps in (low, high, low[::-1], high[::-1])])


def daubechies(moments: int) -> pywt.Wavelet:
    r"""Daubechies 1988: ``h = ((1 + z)/2)^N Q(z)``, with the zeros of
    ``\sum_k \binom{N-1+k}{k} y^k``, ``y = (2 - z - 1/z)/4``, inside the circle. PyWavelets reverses h,
    and its mirror is ``g_j = (-1)^(j+1) h_(L-1-j)``.
    """
    y = np.roots([comb(moments - 1 + k, k) for k in range(moments)][::-1]).astype(complex)
    z = 1 - 2 * y + np.sqrt((1 - 2 * y) ** 2 - 1)
    zeros = np.where(abs(z) < 1, z, 1 / z)
    low = np.poly([-1] * moments + zeros.tolist()).real
    low *= 2**0.5 / low.sum()
    return bank(low[::-1], low * np.resize([-1.0, 1.0], len(low)), f"made-db{moments}")


def rotations(angles: list[float]) -> pywt.Wavelet:
    """Any orthogonal pair of filters is a product of rotations and delays (Vaidyanathan & Hoang 1988)."""
    turn = [np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) for a in angles]
    phases = turn[0][:, :, None]  # filter, even or odd tap, delay
    for rotation in turn[1:]:
        delayed = np.stack([np.pad(phases[0], ((0, 0), (0, 1))), np.pad(phases[1], ((0, 0), (1, 0)))])
        phases = np.einsum("ij,jkl->ikl", rotation, delayed)
    return bank(*phases.transpose(0, 2, 1).reshape(2, -1), "rotations")


DAUBECHIES = [daubechies(n) for n in range(1, 9)]
wavelets = st.lists(st.floats(-pi, pi), min_size=1, max_size=8).map(rotations)
name_of: Callable[[object], str | None] = lambda wavelet: getattr(wavelet, "name", None)  # noqa: E731


def test_filters_made_here_are_the_published_ones() -> None:
    """Daubechies 1992, table 6.1, N = 2: ``(1 ± sqrt 3, 3 ± sqrt 3) / (4 sqrt 2)``."""
    root = 3**0.5
    published = np.array([1 - root, 3 - root, 3 + root, 1 + root]) / (4 * 2**0.5)
    np.testing.assert_allclose(daubechies(2).dec_lo, published, rtol=1e-12)
    for n, wavelet in enumerate(DAUBECHIES, 1):
        k = np.arange(2.0 * n)
        moments = [(np.array(wavelet.dec_hi) * (k / (2 * n)) ** m).sum() for m in range(n)]
        np.testing.assert_allclose(moments, 0, atol=1e-11)  # zeros of a polynomial of degree 7: 1e-13 each


# The transform by its definition


def by_definition(x: Floats, wavelet: pywt.Wavelet, *, start: int = 0) -> dict[str, Floats]:
    """``y_k = sum_j h_j x_((2k + L/2 - j) mod N)`` along the width, then the height; keys width, height."""

    def along(x: Floats, taps: list[float], axis: int) -> Floats:
        y = sum(tap * np.roll(x, j - len(taps) // 2 + start, axis) for j, tap in enumerate(taps))
        return np.asarray(y).take(range(0, x.shape[axis], 2), axis)

    pair = {"l": list(wavelet.dec_lo), "h": list(wavelet.dec_hi)}
    return {w + h: along(along(x, pair[w], -1), pair[h], -2) for w in "lh" for h in "lh"}


def agrees(bands: Subbands, oracle: dict[str, Floats], tolerance: dict[str, float]) -> bool:
    return all(
        np.allclose(getattr(bands, name).numpy(), oracle[name], **tolerance)
        for name in ("ll", "lh", "hl", "hh")
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("wavelet", [pywt.Wavelet("haar"), *DAUBECHIES], ids=name_of)
def test_bands_are_those_of_the_definition(wavelet: pywt.Wavelet, dtype: torch.dtype) -> None:
    for size in [(16, 16), (16, 22), (64, 48)]:
        x = noise(2, 3, *size).to(dtype)
        bands = dwt2(x, wavelet)
        assert all(band.dtype == dtype for band in bands)
        oracle = by_definition(x.double().numpy(), wavelet)
        assert agrees(bands, oracle, SINGLE if dtype == torch.float32 else DOUBLE)


def test_the_definition_tells_neighbours_apart() -> None:
    """What the comparison would have to find: shifted, reversed, renamed, wrongly signed transforms."""
    wavelet, x = daubechies(3), noise(16, 16).double()
    bands, oracle = dwt2(x, wavelet), by_definition(x.numpy(), wavelet)
    reverse = bank(np.array(wavelet.rec_lo), np.array(wavelet.rec_hi), "reverse")
    ll, lh, hl, hh = bands
    mutants = [dwt2(x, reverse), Subbands(ll, hl, lh, hh), Subbands(ll, -lh, hl, hh), dwt2(x.mT, wavelet)]
    assert agrees(bands, oracle, DOUBLE)
    assert not any(agrees(mutant, oracle, SINGLE) for mutant in mutants)
    assert not any(agrees(bands, by_definition(x.numpy(), wavelet, start=k), SINGLE) for k in (-2, -1, 1, 2))


def test_numbers_that_pywavelets_documents() -> None:
    """Its documentation of modes, db2 with ``per``, and of two-dimensional packets, ``db1``; 8 digits."""
    x = torch.tensor([1.0, 2, 1, 5, -1, 8, 4, 6], dtype=torch.float64)
    low = torch.tensor([4.053172, 3.05257099, 2.85381112, 8.42522221], dtype=torch.float64)
    high = torch.tensor([0.18946869, 4.18258152, 4.33737503, 2.60428326], dtype=torch.float64)
    bands = dwt2(torch.outer(x, x), daubechies(2))
    for band, rows, columns in zip(bands, (low, high, low, high), (low, low, high, high), strict=True):
        torch.testing.assert_close(band, torch.outer(rows, columns), rtol=0, atol=1e-6)
    ramp = torch.arange(1.0, 9).expand(8, 8)
    ll, lh, hl, hh = dwt2(ramp)  # their a, h, v, d
    torch.testing.assert_close(ll, torch.tensor([3.0, 7, 11, 15]).expand(4, 4))
    assert (hl == -1).all() and (lh == 0).all() and (hh == 0).all()


# The transform by PyWavelets


def by_pywavelets(x: Floats, name: str, mode: str = "periodization") -> dict[str, Floats]:
    """cA, cH, cV, cD: cH has horizontal edges, so its high-pass is along the height, lh here."""
    ll, (lh, hl, hh) = pywt.dwt2(x, name, mode, axes=(-2, -1))
    return {"ll": ll, "lh": lh, "hl": hl, "hh": hh}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
@pytest.mark.parametrize("name", ORTHOGONAL)
def test_bands_are_those_of_pywavelets(name: str, dtype: torch.dtype) -> None:
    taps, exact = pywt.Wavelet(name).dec_len, dtype == torch.float64
    for size in [(taps, taps + 2), (2 * taps + 10, taps + 6)]:
        x = noise(2, *size).to(dtype)
        bands = dwt2(x, name)
        oracle = by_pywavelets(x.numpy(), name)
        assert all(band.dtype == dtype for band in bands)
        assert agrees(bands, oracle, DOUBLE if exact else SINGLE)
        energy = sum(float(band.double().square().sum()) for band in bands)
        assert energy == pytest.approx(float(x.double().square().sum()), rel=1e-9 if exact else 1e-6)
        torch.testing.assert_close(idwt2(bands, name), x, **(TABLES if exact else SINGLE))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
@pytest.mark.parametrize("name", ["haar", "db2", "db4", "db8", "sym5", "coif2"])
@pytest.mark.filterwarnings("ignore:Level value of 3 is too high")  # for PyWavelets: all coefficients wrap
def test_pyramids_are_those_of_pywavelets(name: str, dtype: torch.dtype) -> None:
    tolerance = DOUBLE if dtype == torch.float64 else SINGLE
    x = noise(2, 64, 96).to(dtype)
    oracle = pywt.wavedec2(x.numpy(), name, "periodization", level=3, axes=(-2, -1))
    pyramid = wavedec2(x, name, level=3)
    for one, other in zip([pyramid.ll, *pyramid.details], oracle, strict=True):
        np.testing.assert_allclose(np.stack(one), np.stack(other), **tolerance)
    back = pywt.waverec2(oracle, name, "periodization", axes=(-2, -1))
    np.testing.assert_allclose(waverec2(pyramid, name).numpy(), back, **tolerance)


def test_pywavelets_tells_neighbours_apart() -> None:
    """Another wavelet, exchanged names and the mode that keeps more than N coefficients are not it."""
    x = noise(20, 20).double()
    ll, lh, hl, hh = dwt2(x, "sym4")
    oracle = by_pywavelets(x.numpy(), "sym4")
    assert agrees(Subbands(ll, lh, hl, hh), oracle, DOUBLE)
    assert not agrees(Subbands(ll, hl, lh, hh), oracle, SINGLE)
    assert not agrees(dwt2(x, "db4"), oracle, SINGLE)
    assert by_pywavelets(x.numpy(), "sym4", "periodic")["ll"].shape != ll.shape


@pytest.mark.parametrize("name", pywt.wavelist(kind="discrete"))
def test_orthogonal_wavelets_are_taken_and_others_refused(name: str) -> None:
    """dmey calls itself orthogonal, but is cut off; the first of the biorthogonal ones are Haar's."""
    wavelet = pywt.Wavelet(name)
    if (wavelet.orthogonal and name != "dmey") or name in ("bior1.1", "rbio1.1"):
        assert filter_bank(name) == filter_bank(wavelet) == (tuple(wavelet.dec_lo), tuple(wavelet.dec_hi))
        assert (name in ORTHOGONAL) == wavelet.orthogonal
    else:
        for other in (name, wavelet):
            with pytest.raises(ValueError, match=f"wavelet '{name}' is not orthogonal, .*: take one of haar"):
                dwt2(noise(2, 2), other)


@pytest.mark.parametrize("name", ["db39", "sym1", "morl", "haarr", ""])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"wavelet '{name}' is unknown: orthogonal ones are haar"):
        dwt2(noise(64, 64), name)


def test_filters_are_those_made_here() -> None:
    assert filter_bank("Haar") == filter_bank("db1") == filter_bank("haar")
    for n, wavelet in enumerate(DAUBECHIES, 1):
        np.testing.assert_allclose(filter_bank(f"db{n}"), filter_bank(wavelet), rtol=0, atol=1e-10)


# Invariants


@given(wavelets, st.tuples(st.integers(8, 14), st.integers(8, 14)), st.integers(0, 10**6))
@settings(deadline=None, max_examples=50)
def test_every_orthogonal_filter_keeps_energy_and_reconstructs(
    wavelet: pywt.Wavelet, half: tuple[int, int], seed: int
) -> None:
    x = noise(2, 2 * half[0], 2 * half[1], seed=seed)
    bands = dwt2(x, wavelet)
    energy = sum(float(band.double().square().sum()) for band in bands)
    assert energy == pytest.approx(float(x.double().square().sum()), rel=1e-6)  # as in the brief: Parseval
    torch.testing.assert_close(idwt2(bands, wavelet), x, **SINGLE)
    oracle = by_definition(x.double().numpy(), wavelet)
    assert agrees(bands, oracle, SINGLE)


@given(wavelets, st.integers(8, 14))
@settings(deadline=None, max_examples=25)
def test_the_matrix_is_orthogonal_and_the_transform(wavelet: pywt.Wavelet, half: int) -> None:
    W, x = analysis_matrix(wavelet, 2 * half), noise(2 * half, 2 * half).double()
    torch.testing.assert_close(W @ W.mT, torch.eye(2 * half, dtype=torch.float64), rtol=0, atol=1e-13)
    ll, lh, hl, hh = dwt2(x, wavelet)
    blocks = torch.cat((torch.cat((ll, hl), -1), torch.cat((lh, hh), -1)), -2)
    torch.testing.assert_close(blocks, W @ x @ W.mT, rtol=0, atol=1e-13)


@pytest.mark.parametrize("wavelet", ["haar", daubechies(4)], ids=name_of)
def test_a_shift_by_two_pixels_shifts_bands_by_one(wavelet: pywt.Wavelet) -> None:
    x = noise(16, 20)
    for pixels, places in (((2, 0), (1, 0)), ((0, 2), (0, 1)), ((-4, 6), (-2, 3))):
        for moved, band in zip(dwt2(x.roll(pixels, (-2, -1)), wavelet), dwt2(x, wavelet), strict=True):
            torch.testing.assert_close(moved, band.roll(places, (-2, -1)), **SINGLE)
    assert not torch.allclose(dwt2(x.roll(1, -1), wavelet).ll, dwt2(x, wavelet).ll, atol=0.1)


@pytest.mark.parametrize("wavelet", ["haar", *DAUBECHIES[1:]], ids=name_of)
def test_bands_are_named_by_the_axis_that_is_high_passed(wavelet: pywt.Wavelet) -> None:
    """Waves of the highest frequency and the constant, each in one band at twice its amplitude."""
    sign = torch.tensor([1.0, -1.0]).repeat(8)
    images = {"ll": torch.ones(16, 16), "lh": sign[:, None].expand(16, 16)}
    images |= {"hl": sign.expand(16, 16), "hh": torch.outer(sign, sign)}
    for name, image in images.items():
        for band, values in dwt2(image, wavelet)._asdict().items():
            size = torch.full((8, 8), 2.0 if band == name else 0.0)
            torch.testing.assert_close(values.abs(), size, rtol=0, atol=2e-6)  # 2 x 16 roundings


@pytest.mark.parametrize("wavelet", ["haar", daubechies(2)], ids=name_of)
def test_levels_repeat_one_level_on_ll(wavelet: pywt.Wavelet) -> None:
    x = noise(2, 32, 48)
    pyramid = wavedec2(x, wavelet, level=3)
    assert [details.lh.shape[-2:] for details in pyramid.details] == [(4, 6), (8, 12), (16, 24)]
    first = dwt2(x, wavelet)
    second = dwt2(first.ll, wavelet)
    third = dwt2(second.ll, wavelet)
    assert torch.equal(pyramid.ll, third.ll)
    for details, bands in zip(pyramid.details, (third, second, first), strict=True):
        assert all(torch.equal(*pair) for pair in zip(details, bands[1:], strict=True))
    coefficients = [pyramid.ll, *(band for details in pyramid.details for band in details)]
    assert sum(c.numel() for c in coefficients) == x.numel()
    energy = sum(float(c.double().square().sum()) for c in coefficients)
    assert energy == pytest.approx(float(x.double().square().sum()), rel=1e-6)
    torch.testing.assert_close(waverec2(pyramid, wavelet), x, **SINGLE)


@pytest.mark.parametrize("wavelet", ["haar", daubechies(2), daubechies(4)], ids=name_of)
def test_gradients(wavelet: pywt.Wavelet) -> None:
    x = noise(1, 2, 8, 10).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: dwt2(x, wavelet), (x,))
    assert torch.autograd.gradgradcheck(lambda x: dwt2(x, wavelet), (x,))
    bands = [noise(1, 4, 5, seed=k).double().requires_grad_() for k in range(4)]
    assert torch.autograd.gradcheck(lambda *bands: idwt2(bands, wavelet), bands)
    assert torch.autograd.gradgradcheck(lambda *bands: idwt2(bands, wavelet), bands)


@pytest.mark.parametrize("wavelet", ["haar", daubechies(2)], ids=name_of)
def test_inputs_of_all_kinds(wavelet: pywt.Wavelet) -> None:
    x = noise(2, 4, 8, 8)
    plain = dwt2(x, wavelet)
    for other in (x.to(memory_format=torch.channels_last), x.mT.contiguous().mT, x.repeat(2, 1, 1, 1)[:2]):
        for one, two in zip(dwt2(other, wavelet), plain, strict=True):
            torch.testing.assert_close(one, two, **SINGLE)
    assert dwt2(x[0, 0], wavelet).ll.shape == (4, 4)
    assert dwt2(x[:0], wavelet).ll.shape == (0, 4, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):  # stays as precise as its input
        assert torch.equal(dwt2(x, wavelet).hh, plain.hh)
        assert torch.equal(idwt2(plain, wavelet), idwt2(plain, wavelet).float())
    half = dwt2(x.bfloat16(), wavelet)
    assert half.ll.dtype == torch.bfloat16
    # 8 bits of mantissa, two products of values up to 4
    torch.testing.assert_close(half.ll.float(), plain.ll, rtol=0.02, atol=0.05)


def test_a_matrix_made_in_inference_serves_training() -> None:
    wavelet, x = rotations([0.123, 0.456]), noise(8, 8).requires_grad_()
    with torch.inference_mode():
        dwt2(x.detach(), wavelet)
    dwt2(x, wavelet).ll.sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
    analysis_matrix(wavelet, 8).zero_()  # a copy
    assert dwt2(x.double(), wavelet).ll.abs().sum() > 0


@pytest.mark.parametrize("wavelet", ["haar", daubechies(2)], ids=name_of)
def test_it_can_be_compiled(wavelet: pywt.Wavelet) -> None:
    x = noise(8, 8)
    round_trip = torch.compile(lambda x: idwt2(dwt2(x, wavelet), wavelet), backend="eager")
    torch.testing.assert_close(round_trip(x), x, **SINGLE)


# Errors of the transform


def test_what_does_not_fit_is_refused() -> None:
    long = daubechies(5)
    for shape in [(8, 7), (7, 8)]:
        with pytest.raises(ValueError, match="H and W must be even"):
            dwt2(noise(*shape))
    with pytest.raises(ValueError, match=r"images \(8, 16\): the wavelet's 10 taps are longer"):
        dwt2(noise(8, 16), long)
    with pytest.raises(ValueError, match="10 taps are longer"):
        idwt2(dwt2(noise(8, 8)), long)
    with pytest.raises(
        ValueError, match=r"level=3: images \(32, 32\) have 2 levels with a filter of 10 taps"
    ):
        wavedec2(noise(32, 32), long, level=3)
    with pytest.raises(ValueError, match=r"level=2: images \(4, 6\) have 1 levels"):
        wavedec2(noise(4, 6), level=2)
    with pytest.raises(ValueError, match="level=0"):
        wavedec2(noise(4, 4), level=0)
    with pytest.raises(ValueError, match="floating point"):
        dwt2(torch.ones(4, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="floating point"):
        wavedec2(torch.ones(4), level=1)
    with pytest.raises(ValueError, match="must be four, LL, LH, HL, HH, of one shape"):
        idwt2([noise(2, 2)] * 3)
    with pytest.raises(ValueError, match="must be four"):
        idwt2([noise(2, 2)] * 3 + [noise(2, 1)])
    with pytest.raises(ValueError, match="must be four"):
        idwt2([noise(2)] * 4)
    assert wavedec2(noise(16, 16), daubechies(4), level=2).ll.shape == (4, 4)  # 8 taps on 8 x 8 pixels fit


def test_filters_that_are_not_orthogonal_are_refused() -> None:
    spline = bank(np.array([0, 0.5, 1, 0.5]), np.array([0, 0.5, -1, 0.5]), "bior-like")
    with pytest.raises(
        ValueError, match=r"wavelet 'bior-like' is not orthogonal, its filters miss that by 0\.5"
    ):
        dwt2(noise(8, 8), spline)
    h, g = map(np.array, filter_bank("db2"))
    for low, high in [(h, h), (h, g[::-1]), (h * (1 + 1e-6), g), (h[:3], g[:3])]:
        with pytest.raises(ValueError, match="is not orthogonal"):
            dwt2(noise(8, 8), bank(low, high, "mutant"))
    for other in (5, pywt.ContinuousWavelet("morl")):
        with pytest.raises(ValueError, match=r"wavelet (.|\n)*: must be a name or a pywt\.Wavelet"):
            dwt2(noise(8, 8), other)


# Wavelet gating


@given(st.floats(0.01, 1), st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6))
@settings(deadline=None, max_examples=30)
def test_with_equal_gates_haar_decimates_and_inserts_zeros(g: float, h: int, w: int, seed: int) -> None:
    x = noise(2, 3, 2 * h, 2 * w, seed=seed).double()
    down = wg_down(x, torch.full((4, 3), g, dtype=torch.float64))
    torch.testing.assert_close(down, 2 * g * x[..., ::2, ::2], **DOUBLE)
    group = noise(2, 3, h, w, seed=seed).double()
    up = wg_up(group.repeat(1, 4, 1, 1), torch.full((4, 3), g, dtype=torch.float64))
    expected = torch.zeros(2, 3, 2 * h, 2 * w, dtype=torch.float64)
    expected[..., ::2, ::2] = 2 * g * group
    torch.testing.assert_close(up, expected, **DOUBLE)


def test_other_gates_and_other_wavelets_do_not_decimate() -> None:
    x, equal = noise(1, 2, 8, 8), torch.full((4, 2), 0.5)
    unequal = equal * torch.tensor([1.0, 1, 1, 0.9])[:, None]
    for other in (wg_down(x, unequal), wg_down(x, equal, daubechies(2))):
        assert not torch.allclose(other, x[..., ::2, ::2], atol=1e-2)
    group = noise(1, 2, 4, 4).repeat(1, 4, 1, 1)
    for other in (wg_up(group, unequal), wg_up(group, equal, daubechies(2))):
        assert other[..., 1::2, :].abs().max() > 1e-2  # between the rows that zero insertion fills


def test_with_equal_gates_haar_shuffles_mixtures_of_the_groups() -> None:
    """WG-Up of groups that differ: a pixel shuffle, after a 4 x 4 Hadamard matrix over the groups."""
    x = noise(2, 12, 4, 6).double()
    signs = torch.tensor(
        [[1.0, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]], dtype=torch.float64
    )
    mixed = torch.einsum("pb,nbchw->ncphw", signs, x.unflatten(1, (4, 3))).flatten(1, 2)
    expected = torch.nn.functional.pixel_shuffle(0.25 * mixed, 2)
    torch.testing.assert_close(wg_up(x, torch.full((4, 3), 0.5, dtype=torch.float64)), expected, **DOUBLE)


@given(wavelets, st.integers(0, 10**6))
@settings(deadline=None, max_examples=25)
def test_up_is_the_transpose_of_down(wavelet: pywt.Wavelet, seed: int) -> None:
    """``<WG-Down x, y> = <x, WG-Up (y, y, y, y)>`` with the same gates, whatever they are."""
    x, y = noise(1, 2, 16, 16, seed=seed).double(), noise(1, 2, 8, 8, seed=seed + 1).double()
    gates = noise(4, 2, seed=seed + 2).double().sigmoid()
    down, up = wg_down(x, gates, wavelet), wg_up(y.repeat(1, 4, 1, 1), gates, wavelet)
    torch.testing.assert_close((down * y).sum(), (x * up).sum(), rtol=0, atol=1e-11)  # sums of 512 terms


def test_gates_choose_bands() -> None:
    x, bands = noise(2, 3, 8, 8), dwt2(noise(2, 3, 8, 8))
    for k, band in enumerate(bands):
        torch.testing.assert_close(wg_down(x, torch.eye(4)[k][:, None].expand(4, 3)), band)
    torch.testing.assert_close(wg_up(torch.cat(bands, 1), torch.ones(4, 3)), x, **SINGLE)
    gates = noise(2, 4, 3).sigmoid()  # of each image
    torch.testing.assert_close(wg_down(x, gates)[1:], wg_down(x[1:], gates[1]))
    with pytest.raises(ValueError, match="channels in multiples of 4"):
        wg_up(noise(1, 6, 4, 4), torch.ones(4, 1))


def test_gates_see_the_means_of_channels_alone() -> None:
    module = Gates(4, 4)
    torch.nn.init.normal_(module.out.weight, generator=torch.Generator().manual_seed(0))
    x = noise(2, 4, 8, 8)
    pattern = noise(2, 4, 8, 8, seed=1)
    pattern = pattern - pattern.mean((-2, -1), keepdim=True)
    torch.testing.assert_close(module(x + pattern), module(x), rtol=0, atol=1e-6)
    assert not torch.allclose(module(x + 0.1), module(x), atol=1e-3)
    assert module(100 * x).min() >= 0 and module(100 * x).max() <= 1


@pytest.mark.parametrize("wavelet", ["haar", daubechies(3)], ids=name_of)
def test_layers_have_the_shapes_of_the_paper(wavelet: pywt.Wavelet) -> None:
    x = noise(2, 8, 8, 12)
    down, up = WaveletDown(8, wavelet), WaveletUp(8, wavelet)
    assert down(x).shape == (2, 8, 4, 6) and up(x).shape == (2, 2, 16, 24)
    assert torch.equal(down(x), wg_down(x, down.gates(x), wavelet))
    assert torch.equal(up(x), wg_up(x, up.gates(x), wavelet))


# The U-Net


def stirred(network: WaveletUNet) -> WaveletUNet:
    """Give the gates, equal at first, and the last convolution weights."""
    for name, parameter in network.named_parameters():
        if "gates.out" in name:
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(len(name)))
    awake(network)
    return network


@pytest.mark.parametrize("wavelet", ["haar", "db2"])
def test_a_prediction_has_the_shape_of_the_images(wavelet: str) -> None:
    options = {"channels": 3, "widths": (4, 8, 8), "groups": 4, "attention": (1,), "layers": 2}
    network = stirred(WaveletUNet(WaveletUNetConfig(**options, wavelet=wavelet)))  # type: ignore[arg-type]
    layers = [module for module in network.modules() if isinstance(module, WaveletDown | WaveletUp)]
    assert len(layers) == 4 and {layer.wavelet for layer in layers} == {wavelet}
    x = noise(2, 3, 8, 12)
    prediction = network(x, torch.tensor([1, 1000]))
    assert prediction.shape == x.shape
    later = network(x, torch.tensor([2, 1000]))
    assert float((later[0] - prediction[0]).norm().detach()) > 0.01 * float(prediction[0].norm().detach())
    torch.testing.assert_close(network(x[1:], torch.tensor([1000])), prediction[1:], rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="H and W multiples of 4"):
        network(noise(1, 3, 8, 10), torch.tensor([1]))


def test_it_starts_as_decimation_and_depends_on_its_seed_only() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, same, other = (WaveletUNet(TINY, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(one.parameters(), same.parameters(), strict=True):
        assert torch.equal(a, b)
    for part in ("blocks.conv_in.weight", "blocks.down_blocks.0.downsamplers.0.1.weight"):
        assert not torch.equal(one.state_dict()[part], other.state_dict()[part])
    plain = UNet(TINY).state_dict()
    shared = plain.keys() & one.state_dict().keys()
    assert all(torch.equal(plain[name], one.state_dict()[name]) for name in shared)
    assert len(shared) > 0.8 * len(plain)
    x, t = noise(2, 1, 8, 8), torch.tensor([1, 500])
    assert (one(x, t) == 0).all()
    assert all((gates == 0.5).all() for gates in one.gates(x, t).values())


@pytest.mark.parametrize("name", ["cpu", "paper"])
def test_it_has_as_many_parameters_as_the_plain_network(name: str) -> None:
    sizes = preset(name)  # type: ignore[arg-type]
    with torch.device("meta"):
        networks = UNet(sizes), WaveletUNet(WaveletUNetConfig(**asdict(sizes)))
    plain, gated = (sum(p.numel() for p in network.parameters()) for network in networks)
    assert abs(gated / plain - 1) < 0.02
    kinds = {type(module).__name__ for module in networks[1].modules()}
    assert not kinds & {"Downsample2D", "Upsample2D"}


def test_gates_are_read_at_each_layer_and_time() -> None:
    network, x = stirred(WaveletUNet(TINY)), noise(3, 1, 8, 8)
    t = torch.tensor([1, 400, 1000])
    gates = network.gates(x, t)
    assert {name: tuple(g.shape) for name, g in gates.items()} == {
        "down 0": (3, 4, 4),
        "down 1": (3, 4, 8),
        "up 0": (3, 4, 2),
        "up 1": (3, 4, 2),
    }
    for g in gates.values():
        assert not g.requires_grad and g.min() >= 0 and g.max() <= 1
    same_images = network.gates(x[:1].expand(3, 1, 8, 8), t)
    for g in (*gates.values(), *same_images.values()):  # other images and times, and times alone
        assert (g[0] - g[2]).abs().max() > 1e-3  # measured are 0.0047 or more; rounding makes 1e-7
    blind = replace(TINY, time_scale_shift="default")  # groups of the first level are single channels
    untold = stirred(WaveletUNet(blind)).gates(x[:1].expand(3, 1, 8, 8), t)["down 0"]
    assert (untold[0] - untold[2]).abs().max() < 1e-5
    seen: list[Tensor] = []
    layer = network.blocks.down_blocks[1].downsamplers[0][0]
    layer.register_forward_hook(lambda module, args, output: seen.extend((args[0], output)))
    network(x, t)
    torch.testing.assert_close(wg_down(seen[0], gates["down 1"]), seen[1])
    assert sum(len(module._forward_hooks) for module in network.modules()) == 1  # none left behind


def test_nothing_is_left_behind_when_reading_gates_fails() -> None:
    network = WaveletUNet(TINY)
    with pytest.raises(ValueError, match="multiples of 4"):
        network.gates(noise(1, 1, 6, 6), torch.tensor([1]))
    assert not any(module._forward_hooks for module in network.modules())


def test_it_trains_and_loads_and_samples(tmp_path: Path) -> None:
    white, image = diffusion.white(size=(8, 8)), 0.5 * noise(1, 1, 8, 8)
    config = TrainingConfig(steps=30, batch=8, log_every=10, save_every=30)
    network, t = WaveletUNet(TINY), torch.tensor([500])
    history = Trainer(network, image.repeat(16, 1, 1, 1), white, config, folder=tmp_path).run()
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]  # of a single image, whose noise is easily told
    assert all((g != 0.5).any() for g in network.gates(image, t).values())  # they learn
    loaded = load_denoiser(tmp_path, WaveletUNet(TINY, seed=5), which="model")
    assert torch.equal(loaded(image, t), network.eval()(image, t))
    samples = sampling.sample(
        white, loaded, (2, 1, 8, 8), generator=diffusion.streams(0, 2), steps=2, prediction="v_prediction"
    )
    assert samples.isfinite().all()


def test_bf16_is_close_to_single_precision() -> None:
    network, x, t = stirred(WaveletUNet(TINY)), noise(2, 1, 8, 8), torch.tensor([3, 800])
    with torch.autocast("cpu", torch.bfloat16):
        half = network(x, t).float()
    exact = network(x, t)
    assert (half - exact).norm() < 0.05 * exact.norm()  # 8 bits of mantissa through some 30 layers


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (6, 12), "groups": 2}, "multiples of 4"),
        ({"widths": (6, 8), "groups": 4}, "multiples of groups=4"),
        ({"wavelet": 3}, "wavelet=3: must be str"),
        ({"layers": 0}, "must be positive"),
    ],
)
def test_sizes_that_do_not_work_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WaveletUNetConfig(**options)  # type: ignore[arg-type]


def test_the_configuration_survives_json() -> None:
    assert WaveletUNetConfig.from_json(TINY.to_json()) == TINY
    with pytest.raises(ValueError, match="unknown 'wavelets'"):
        WaveletUNetConfig.from_json('{"wavelets": "haar"}')
    assert isinstance(wavedec2(noise(4, 4), level=1), Pyramid)
