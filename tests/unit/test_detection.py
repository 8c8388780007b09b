"""Detectors: what they see, honest splits and intervals, what they do not know, and distortions."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import special, stats
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from fans import images
from fans.detection import Detector, detect, tail_fit
from fans.detection import detector as detection
from fans.detection.perturbations import PERTURBATIONS, blurred, jpeg, resized
from fans.filters import Upsampling, upsample
from fans.metrics.evaluation import Row
from fans.spectrum import fit_power_law, radial_frequency, radial_spectrum

Floats = NDArray[np.float64]
SIZE = 32


def plain(generated: Any, real: Any, **options: Any) -> list[Row]:
    return detect(generated=generated, real=real, distortions={}, **options)


pytestmark = pytest.mark.usefixtures("one_thread")


def fields(count: int, *, seed: int = 0, size: int = SIZE, alpha: float = 2.0) -> Tensor:
    """Gaussian, power ~ f^-alpha, cropped from larger ones as photographs are."""
    return images.load("power_law", size=size, count=count, seed=seed, alpha=alpha, scale=2)


def upsampled(count: int, method: Upsampling, *, seed: int = 1) -> Tensor:
    return upsample(fields(count, seed=seed, size=SIZE // 2), method)


def consistent(count: int, *, seed: int = 2) -> Tensor:
    """Zero insertion and a convolution after it, whose expected spectrum is that of a field of alpha 2."""
    coarse = np.random.default_rng(seed).normal(size=(count, 1, SIZE, SIZE))  # of a grid twice the crop's
    white = upsample(torch.from_numpy(coarse), "zeros").numpy()
    f = radial_frequency((2 * SIZE, 2 * SIZE))
    gain = np.where(f > 0, np.where(f > 0, f, 1) ** -1.0, 0)
    found = np.fft.irfft2(np.fft.rfft2(white) * gain, s=white.shape[-2:])
    return torch.from_numpy(0.2 * found / found.std())[..., :SIZE, :SIZE]


def noise(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=shape) * 0.2


def row(rows: Sequence[Row], measure: str) -> Row:
    return next(r for r in rows if r.measure == measure)


# Features


@pytest.mark.parametrize("size", [(32, 32), (24, 33)])
@pytest.mark.parametrize("r_c", [0.2, 0.75])
def test_the_fit_is_that_of_fans_spectrum(size: tuple[int, int], r_c: float) -> None:
    x = 1e4 * noise(5, 3, *size)  # the power of rounding is 1e-12 of theirs
    for found, image in zip(tail_fit(x, r_c=r_c), x, strict=True):
        mean = radial_spectrum(image, window="hann").mean()
        f, f_c = np.asarray(mean.frequency), r_c / 2**0.5
        law = fit_power_law(mean, f_c, 1 / 2**0.5)
        expected = [law.exponent, np.log10(law(f_c)), *np.log10(np.asarray(mean.power)[f >= f_c][[0, -1]])]
        np.testing.assert_allclose(found, expected, atol=1e-9)  # logarithms up to 10, amplified by the fit


def test_the_fit_follows_the_law_of_the_images() -> None:
    r"""Exponent alpha, and a level that falls as r_c^-alpha, at any threshold.

    A ring of n coefficients is the mean of n/2 exponential variables. Its logarithm lies
    :math:`\ln(n/2) - \psi(n/2)` below that of its mean, most in the corner: the fit is too steep.
    """
    x = fields(200, size=64)
    rings = radial_spectrum(np.zeros((64, 64)))
    fits = {r_c: tail_fit(x, r_c=r_c) for r_c in (0.3, 0.6)}
    for r_c, fit in fits.items():
        used = np.asarray(rings.frequency) >= r_c / 2**0.5
        half, log_f = np.asarray(rings.count)[used] / 2, np.log(rings.frequency[used])
        bias = -np.polyfit(log_f, special.digamma(half) - np.log(half), 1)[0]
        assert abs(fit[:, 0].mean() - 2 - bias) < 3.5 * fit[:, 0].std() / len(x) ** 0.5
        # The line is 0.1 lower at its end than without the bias, and at its beginning less.
        assert abs(fit[:, 1].mean() - fits[0.3][:, 1].mean() + 2 * np.log10(r_c / 0.3)) < 0.05


def test_contrast_moves_the_level_alone() -> None:
    x = 1e3 * fields(20)  # the power of rounding is 1e-8 of their weakest
    moved = tail_fit(x / 2) - tail_fit(x)
    np.testing.assert_allclose(moved, np.tile([0, *[-np.log10(4)] * 3], (20, 1)), atol=1e-5)


def test_the_threshold_moves_the_features() -> None:
    """Zero insertion bends the spectrum back up beyond f = 1/4: no power law, and each threshold another."""
    x = upsampled(50, "zeros")
    low, high = (tail_fit(x, r_c=r).mean(0) for r in (0.2, 0.75))
    assert low[0] < 0.5 and high[0] < -2  # the exponents: flat on the whole, rising at the end


def test_constant_images_have_features_too() -> None:
    """Of a power of rounding that is flat: skies are saturated."""
    fit = tail_fit(np.zeros((1, 1, 16, 16)))
    np.testing.assert_allclose(fit, [[0, *[np.log10((2 / 255) ** 2 / 12)] * 3]], atol=1e-12)


def test_every_feature_sees_what_it_should() -> None:
    """Contrast is a matter of spectra, the mean image of pixels."""
    x = noise(400, 1, 16, 16)
    halved, shifted = np.concatenate([x[200:] / 2]), x[200:] + 0.1
    for features, generated, told in (
        ("fit", halved, True),
        ("spectrum", halved, True),
        ("pixels", halved, False),
        ("fit", shifted, False),
        ("spectrum", shifted, False),
        ("pixels", shifted, True),
    ):
        found = plain(generated, x[:200], features=features, r_c=0.3)[0]
        assert (found.low > 0.6) == told and (found.high > 0.8) == told, (features, found)


# Detection


@pytest.mark.parametrize("features", ["fit", "spectrum"])
@pytest.mark.parametrize("method", ["zeros", "nearest", "bilinear"])
def test_upsampling_is_detected(method: Upsampling, features: detection.DetectorFeatures) -> None:
    rows = plain(upsampled(120, method), fields(120), features=features)
    assert row(rows, "accuracy").low > 0.8
    assert row(rows, "real against real").low < 0.5 < row(rows, "real against real").high


@pytest.mark.parametrize("classifier", get_args(detection.Classifier))
def test_every_classifier_detects_it(classifier: detection.Classifier) -> None:
    rows = plain(upsampled(60, "nearest"), fields(60), classifier=classifier)
    assert row(rows, "accuracy").low > 0.8


def test_the_classifier_is_that_of_scikit_learn() -> None:
    real, generated, unseen = fields(40), upsampled(30, "zeros"), upsampled(50, "zeros", seed=5)
    detector = Detector.fit(generated=generated, real=real, r_c=0.5)
    seen = np.concatenate([tail_fit(real[:30], r_c=0.5), tail_fit(generated, r_c=0.5)])
    reference = make_pipeline(StandardScaler(), KNeighborsClassifier(5)).fit(seen, [0] * 30 + [1] * 30)
    told = reference.predict(tail_fit(unseen, r_c=0.5)) == 1
    assert np.array_equal(detector.generated(unseen), told) and told.any()


@pytest.mark.parametrize("features", ["fit", "spectrum"])
def test_a_detector_knows_one_upsampling_and_no_other(features: detection.DetectorFeatures) -> None:
    """Chandrasegaran et al.: another last upsampling, whose spectrum is right, passes."""
    real = fields(200)
    detector = Detector.fit(generated=upsampled(100, "nearest"), real=real[:100], features=features)
    same = detector.accuracy(generated=upsampled(100, "nearest", seed=3), real=real[100:])
    other = detector.accuracy(generated=consistent(100), real=real[100:])
    rising = detector.accuracy(generated=upsampled(100, "zeros", seed=3), real=real[100:])
    assert same.low > 0.9 and other.high < 0.65 and rising.high < 0.65


def test_missing_power_is_not_taken_for_excess() -> None:
    """By a linear detector: trained on repeated spectra, it passes weakened ones."""
    real = fields(200)
    detector = Detector.fit(generated=upsampled(100, "zeros"), real=real[:100], features="spectrum")
    assert detector.accuracy(generated=upsampled(100, "zeros", seed=3), real=real[100:]).low > 0.9
    assert detector.accuracy(generated=upsampled(100, "nearest", seed=3), real=real[100:]).high < 0.65


# Chance


def test_real_against_real_is_chance() -> None:
    """New images for each of 40 seeds: intervals cover, no bias. Judged on its own training, it has both."""
    values, covered, cheats = [], 0, []
    for seed in range(40):
        x = noise(80, 1, 16, 16, seed=seed)
        found = plain(x[40:], x[:40], features="spectrum", seed=seed)
        values.append([r.value for r in found])
        covered += sum(r.low <= 0.5 <= r.high for r in found)
        seen = Detector.fit(generated=x[40:], real=x[:40], features="spectrum")
        cheats.append(seen.accuracy(generated=x[40:], real=x[:40]).low > 0.5)
    assert covered >= stats.binom.ppf(1e-3, 80, 0.95)
    # 40 and 20 predictions, each right with probability 1/2.
    error = 0.5 * (1 / np.array([40, 20]) / 40) ** 0.5
    assert (abs(np.mean(values, 0) - 0.5) < 3.5 * error).all()
    assert np.mean(cheats) > 0.8


@dataclass
class Scripted:
    """A classifier whose predictions are written in the pixels."""

    def predict(self, features: Floats) -> Floats:
        return features[:, 0]


def scripted(told: NDArray[np.bool_]) -> Floats:
    return np.broadcast_to(told.astype(float)[:, None, None, None], (len(told), 1, 8, 8)).copy()


SCRIPT = Detector(Scripted(), "pixels", 0.75, (1, 8, 8))


@given(st.integers(1, 50), st.data())
@settings(max_examples=50, deadline=None)
def test_the_interval_is_wilson_s(count: int, data: Any) -> None:
    right = np.array(data.draw(st.lists(st.booleans(), min_size=2 * count, max_size=2 * count)))
    found = SCRIPT.accuracy(generated=scripted(right[count:]), real=scripted(~right[:count]))
    reference = stats.binomtest(int(right.sum()), 2 * count).proportion_ci(0.95, "wilson")
    np.testing.assert_allclose((found.low, found.high), reference, atol=1e-12)
    assert found.value == pytest.approx(right.mean()) and found.count == 2 * count


def coverage(p: tuple[float, float], counts: tuple[int, int], patches: int, *, grouped: bool) -> float:
    """Share of 500 tests whose interval holds the true accuracy; patches of an original err together."""
    rng, held, truth = np.random.default_rng(0), 0, sum(p) / 2
    for _ in range(500):
        real, generated = (np.repeat(rng.random(n) < q, patches) for n, q in zip(counts, p, strict=True))
        groups = tuple(np.repeat(np.arange(n), patches) for n in counts[::-1]) if grouped else None
        found = SCRIPT.accuracy(
            generated=scripted(generated),
            real=scripted(~real),
            groups=groups,  # type: ignore[arg-type]
        )
        held += found.low <= truth <= found.high
    return held / 500


@pytest.mark.parametrize("p", [(0.5, 0.5), (0.3, 0.7), (0.9, 0.9), (0.5, 1.0)])
@pytest.mark.parametrize("counts", [(40, 40), (15, 60)])
def test_intervals_cover(p: tuple[float, float], counts: tuple[int, int]) -> None:
    assert coverage(p, counts, 1, grouped=True) > 0.92  # three standard errors below 0.95


def test_patches_of_an_original_count_once() -> None:
    assert coverage((0.7, 0.7), (20, 20), 8, grouped=True) > 0.92
    assert coverage((0.7, 0.7), (20, 20), 8, grouped=False) < 0.7  # as if there were 320 images
    few, many = (np.arange(12) % n for n in (3, 12))
    assert detection._trials(few) == 3 and detection._trials(many) == 12
    assert detection._trials(np.array(["a"] * 9 + ["b"])) == pytest.approx(100 / 82)


# Splits


@given(st.lists(st.integers(0, 9), min_size=2, max_size=40), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_halves_divide_originals(labels: list[int], seed: int) -> None:
    groups = np.array(labels)
    patches = detection._Patches(torch.arange(len(groups)), groups)
    one, other = patches.halves(np.random.default_rng(seed))
    assert not set(one.groups) & set(other.groups)
    assert abs(len(set(one.groups)) - len(set(other.groups))) <= 1
    assert sorted([*one.images.tolist(), *other.images.tolist()]) == list(range(len(groups)))
    for part in (one, other):
        assert np.array_equal(groups[part.images.numpy()], part.groups)


def patches_with_a_nuisance(seed: int, *, originals: int = 24, each: int = 10) -> tuple[Tensor, NDArray[Any]]:
    """Patches of images that each have their own contrast and their own spectral tilt."""
    rng = np.random.default_rng(seed)
    contrast, tilt = 10 ** rng.uniform(-1.5, 0, originals), rng.uniform(-3, 3, originals)
    groups = np.arange(originals * each) % originals
    f = np.maximum(radial_frequency((16, 16)), 1 / 16)
    gain = contrast[groups][:, None, None, None] * f ** tilt[groups][:, None, None, None]
    x = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(len(groups), 1, 16, 16))) * gain, s=(16, 16))
    return torch.from_numpy(x), groups


def test_no_leak_between_patches_of_an_image() -> None:
    """Both sides follow one law. The mutant, a split after patches, recognises images instead."""
    honest, leaking = [], []
    for seed in range(10):
        (x, g), (y, h) = (patches_with_a_nuisance(1000 * side + seed) for side in (1, 2))
        options: Any = {"features": "spectrum", "classifier": "knn", "seed": seed}
        honest.append(plain(y, x, groups=(h, g), **options)[0])
        leaking.append(plain(y, x, **options)[0])
    assert sum(r.low > 0.5 for r in leaking) >= 9
    assert sum(r.low <= 0.5 <= r.high for r in honest) >= 9
    assert abs(np.mean([r.value for r in honest]) - 0.5) < 3 * np.std([r.value for r in honest]) / 10**0.5


def test_labels_of_originals_may_be_anything() -> None:
    x, y = noise(48, 1, 16, 16), noise(36, 1, 16, 16, seed=1)
    g, h = np.arange(48) % 12, np.arange(36) % 12
    names = [chr(97 + i) for i in g.tolist()], [chr(97 + i) for i in h.tolist()]
    assert plain(y, x, groups=(h, g)) == plain(y, x, groups=names[::-1])


def test_rows_depend_on_the_seed_only() -> None:
    x, y = fields(60), upsampled(60, "zeros")
    one = detect(generated=y, real=x, features="pixels")
    assert one == detect(generated=y.double().float(), real=x.numpy(), features="pixels")
    assert one != detect(generated=y, real=x, features="pixels", seed=1)
    assert [r.measure for r in one] == ["accuracy", *PERTURBATIONS, "real against real"]
    assert one[-1].value == one[0].floor == one[-1].floor
    assert one[0] == plain(y, x, features="pixels")[0]  # and not on the distortions asked for
    for seed in range(4):  # the floor is that of the real ones alone
        floors = [plain(y, x, features="pixels", seed=seed)[-1] for y in (y, upsampled(60, "nearest"))]
        assert floors[0] == floors[1]


# Distortions


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [10, 90])
def test_jpeg_is_pillow_s(channels: int, quality: int) -> None:
    x = torch.from_numpy(noise(3, channels, 24, 16)).float() * 4  # some beyond [-1, 1]
    found = jpeg(x, quality=quality)
    for image, ours in zip(x.numpy(), found.numpy(), strict=True):
        levels = np.clip(np.rint((image + 1) * 127.5), 0, 255).astype(np.uint8)
        picture = (
            Image.fromarray(levels[0])
            if channels == 1
            else Image.merge("RGB", [*map(Image.fromarray, levels)])
        )
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        expected = np.asarray(Image.open(file).convert("RGB" if channels == 3 else "L"))
        expected = np.moveaxis(expected.reshape(24, 16, channels), -1, 0)
        np.testing.assert_array_equal(np.rint((ours + 1) * 127.5), expected)
    assert found.dtype == x.dtype and found.shape == x.shape


def test_lower_quality_is_a_larger_error() -> None:
    x = fields(5)
    errors = [float((jpeg(x, quality=q) - x).square().mean()) for q in (90, 50, 10)]
    assert (2 / 255) ** 2 / 12 < errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize("factor", [0.75, 0.5, 0.3])
def test_resizing_is_pillow_s(factor: float) -> None:
    x = torch.from_numpy(noise(2, 1, 32, 20)).float()
    found = resized(x, factor=factor)
    small = (round(20 * factor), round(32 * factor))
    for image, ours in zip(x.numpy(), found.numpy(), strict=True):
        picture = Image.fromarray(image[0]).resize(small, Image.Resampling.BICUBIC)
        expected = np.asarray(picture.resize((20, 32), Image.Resampling.BICUBIC))
        np.testing.assert_allclose(ours[0], expected, atol=1e-5)  # weights in single and double precision


@pytest.mark.parametrize("sigma", [0.5, 1.5])
def test_blur_has_the_gain_of_a_sampled_gaussian(sigma: float) -> None:
    """Cosines that are even about the border, where the mirror changes nothing."""
    n, aliases = np.arange(32) + 0.5, np.arange(-3, 4)
    for f in np.array([1, 8, 20, 31]) / 64:
        wave = torch.from_numpy(np.cos(2 * np.pi * f * n)).expand(1, 1, 32, 32)
        wave = torch.cat([wave, 0 * wave, -2 * wave], 1)  # no channel reaches another
        sums = [np.exp(-2 * (np.pi * sigma * (g + aliases)) ** 2).sum() for g in (f, 0)]
        # The kernel ends after 4 sigma, which leaves out 6e-5 of it.
        torch.testing.assert_close(blurred(wave, sigma=sigma), sums[0] / sums[1] * wave, rtol=0, atol=5e-4)


def test_only_test_images_are_distorted() -> None:
    """What takes all high frequencies away takes the accuracy away; a training on such images does not."""
    x, y = fields(100), upsampled(100, "nearest")
    rows = detect(
        generated=y, real=x, features="spectrum", distortions={"twice": lambda x: 2 * x, "none": lambda x: x}
    )
    assert row(rows, "none")[1:] == row(rows, "accuracy")[1:] and row(rows, "accuracy").low > 0.9
    robust = detect(generated=y, real=x, features="spectrum")
    for name in ("resized by 1/2 and back", "blurred by 1 pixel"):
        assert row(robust, name).high < 0.7
    trained = plain(resized(y, factor=0.75), resized(x, factor=0.75), features="spectrum")
    assert row(trained, "accuracy").low > 0.7


# Errors

X = noise(12, 1, 16, 16)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plain(X, X[:11]), "needs 12 generated and as many real images.* got 12 and 11"),
        (lambda: plain(X, X, groups=(np.arange(12), np.zeros(12))), "got 12 and 1: use more"),
        (lambda: plain(X, X, groups=(np.arange(12), np.arange(11))), r"got shapes \(12,\) and \(11,\)"),
        (lambda: plain(X, X, groups=(np.arange(12),)), r"12 generated and of 12 real.*got shapes \(12,\)"),
        (lambda: plain(X, noise(12, 1, 8, 8)), "of the same channels and size"),
        (lambda: plain(X, X * np.nan), "NaN or infinite"),
        (lambda: plain(X, X, features="power"), "unknown features 'power': use one of fit, spectrum, pixels"),
        (lambda: plain(X, X, classifier="tree"), "unknown classifier 'tree': use one of knn, logistic, svm"),
        (lambda: plain(X, X, confidence=1.0), "confidence must lie between"),
        (lambda: tail_fit(X, r_c=0), "r_c=0 must lie between 0 and 1"),
        (lambda: tail_fit(X, r_c=1.0), "r_c=1.0 must lie between 0 and 1"),
        (lambda: tail_fit(X, r_c=0.9), "r_c=0.9 leaves 1 of 11 rings, a fit needs 3"),
        (
            lambda: Detector.fit(generated=X[:2], real=X),
            "training needs 3 generated and 3 real images, got 2",
        ),
        (lambda: SCRIPT.generated(X), r"knows images of \(1, 8, 8\), got \(1, 16, 16\)"),
        (lambda: jpeg(X, quality=96), "a quality of 1 to 95, got 1 channels and 96"),
        (lambda: jpeg(noise(1, 2, 8, 8), quality=50), "JPEG needs 1 or 3 channels"),
        (lambda: resized(X, factor=1.0), "factor=1.0 must lie between 0 and 1"),
        (lambda: resized(X, factor=0.02), "leave a pixel"),
        (lambda: blurred(X, sigma=0.0), "sigma=0.0 must be positive"),
    ],
)
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_images_of_8_bits_are_refused() -> None:
    with pytest.raises(TypeError, match="floating point"):
        detect(generated=X.astype(np.uint8), real=X)


def test_features_have_a_classifier() -> None:
    assert tuple(detection.CLASSIFIER) == get_args(detection.DetectorFeatures)
