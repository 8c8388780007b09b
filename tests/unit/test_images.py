"""Data sets: equal calls give equal images, splits share nothing, spectra are as stated, errors help."""

import doctest
import gzip
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import fans.images
from fans import images
from fans.images import bundled, cache, galaxies, synthetic
from fans.images.request import NOISE, ORDER, SPLITS, Request

NAMES = [name for name in images.names() if images.card(name).kind != "user"]
SYNTHETIC = ["power_law", "pltb", "egm", "rings", "stars", "mixture", "dead_leaves"]


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """No test may touch the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FANS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FANS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def picture(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten colour pictures, each of one value: 0, 20, ... 180."""
    root = tmp_path / "photos"
    (root / "more").mkdir(parents=True)
    for i in range(10):
        Image.new("RGB", (40, 30), (20 * i,) * 3).save(root / ("more" if i > 4 else "") / f"{i}.png")
    return root


def values(batch: torch.Tensor) -> list[int]:
    """The 8-bit value of each constant image."""
    return [round(float((image.mean() + 1) * 127.5)) for image in batch]


# ---------------------------------------------------------------- what every data set promises


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [8, 15, 33])
def test_shape_type_and_range(name: str, size: int) -> None:
    batch = images.load(name, size=size, count=3)
    assert batch.shape == (3, images.card(name).channels, size, size)
    assert batch.dtype == torch.float32 and batch.is_contiguous()
    assert torch.isfinite(batch).all() and batch.min() >= -1 and batch.max() <= 1
    assert len({image.numpy().tobytes() for image in batch}) == 3 or name in ("photographs", "hubble")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", SPLITS)
def test_an_image_depends_on_seed_split_and_index_only(name: str, split: Any) -> None:
    few = images.load(name, size=16, count=2, seed=3, split=split)
    np.random.seed(0)
    torch.manual_seed(0)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    many = images.load(name, size=16, count=5, seed=3, split=split)
    assert torch.equal(many[:2], few), "a smaller count is a prefix"
    assert np.array_equal(before[0], np.random.get_state()[1]) and torch.equal(
        before[1], torch.get_rng_state()
    )
    assert not torch.equal(many, images.load(name, size=16, count=5, seed=4, split=split))


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(SYNTHETIC),
    size=st.integers(8, 24),
    seed=st.integers(0, 2**40),
    counts=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    split=st.sampled_from(SPLITS),
)
def test_prefix_property(name: str, size: int, seed: int, counts: tuple[int, int], split: Any) -> None:
    few, many = (images.load(name, size=size, count=c, seed=seed, split=split) for c in sorted(counts))
    assert torch.equal(many[: len(few)], few)


@pytest.mark.parametrize("name", ["galaxies", "digits", *SYNTHETIC])
def test_splits_share_no_image(name: str) -> None:
    drawn = [image for split in SPLITS for image in images.load(name, size=16, count=5, split=split)]
    assert len({image.numpy().tobytes() for image in drawn}) == len(drawn)


# ---------------------------------------------------------------- bundled pictures


def marked(channels: int, height: int, width: int) -> np.ndarray:
    """A picture whose every pixel is another number."""
    return np.broadcast_to(np.arange(height * width).reshape(1, height, width), (channels, height, width))


def pixels_used(monkeypatch: pytest.MonkeyPatch, name: str, size: int, split: Any) -> set[int]:
    """The numbers of the originals' pixels that 300 images of a split show."""
    every = sorted({photo for chosen in bundled.PHOTOGRAPHS.values() for photo in chosen})

    def numbered(request: Request, original: str) -> np.ndarray:
        return marked(3, 512, 512) + (every.index(original) * 512**2 if original in every else 0)

    with monkeypatch.context() as patch:
        patch.setattr(bundled, "_picture", numbered)
        patch.setattr(bundled, "to_range", lambda pixels: pixels.astype(np.int64))
        patch.setattr(Request, "stack", lambda self, draw: np.stack([draw(self.rng(i)) for i in range(300)]))
        load = bundled.photographs if name == "photographs" else bundled.parted
        request = Request(name, size=size, count=300, seed=0, split=split)
        return set(np.unique(load(request)).tolist())


@pytest.mark.parametrize("name", ["photographs", "brick", "grass", "gravel", "hubble"])
def test_no_held_out_image_shares_a_pixel_with_another_split(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = {split: pixels_used(monkeypatch, name, 32, split) for split in SPLITS}
    assert all(len(pixels) > 10_000 for pixels in used.values())
    assert not used["train"] & used["test"]
    assert not used["train"] & used["validation"]
    assert not used["test"] & used["validation"]
    if name == "photographs":  # an original never serves two splits
        originals = {split: {pixel // 512**2 for pixel in pixels} for split, pixels in used.items()}
        assert {split: len(o) for split, o in originals.items()} == {"train": 4, "test": 2, "validation": 1}
    monkeypatch.setattr(bundled, "PHOTOGRAPHS", dict.fromkeys(SPLITS, bundled.PHOTOGRAPHS["train"]))
    if name == "photographs":  # the test would notice
        assert pixels_used(monkeypatch, name, 32, "train") & pixels_used(monkeypatch, name, 32, "test")


@pytest.mark.parametrize("size", [8, 63, 64, 170])
def test_parts_of_a_texture_keep_a_gap_of_one_size(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    used = {split: np.array(sorted(pixels_used(monkeypatch, "brick", size, split))) for split in SPLITS}
    rows, columns = ({split: f(pixels, 512) for split, pixels in used.items()} for f in (np.divide, np.mod))
    assert min(columns["test"].min(), columns["validation"].min()) - columns["train"].max() > size
    assert rows["validation"].min() // 1 - rows["test"].max() // 1 > size
    if size > 100:
        assert columns["train"].min() == 0 and columns["test"].max() == columns["validation"].max() == 511


def test_textures_are_exact_crops_of_their_own_half() -> None:
    from skimage.data import brick

    scaled = (brick() / 127.5 - 1).astype(np.float32)
    for split, low, high in (("train", 0, 224), ("test", 288, 512), ("validation", 288, 512)):
        windows = np.lib.stride_tricks.sliding_window_view(scaled, (1, 64))[:449, :, 0]
        for crop in images.load("brick", size=64, count=4, split=split)[:, 0].numpy():
            rows, columns = np.nonzero((np.abs(windows - crop[0]) < 1e-6).all(-1))
            found = [
                left
                for top, left in zip(rows, columns, strict=True)
                if np.allclose(scaled[top : top + 64, left : left + 64], crop, atol=1e-6)
            ]
            assert found and all(low <= left and left + 64 <= high for left in found)


def test_photographs_keep_their_colours_and_full_range() -> None:
    batch = images.load("photographs", size=64, count=40)
    assert batch.min() == -1 and batch.max() == 1
    assert (batch[:, 0] - batch[:, 2]).abs().mean() > 0.1


def test_digits_are_padded_never_resampled() -> None:
    native = images.load("digits", size=8, count=20)
    padded = images.load("digits", size=21, count=20)
    assert torch.equal(padded[:, :, 6:14, 6:14], native)
    padded[:, :, 6:14, 6:14] = -1
    assert (padded == -1).all(), "the background is the digits' own"
    assert set(((native + 1) * 8).unique().tolist()) <= set(range(17))


def test_digits_come_once() -> None:
    from sklearn.datasets import load_digits

    counts = {"train": 1200, "validation": 237, "test": 360}
    drawn = torch.cat([images.load("digits", size=8, count=n, split=s) for s, n in counts.items()])
    original = load_digits().images
    assert sorted(map(bytes, ((drawn + 1) * 8).to(torch.uint8).numpy())) == sorted(
        map(bytes, original.astype(np.uint8))
    )


# ---------------------------------------------------------------- spectra against their closed forms


def radius(size: int) -> np.ndarray:
    frequency = np.fft.fftfreq(size)
    return np.sqrt(frequency[:, None] ** 2 + frequency[None, :] ** 2)


def power_law_form(size: int, alpha: float) -> np.ndarray:
    shape = np.array([[f**-alpha if f else 0.0 for f in row] for row in radius(size)])
    return 0.04 * shape / shape.mean()


def rings_form(size: int, centres: tuple[float, ...], width: float, floor: float) -> np.ndarray:
    shape = np.array(
        [
            [floor + sum(np.exp(-0.5 * ((f - c) / width) ** 2) for c in centres) if f else 0.0 for f in row]
            for row in radius(size)
        ]
    )
    return 0.04 * shape / shape.mean()


def worst_deviation(batch: torch.Tensor, expected: np.ndarray) -> float:
    """Largest |z| over rings of the mean of periodogram / expectation.

    The ratio is exponential (variance 1) at each frequency and the same at +f and -f, or chi-square of
    variance 2 where these coincide: its mean over m frequencies and N images has variance 2 / (m N).
    """
    x = batch[:, 0].double().numpy()
    observed = (np.abs(np.fft.fft2(x, norm="ortho")) ** 2).mean(0)
    assert observed[0, 0] < 1e-9, "no power at zero frequency"
    keep = expected > 0
    ring = np.rint(radius(len(expected)) * len(expected)).astype(int)[keep]
    ratio = observed[keep] / expected[keep]
    count = np.bincount(ring)[1:]
    mean = np.bincount(ring, ratio)[1:] / count
    return float(np.max(np.abs(mean - 1) * np.sqrt(count * len(x) / 2)))


@pytest.mark.parametrize("size", [31, 32])
@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0, 3.0])
def test_power_law_has_its_stated_spectrum(size: int, alpha: float) -> None:
    expected = power_law_form(size, alpha)
    assert np.allclose(images.power_law_spectrum(size, alpha=alpha), expected, rtol=1e-12)
    batch = images.load("power_law", size=size, count=600, alpha=alpha)
    assert worst_deviation(batch, expected) < 4.5
    assert worst_deviation(batch, power_law_form(size, alpha + 0.1)) > 6, "a wrong exponent must be rejected"
    assert worst_deviation(batch, 0.9 * expected) > 6, "a wrong scale must be rejected"


@pytest.mark.parametrize("size", [31, 32])
def test_rings_have_their_stated_spectrum(size: int) -> None:
    expected = rings_form(size, (0.1, 0.4), 0.03, 1e-4)
    assert np.allclose(images.rings_spectrum(size), expected, rtol=1e-12)
    batch = images.load("rings", size=size, count=600)
    assert worst_deviation(batch, expected) < 4.5
    assert worst_deviation(batch, rings_form(size, (0.11, 0.4), 0.03, 1e-4)) > 6, (
        "a wrong ring must be rejected"
    )
    other = images.load("rings", size=size, count=600, frequencies=np.array([0.25]), width=0.05, floor=0.01)
    assert worst_deviation(other, rings_form(size, (0.25,), 0.05, 0.01)) < 4.5


def test_fields_have_deviation_one_fifth_and_are_hardly_clipped() -> None:
    for name in ("power_law", "rings", "pltb", "egm"):
        batch = images.load(name, size=64, count=200)
        assert batch.std() == pytest.approx(0.2, abs=0.004), name
        assert (batch.abs() == 1).float().mean() < 1e-4, name


def slope(batch: torch.Tensor) -> float:
    """Exponent of the Hann-windowed mean spectrum between 0.05 and 0.4 cycles per pixel."""
    x = batch[:, 0].double().numpy()
    size = x.shape[-1]
    window = np.hanning(size + 1)[:-1]
    window = np.outer(window, window)
    x = x - (x * window).sum((1, 2), keepdims=True) / window.sum()
    power = (np.abs(np.fft.fft2(x * window)) ** 2).mean(0)
    f = radius(size)
    keep = (f > 0.05) & (f < 0.4)
    return -float(np.polyfit(np.log(f[keep]), np.log(power[keep]), 1)[0])


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0, 3.0])
def test_crops_of_larger_fields_keep_the_exponent(alpha: float) -> None:
    batch = images.load("power_law", size=64, count=60, alpha=alpha, scale=4)
    assert slope(batch) == pytest.approx(alpha, abs=0.1)


def test_scale_makes_a_field_that_is_not_periodic() -> None:
    def seam(scale: int) -> float:
        x = images.load("power_law", size=32, count=100, alpha=3.0, scale=scale)
        return float((x[..., 0] - x[..., -1]).square().mean() / (x[..., 1] - x[..., 0]).square().mean())

    assert seam(1) == pytest.approx(1, abs=0.1)
    assert seam(4) > 5


def test_pltb_decays() -> None:
    batch = images.load("pltb", size=64, count=100)
    assert slope(batch) == pytest.approx(1.0, abs=0.1), "decays as 1/f; the published sign would give -1"
    assert batch.mean(dim=(1, 2, 3)).abs().max() < 1e-6
    assert torch.allclose(batch.std(dim=(1, 2, 3), correction=0), torch.tensor(0.2), atol=1e-6)
    raw = images.load("pltb", size=64, count=100, normalise=False)
    assert torch.equal(raw, images.load("power_law", size=64, count=100, alpha=1.0))
    assert raw.std(dim=(1, 2, 3)).std() > 1e-4


def test_gratings_stay_in_their_band() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        power = np.abs(np.fft.fft2(synthetic._grating(rng, 128))) ** 2
        assert 0.04 - 1 / 128 < radius(128).ravel()[power.argmax()] < 0.22 + 1 / 128


def test_checkerboards_and_segments_are_what_they_are_called() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        board = synthetic._checkerboard(rng, 64)
        assert set(np.unique(board)) == {-1.0, 1.0}
        change = np.nonzero(np.diff(board[0]))[0]
        assert len(set(np.diff(change))) == 1 and 3 <= change[1] - change[0] <= 12
        line = synthetic._segment(rng, 64)
        assert line.min() >= 0 and line.max() <= 1 and line.mean() < 0.06, "sparse"


def test_egm_images_have_mean_zero_and_one_deviation() -> None:
    batch = images.load("egm", size=33, count=50).double()
    assert batch.mean(dim=(1, 2, 3)).abs().max() < 1e-3, "exact but for rare clipping"
    assert (batch.std(dim=(1, 2, 3), correction=0) - 0.2).abs().max() < 1e-3


# ---------------------------------------------------------------- images that are not Gaussian


def test_a_mixture_has_its_stated_mean_spectrum_and_its_components() -> None:
    alphas, decibels = (1.0, 3.0), (0.0, -20.0)
    spectra = images.mixture_spectra(16, alphas=alphas, decibels=decibels)
    assert np.allclose(spectra[3], 0.01 * power_law_form(16, 3.0), rtol=1e-12), "exponents first"
    x = images.load("mixture", size=16, count=4000, alphas=alphas, decibels=decibels)[:, 0].double().numpy()
    power = np.abs(np.fft.fft2(x, norm="ortho")) ** 2
    score = (power.mean(0) - spectra.mean(0)) / (power.std(0) / np.sqrt(len(x)) + 1e-12)
    assert np.abs(score).max() < 4.5, "128 frequencies, each near normal"
    one = (power.mean(0) - spectra[0]) / (power.std(0) / np.sqrt(len(x)) + 1e-12)
    assert np.abs(one).max() > 10, "a single component must be rejected"
    variance = np.sort(x.var((1, 2)))
    gap = variance[1:] / variance[:-1]
    assert 0.45 < (1 + gap.argmax()) / len(x) < 0.55, "half of the images have the lower contrast"


def overlap(r: np.ndarray, h: float) -> np.ndarray:
    """Area that a disc of radius r shares with itself moved by h."""
    half = np.minimum(h / (2 * r), 1)
    return 2 * r**2 * (np.arccos(half) - half * np.sqrt(1 - half**2))


def leaves_correlation(h: float, smallest: float, largest: float, exponent: float) -> float:
    """Matheron's ``g(h) / (2 g(0) - g(h))`` for radii of density ~ r^-exponent."""
    r = np.geomspace(smallest, largest, 20_001)
    shared, whole = (np.trapezoid(overlap(r, d) * r**-exponent, r) for d in (h, 0.0))
    return float(shared / (2 * whole - shared))


def test_dead_leaves_have_their_stated_law() -> None:
    options: dict[str, Any] = {"channels": 1, "radii": (1.0, 8.0), "oversampling": 1}
    x = images.load("dead_leaves", size=12, count=4000, **options)[:, 0].double().numpy()
    found, right, wrong = [], [], []
    for h in (1, 2, 4, 8):
        product = 3 * (x[:, :, h:] * x[:, :, :-h]).mean((1, 2))  # uniform colours have variance 1/3
        error = product.std() / np.sqrt(len(x))
        found.append(product.mean())
        right.append((found[-1] - leaves_correlation(h, 1.0, 8.0, 3.0)) / error)
        wrong.append((found[-1] - leaves_correlation(h, 1.0, 8.0, 2.5)) / error)
    assert np.abs(right).max() < 4, (found, right)
    assert np.abs(wrong).max() > 6, "another exponent must be rejected"


def test_dead_leaves_fall_as_their_card_says_and_have_edges() -> None:
    leaves = images.load("dead_leaves", size=64, count=300, channels=1)
    (stated,) = re.findall(r"f\^-([\d.]+)", images.card("dead_leaves").note)
    # Over 5 seeds the slope of 300 images scatters by 0.011; the card has one decimal.
    assert slope(leaves) == pytest.approx(float(stated), abs=0.05 + 4 * 0.011)
    step = (leaves[..., 1:] - leaves[..., :-1]).double()
    field = images.load("power_law", size=64, count=300, alpha=2.6).double()
    kurtosis = [
        float(d.pow(4).mean() / d.square().mean() ** 2) for d in (step, field[..., 1:] - field[..., :-1])
    ]
    assert kurtosis[0] > 6, "few steps, and large ones"
    assert kurtosis[1] == pytest.approx(3, abs=0.2), "a Gaussian field has none"


def test_dead_leaves_are_means_of_points() -> None:
    fine = images.load("dead_leaves", size=16, count=3, oversampling=1, radii=(4.0, 8.0))
    assert len(fine[0, 0].unique()) < 60, "leaves of one colour"
    colour, grey = (images.load("dead_leaves", size=16, count=3, channels=c) for c in (3, 1))
    assert colour.shape[1] == 3 and grey.shape[1] == 1


# ---------------------------------------------------------------- Fashion-MNIST


@pytest.fixture
def garments(tmp_path: Path) -> Path:
    """Files as Fashion-MNIST's, in which image i of 60000 and 10000 shows i in its first two pixels."""
    for name, total in (("train", 60_000), ("t10k", 10_000)):
        content = np.zeros((total, 28, 28), np.uint8)
        content[:, 0, 0], content[:, 0, 1] = np.divmod(np.arange(total), 256)
        header = b"".join(n.to_bytes(4, "big") for n in (0x803, total, 28, 28))
        data = gzip.compress(header + content.tobytes(), compresslevel=1)
        (tmp_path / f"{name}-images-idx3-ubyte.gz").write_bytes(data)
    return tmp_path


def test_fashion_has_its_own_test_split_and_no_image_twice(garments: Path) -> None:
    seen = {}
    for split, count in (("train", 3000), ("validation", 10_000), ("test", 10_000)):
        x = images.load("fashion", size=30, count=count, split=split, folder=str(garments))
        assert x.shape == (count, 1, 30, 30) and (x[:, :, 0] == -1).all(), "centred on the background"
        high, low = ((x[:, 0, 1, 1 + i].double() + 1) * 127.5 for i in (0, 1))
        seen[split] = (high * 256 + low).round().long().tolist()
        assert len(set(seen[split])) == count
    assert max(seen["train"]) < 50_000 <= min(seen["validation"])
    assert sorted(seen["test"]) == list(range(10_000))


def test_fashion_without_files_or_with_wrong_ones_gives_one_clear_error(
    garments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fans.images import garments as module

    monkeypatch.setattr(module, "DEBIAN", tmp_path / "nowhere")
    monkeypatch.setattr(module, "rows", lambda *args: (_ for _ in ()).throw(ConnectionError("no route")))
    advice = "install Debian's package dataset-fashion-mnist, or give folder="
    with pytest.raises(FileNotFoundError, match=f"no folder .*nowhere.*no route.*{advice}"):
        images.load("fashion", size=32, count=1)
    with pytest.raises(FileNotFoundError, match=f"cannot read .*absent.*{advice}"):
        images.load("fashion", size=32, count=1, folder=str(tmp_path / "absent"))
    (garments / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"something else"))
    with pytest.raises(ValueError, match=f"is no idx file of 28x28 images.*{advice}"):
        images.load("fashion", size=32, count=1, split="test", folder=str(garments))
    with pytest.raises(ValueError, match="size=16 is too small for 'fashion'"):
        images.load("fashion", size=16, count=1, folder=str(garments))
    with pytest.raises(ValueError, match="split 'test' has 10000"):
        images.load("fashion", size=28, count=10_001, split="test", folder=str(garments))


def test_fashion_comes_through_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    from fans.images import garments as module

    table = datasets.Dataset.from_dict({"image": [Image.new("L", (28, 28), i % 256) for i in range(10_000)]})
    monkeypatch.setattr(module, "DEBIAN", tmp_path / "nowhere")
    monkeypatch.setattr(module, "rows", lambda request, target, config, split: table)
    assert images.load("fashion", size=28, count=2, split="test").shape == (2, 1, 28, 28)


# ---------------------------------------------------------------- skies


def test_values_beyond_the_range_are_clipped() -> None:
    batch = images.load("stars", size=16, count=4, noise=1.0)
    assert batch.min() == -1 and batch.max() == 1


def test_further_streams_are_not_the_image_s_own() -> None:
    request = Request("stars", size=16, count=1, seed=0, split="train")
    assert len({request.rng(0, *stream).random() for stream in ((), (NOISE,), (ORDER,))}) == 3
    light = request.stack(lambda rng: np.ones((1, 16, 16)))
    noise = synthetic.on_sky(request, light, 0.1)[0] - 0.5
    assert np.allclose(noise, 0.1 * request.rng(0, NOISE).standard_normal((1, 16, 16), np.float32), atol=1e-6)


@pytest.mark.parametrize("name", ["stars", "galaxies"])
def test_noise_is_white_and_a_fraction_of_the_peak(name: str) -> None:
    clean = images.load(name, size=32, count=8, noise=0)
    assert torch.allclose(clean.amax(dim=(1, 2, 3)), torch.tensor(0.5), atol=1e-6)
    assert clean.min() > -0.52
    noise = images.load(name, size=32, count=8, noise=0.05) - clean
    assert noise.std() == pytest.approx(0.05, rel=0.05)
    power = (torch.fft.fft2(noise[:, 0], norm="ortho").abs() ** 2).mean(0) / 0.05**2
    assert power[:, 1:16].mean() == pytest.approx(1, abs=0.1)
    assert power[radius(32) > 0.5].mean() == pytest.approx(1, abs=0.15)


def test_star_fluxes_follow_their_power_law() -> None:
    field = Request("stars", size=64, count=1, seed=0, split="train").rng(0)
    light = [synthetic._star_field(field, 64, 2.0, 0.0).sum() for _ in range(4000)]
    light = np.array([flux for flux in light if flux > 0]) * 8 * np.log(2) / (2 * np.pi * 2.0**2)
    inside = np.sort(light)[len(light) // 10 :]  # the faintest tenth holds stars cut by the frame
    assert -1 / np.mean(np.log(inside.min() / inside)) == pytest.approx(1.5, rel=0.1)


def test_a_sharper_star_has_a_flatter_spectrum() -> None:
    sharp, wide = (slope(images.load("stars", count=60, fwhm=fwhm, noise=0)) for fwhm in (1.2, 3.0))
    assert sharp < 1 < 4 < wide


def test_more_density_means_more_stars() -> None:
    few, many = (images.load("stars", count=30, density=d, noise=0) for d in (0.001, 0.02))
    assert (many > -0.49).float().mean() > 3 * (few > -0.49).float().mean()


# ---------------------------------------------------------------- the cache of galaxies


def stored(directory: Path) -> Path:
    (path,) = directory.iterdir()
    assert path.suffix == ".npy"
    return path


def galaxy(count: int = 2, **options: Any) -> torch.Tensor:
    return images.load("galaxies", size=16, count=count, **options)


def test_a_hit_equals_a_miss(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    miss = galaxy(3)
    assert np.load(stored(fresh_cache)).shape == (3, 1, 16, 16), "an ordinary .npy file"
    monkeypatch.setattr(galaxies, "_galaxy", None)
    assert torch.equal(galaxy(3), miss) and torch.equal(galaxy(2), miss[:2])
    assert not torch.equal(galaxy(3, noise=0.1), miss), "all noise levels share the file"


def test_a_larger_count_draws_only_what_is_missing(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    draw = galaxies._galaxy
    monkeypatch.setattr(galaxies, "_galaxy", lambda rng, size: drawn.append(1) or draw(rng, size))
    few = galaxy(2)
    many = galaxy(5)
    assert len(drawn) == 5 and torch.equal(many[:2], few)
    stored(fresh_cache).unlink()
    assert torch.equal(galaxy(5), many), "growing in steps equals drawing at once"


def test_each_key_has_its_own_file(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    galaxy(1), galaxy(1, seed=1), galaxy(1, split="test"), images.load("galaxies", size=17, count=1)
    monkeypatch.setattr(galaxies, "_galsim_version", lambda request: "another")
    galaxy(1)
    assert len(list(fresh_cache.iterdir())) == 5


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped bit", "other key", "plain array", "text"])
def test_a_damaged_or_foreign_file_is_rebuilt(damage: str, fresh_cache: Path) -> None:
    good = galaxy()
    path = stored(fresh_cache)
    whole = path.read_bytes()
    match damage:
        case "truncated":
            path.write_bytes(whole[:-100])
        case "empty":
            path.write_bytes(b"")
        case "flipped bit":
            path.write_bytes(whole[:400] + bytes([whole[400] ^ 1]) + whole[401:])
        case "other key":
            galaxy(seed=9)
            (other,) = set(fresh_cache.iterdir()) - {path}
            other.replace(path)
        case "plain array":
            np.save(path, np.zeros((2, 1, 16, 16), np.float32))
        case "text":
            path.write_text("not an array")
    assert torch.equal(galaxy(), good)
    assert stored(fresh_cache).read_bytes() == whole


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_interrupted_write_leaves_nothing_half_written(
    step: str, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = galaxy()
    before = stored(fresh_cache).read_bytes()

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cache.os, step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            galaxy(4)
    assert stored(fresh_cache).read_bytes() == before, "the old file stands, no other is left"
    assert torch.equal(galaxy(4)[:2], good)


def test_a_full_disk_costs_the_cache_only(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "fsync", full)
    with pytest.warns(UserWarning, match="not cached.*No space left.*FANS_CACHE"):
        batch = galaxy()
    assert len(batch) == 2 and not list(fresh_cache.iterdir())


def test_an_unusable_directory_costs_the_cache_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FANS_CACHE", str(tmp_path / "file" / "below"))
    with pytest.warns(UserWarning, match="set FANS_CACHE to a writable directory"):
        assert len(galaxy()) == 2


def test_the_cache_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANS_CACHE", "~/somewhere")
    assert images.cache_directory() == Path.home() / "somewhere"
    monkeypatch.delenv("FANS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "xdg")
    assert images.cache_directory() == Path("xdg/fans")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert images.cache_directory() == Path.home() / ".cache" / "fans"


# ---------------------------------------------------------------- a user's folder


def test_a_folder_is_split_by_image_and_used_evenly(photos: Path) -> None:
    name = f"folder:{photos}"
    train = values(images.load(name, size=16, count=6))
    test = values(images.load(name, size=16, count=2, split="test"))
    assert sorted(train) == [20 * i for i in range(10) if i % 5 < 3] and sorted(test) == [80, 180]
    assert values(images.load(name, size=16, count=20)) == (train * 4)[:20], "each once before any twice"
    assert values(images.load(name, size=16, count=1, split="validation", holdout=10)) == [160]
    with pytest.raises(ValueError, match="holdout=2 leaves nothing to train on"):
        images.load(name, size=16, count=1, holdout=2)
    assert sorted(values(images.load(name, size=16, count=10, holdout=0))) == [20 * i for i in range(10)]
    few, many = (images.load(name, size=16, count=c) for c in (3, 20))
    assert torch.equal(many[:3], few)


def test_a_folder_gives_exact_crops(tmp_path: Path) -> None:
    original = picture(40, 50)
    Image.fromarray(original).save(tmp_path / "one.png")
    batch = images.load(f"folder:{tmp_path}", size=32, count=6).numpy()
    scaled = np.moveaxis(original, -1, 0) / 127.5 - 1
    windows = np.lib.stride_tricks.sliding_window_view(scaled, (3, 32, 32))[0]
    for crop in batch:
        assert (np.abs(windows - crop) < 1e-6).all((-1, -2, -3)).sum() == 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_image_has_the_channels_asked_for(mode: str, channels: int, tmp_path: Path) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.full((20, 20), 32768, np.uint16))
    else:
        image = Image.new("RGB", (20, 20), (128,) * 3)
        image = image.quantize(2) if mode == "P" else image.convert(mode)
    suffix = "tif" if mode == "CMYK" else "png"
    image.save(tmp_path / f"a.{suffix}", **({"transparency": b"\x80"} if mode == "P" else {}))
    batch = images.load(f"folder:{tmp_path}", size=8, count=2, channels=channels)
    assert batch.shape == (2, channels, 8, 8)
    if mode != "1":
        assert batch.abs().max() < 0.02, "middle gray; 16 bits are not cut to 8"


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    image = Image.fromarray(np.repeat(np.linspace(0, 255, 20).astype(np.uint8)[None], 20, axis=0))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    image.save(tmp_path / "a.png", exif=exif)
    x = images.load(f"folder:{tmp_path}", size=20, count=1, channels=1)[0, 0]
    assert x.std(dim=0).min() > 0.5 and x.std(dim=1).max() < 1e-6


def test_hidden_and_other_files_are_skipped(photos: Path) -> None:
    (photos / "._0.png").write_bytes(b"resource fork")
    (photos / ".thumbnails").mkdir()
    (photos / ".thumbnails" / "x.png").write_bytes(b"nothing")
    (photos / "notes.txt").write_text("nothing")
    assert len(images.load(f"folder:{photos}", size=16, count=8)) == 8


def test_a_truncated_png_is_named(tmp_path: Path) -> None:
    Image.fromarray(picture(40, 40)).save(tmp_path / "broken.png")
    whole = (tmp_path / "broken.png").read_bytes()
    for end in (0, 4, 30, len(whole) // 2, len(whole) * 9 // 10):
        (tmp_path / "broken.png").write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"cannot read .*broken\.png: .*replace or remove it"):
            images.load(f"folder:{tmp_path}", size=16, count=1)


def test_folder_errors(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("nothing")
    with pytest.raises(FileNotFoundError, match=r"no folder '.*absent': write 'folder:PATH'"):
        images.load(f"folder:{tmp_path / 'absent'}")
    with pytest.raises(
        FileNotFoundError, match=r"no images in .*empty.*looked for \.bmp, \.jpeg, \.jpg, \.png"
    ):
        images.load(f"folder:{tmp_path / 'empty'}")
    with pytest.raises(
        ValueError, match=r"\.png is 40x30 pixels, smaller than size=31: lower size or remove it"
    ):
        images.load(f"folder:{photos}", size=31)
    with pytest.raises(
        ValueError,
        match=r"no test images: it has 10, of which every holdout=20-th is for testing and the one before",
    ):
        images.load(f"folder:{photos}", size=16, holdout=20, split="test")
    with pytest.raises(ValueError, match="unknown channels 4: use one of 1, 3"):
        images.load(f"folder:{photos}", channels=4)
    Image.new("L", (16, 16)).save(tmp_path / "empty" / "a.png")
    with pytest.raises(ValueError, match=r"more than the 1 images.*exactly size=16.*lower count or size"):
        images.load(f"folder:{tmp_path / 'empty'}", size=16, count=2)
    Image.fromarray(np.zeros((20, 20), np.float32)).save(tmp_path / "empty" / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif: mode F is neither 8- nor 16-bit integer"):
        images.load(f"folder:{tmp_path / 'empty'}", size=16, count=2)


# ---------------------------------------------------------------- the hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The hub's answer, and what it was asked."""
    import datasets

    answer: dict[str, Any] = {}

    def load_dataset(path: str, config: str | None, *, split: str) -> Any:
        answer["asked"] = (path, config, split)
        if isinstance(answer["rows"], Exception):
            raise answer["rows"]
        return datasets.Dataset.from_dict(answer["rows"])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return answer


def gray(value: int) -> Image.Image:
    return Image.new("L", (20, 20), value)


def test_the_hub_finds_the_image_column(hub: dict[str, Any]) -> None:
    hub["rows"] = {"label": [0, 1, 2], "img": [gray(0), gray(100), gray(200)]}
    batch = images.load("hub:someone/some-set", size=16, count=6, split="test")
    assert batch.shape == (6, 3, 16, 16) and hub["asked"] == ("someone/some-set", None, "test")
    assert sorted(values(batch[:3])) == [0, 100, 200] and values(batch[3:]) == values(batch[:3])
    images.load("hub:x", size=16, count=1, channels=1, config="small", hub_split="train[:80%]")
    assert hub["asked"] == ("x", "small", "train[:80%]")
    both = {"train": "train[:80%]", "test": "train[80%:]"}
    for split in ("train", "test"):
        images.load("hub:x", size=16, count=1, hub_split=both, split=split)
        assert hub["asked"] == ("x", None, both[split])


def test_several_image_columns_need_a_choice(hub: dict[str, Any]) -> None:
    hub["rows"] = {"a": [gray(0)], "b": [gray(100)], "label": [1]}
    with pytest.raises(
        ValueError, match=r"2 image columns \(a, b\) among a, b, label, and no column was given"
    ):
        images.load("hub:x", size=16, count=1)
    with pytest.raises(ValueError, match=r"column='label' is not one of them: choose one with column="):
        images.load("hub:x", size=16, count=1, column="label")
    assert values(images.load("hub:x", size=16, count=1, column="b")) == [100]
    hub["rows"] = {"text": ["nothing to see"]}
    with pytest.raises(ValueError, match=r"0 image columns \(none\) among text"):
        images.load("hub:x", size=16, count=1)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (ConnectionError("no route"), ConnectionError),
        (FileNotFoundError("no such set"), FileNotFoundError),
        (ValueError("config name is missing"), ValueError),
        (RuntimeError("scripts are not supported"), ValueError),
    ],
)
def test_hub_failures_say_what_to_do(hub: dict[str, Any], failure: Exception, kind: type[Exception]) -> None:
    hub["rows"] = failure
    with pytest.raises(kind, match=rf"check the name and the network.*'folder:PATH' \({failure}\)"):
        images.load("hub:someone/some-set")


def test_a_real_offline_hub_gives_one_clear_error(tmp_path: Path) -> None:
    code = (
        "from fans import images\ntry: images.load('hub:someone/none')\nexcept ConnectionError as e: print(e)"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert (
        "cannot load split 'train' of 'someone/none' from the hub: check the name and the network"
        in done.stdout
    )


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            {"name": "bricks"},
            ValueError,
            r"unknown data set 'bricks': did you mean 'brick'\? The names are photog",
        ),
        ({"name": "zzz"}, ValueError, r"unknown data set 'zzz': The names are photographs, .*hub:DATASET"),
        ({"name": "brick:left"}, ValueError, "unknown data set 'brick:left': did you mean 'brick'"),
        ({"name": 3}, TypeError, "name must be a string, got 3"),
        ({"name": "folder"}, ValueError, "'folder' names no source: write 'folder:PATH'"),
        ({"name": "hub:"}, ValueError, "'hub:' names no source: write 'hub:DATASET'"),
        ({"size": 7}, ValueError, "size must be at least 8, got 7"),
        ({"size": 16.0}, TypeError, "size must be a whole number, got 16.0"),
        ({"size": True}, TypeError, "size must be a whole number, got True"),
        ({"count": 0}, ValueError, "count must be at least 1, got 0"),
        ({"count": "9"}, TypeError, "count must be a whole number, got '9'"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"split": "dev"}, ValueError, "unknown split 'dev': use one of train, test, validation"),
        ({"name": "brick", "size": 171}, ValueError, r"size=171 is too large for 'brick'.*at most size=170"),
        (
            {"name": "hubble", "size": 291},
            ValueError,
            r"size=291 is too large for 'hubble'.*at most size=290",
        ),
        (
            {"name": "photographs", "size": 301},
            ValueError,
            r"'train' allows at most size=300.*side of chelsea\)",
        ),
        (
            {"name": "digits", "count": 1201},
            ValueError,
            "count=1201 is too large for 'digits': split 'train' has 1200",
        ),
        ({"name": "brick", "alpha": 1}, TypeError, "'brick' has no option 'alpha'; its options are: none"),
        ({"exponent": 1}, TypeError, "'power_law' has no option 'exponent'; its options are: alpha, scale"),
        ({"alpha": "2"}, TypeError, "alpha must be a number, got '2'"),
        ({"alpha": float("nan")}, ValueError, "alpha must be between -6 and 6, got nan"),
        ({"scale": 0}, ValueError, "scale must be at least 1, got 0"),
        ({"name": "pltb", "normalise": "yes"}, TypeError, "normalise must be True or False, got 'yes'"),
        (
            {"name": "rings", "frequencies": 0.1},
            TypeError,
            r"frequencies must be a sequence like \(0.1, 0.4\), got 0.1",
        ),
        ({"name": "rings", "frequencies": ()}, TypeError, r"frequencies must be a sequence like .*got \(\)"),
        (
            {"name": "rings", "frequencies": (0.8,)},
            ValueError,
            "each of frequencies must be between 0.001 and 0.7072",
        ),
        ({"name": "rings", "width": 0}, ValueError, "width must be between 0.001 and 1, got 0"),
        (
            {"name": "rings", "size": 8, "frequencies": (0.05,), "width": 0.001, "floor": 0},
            ValueError,
            "no frequency of a 8-pixel grid has any power: widen the rings or raise floor",
        ),
        (
            {"name": "mixture", "decibels": ()},
            TypeError,
            r"decibels must be a sequence of numbers, got \(\)",
        ),
        (
            {"name": "mixture", "decibels": (3,)},
            ValueError,
            "each of decibels must be between -100 and 0, got 3",
        ),
        (
            {"name": "dead_leaves", "radii": 3},
            TypeError,
            r"radii must be a pair like \(1.0, 32.0\), got 3",
        ),
        (
            {"name": "dead_leaves", "radii": (4, 2)},
            ValueError,
            "the larger of radii must be between 4.04 and",
        ),
        ({"name": "stars", "fwhm": 0}, ValueError, "fwhm must be between 0.5 and 16, got 0"),
        ({"name": "stars", "noise": -1}, ValueError, "noise must be between 0 and 1, got -1"),
        ({"name": "galaxies", "noise": None}, TypeError, "noise must be a number, got None"),
    ],
)
def test_bad_input_gets_one_clear_message(call: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        images.load(**{"name": "power_law", "size": 16, "count": 1, **call})


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("brick", "skimage.data", "scikit-image"),
        ("digits", "sklearn.datasets", "scikit-learn"),
        ("galaxies", "galsim", "galsim"),
        ("folder", "PIL.Image", "pillow"),
        ("hub:x", "datasets", "datasets"),
    ],
)
def test_a_missing_package_says_how_to_install_it(
    name: str, module: str, package: str, photos: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'needs {package}.*pip install "fans-spectral\[images\]"'):
        images.load(f"folder:{photos}" if name == "folder" else name, size=16, count=1)


def test_importing_images_loads_nothing_heavy() -> None:
    heavy = {"PIL", "datasets", "galsim", "matplotlib", "scipy", "skimage", "sklearn"}
    code = f"import sys, fans.images; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------- cards


@pytest.mark.parametrize("name", images.names())
def test_every_name_has_a_card(name: str) -> None:
    card = images.card(name)
    assert card.name == name and card.title and card.licence and card.attribution and card.note
    assert card.channels in (1, 3) and card.url.startswith("http") == bool(card.url)
    if card.originals is not None and card.originals < 10:
        assert "not a sample" in card.note


def test_cards_of_paths_are_those_of_their_kind() -> None:
    assert images.card("folder:some/path") is images.card("folder:PATH")
    with pytest.raises(ValueError, match="did you mean 'gravel'"):
        images.card("gravle")


def test_licences_are_those_that_the_packages_state() -> None:
    import skimage.data
    import sklearn.datasets

    said = {"CC0": "CC0", "public domain": "public domain"}
    claims = {
        "astronaut": "public domain",
        "rocket": "public domain",
        "chelsea": "CC0",
        "coffee": "CC0",
        "camera": "CC0",
    }
    claims |= {"brick": "CC0", "grass": "CC0", "gravel": "CC0", "hubble_deep_field": "public domain"}
    for name, licence in claims.items():
        assert said[licence] in " ".join(getattr(skimage.data, name).__doc__.split()), name
    readme = (Path(sklearn.datasets.__file__).parent / "images" / "README.txt").read_text()
    assert (
        readme.count("creative commons license") == 2
        and "licenses/by/2.0" in readme
        and "vultilion" in readme
    )
    assert {name for chosen in bundled.PHOTOGRAPHS.values() for name in chosen} == {
        *list(claims)[:5],
        *bundled.FROM_SCIKIT_LEARN,
    }


@pytest.mark.parametrize("module", [fans.images, synthetic])
def test_examples_in_docstrings(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
