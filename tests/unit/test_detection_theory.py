"""The best possible test of a spectrum: against samples, other distributions, and a trained detector."""

import numpy as np
import pytest
import torch
from scipy import stats

from fans import diffusion, hub
from fans.detection import Detector, theory
from fans.spectrum import multiplicity

SIZE = (16, 16)
DEGREES = multiplicity(SIZE)
DATA = (diffusion.radius(SIZE).clamp(min=1 / 16) ** -2.0 / 100).numpy()


def fields(power, count, seed):
    """Gaussian fields of the given power, (N, H, W)."""
    noise = torch.randn(count, *SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.fft.irfft2(torch.fft.rfft2(noise) * torch.as_tensor(power).sqrt(), s=SIZE)


def likelihood_ratio(images, data, samples):
    energy = torch.fft.rfft2(images, norm="ortho").abs().square().numpy() * DEGREES
    return ((1 / data - 1 / samples) * energy).sum((1, 2)) / 2


def auc_and_error(positive, negative):
    """Mann and Whitney's estimate with Hanley and McNeil's standard error."""
    area = stats.mannwhitneyu(positive, negative).statistic / len(positive) / len(negative)
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    n = len(positive)
    return area, np.sqrt((area * (1 - area) + (n - 1) * (one + two - 2 * area**2)) / n**2)


@pytest.mark.parametrize(
    "weights, degrees", [([1.0], [8.0]), ([2.0, 0.5], [4.0, 6.0]), ([1.0, -1.0], [6.0, 6.0])]
)
def test_the_distribution_of_weighted_chi_squares(weights, degrees):
    """Against scipy for one, and a million draws for several."""
    rng = np.random.default_rng(0)
    draws = sum(w * rng.chisquare(k, 1_000_000) for w, k in zip(weights, degrees, strict=True))
    for x in np.quantile(draws, [0.05, 0.5, 0.95]):
        found = theory.chi_square_cdf(x, weights, degrees)
        assert found == pytest.approx((draws <= x).mean(), abs=4 * 0.5 / 1000)
        if len(weights) == 1:
            assert found == pytest.approx(stats.chi2.cdf(x, degrees[0]), abs=1e-7)


@pytest.mark.parametrize("ratio", [0.5, 1.2, 3.0])
def test_one_frequency_is_an_f_test(ratio):
    """The AUC is the chance that one chi-square exceeds another, an F distribution."""
    k = 12
    expected = stats.f.cdf(max(ratio, 1 / ratio), k, k)
    assert theory.auc([ratio], [1.0], k) == pytest.approx(expected, abs=1e-7)
    assert theory.auc([ratio], [1.0], 3, images=4) == pytest.approx(expected, abs=1e-7)
    threshold = stats.chi2.ppf(0.95 if ratio > 1 else 0.05, k)
    power = stats.chi2.sf(threshold / ratio, k) if ratio > 1 else stats.chi2.cdf(threshold / ratio, k)
    assert theory.power([ratio], [1.0], k) == pytest.approx(power, abs=1e-6)


@pytest.mark.parametrize(
    "scheduler, steps", [("DDIMScheduler", 50), ("DDPMScheduler", 100), ("UniPCMultistepScheduler", 30)]
)
def test_theory_is_the_optimal_test_on_samples(scheduler, steps):
    power = hub.scan(scheduler, DATA, steps).power.numpy()
    real, generated = fields(DATA, 2000, 0), hub.simulate(scheduler, DATA, steps, size=SIZE, count=2000)
    scores = [likelihood_ratio(x, DATA, power) for x in (generated, real)]
    measured, error = auc_and_error(*scores)
    assert measured == pytest.approx(theory.auc(power, DATA, DEGREES), abs=4 * error)
    assert measured == pytest.approx(hub.sampler_auc(scheduler, DATA, steps, DEGREES), abs=4 * error)


def test_a_wrong_spectrum_is_noticed_by_this_comparison():
    """Negative control: the theory for 5 % more loss is off by more than four standard errors."""
    power = DATA * 0.9
    scores = [likelihood_ratio(fields(p, 4000, s), DATA, power) for s, p in enumerate((power, DATA))]
    measured, error = auc_and_error(*scores)
    assert measured == pytest.approx(theory.auc(power, DATA, DEGREES), abs=4 * error)
    assert abs(measured - theory.auc(DATA * 0.85, DATA, DEGREES)) > 4 * error


def test_no_trained_detector_beats_the_best_test():
    """Logistic regression on the radial spectrum, trained on 600 images of either kind."""
    power = hub.scan("DDIMScheduler", DATA, 100).power.numpy()
    kinds = [fields(DATA, 1200, 5), fields(power, 1200, 6)]
    scale = 8 * DATA.mean() ** 0.5  # the detector takes images in [-1, 1]
    real, generated = ((x / scale).clamp(-1, 1)[:, None] for x in kinds)
    detector = Detector.fit(generated=generated[:600], real=real[:600], features="spectrum")
    found = detector.accuracy(generated=generated[600:], real=real[600:])
    scores = np.concatenate([likelihood_ratio(x[600:], DATA, power) for x in kinds])
    labels = np.repeat([0, 1], 600)
    best = max(((scores > t) == labels).mean() for t in scores)
    assert found.low < best + 0.02
    assert found.value > 0.5


def test_more_images_see_more_and_the_number_needed_is_the_least():
    samples = DATA * 0.98
    values = [theory.auc(samples, DATA, DEGREES, images=m) for m in (1, 4, 16)]
    assert values == sorted(values)
    needed = theory.images_for(samples, DATA, DEGREES, target=0.9)
    assert theory.auc(samples, DATA, DEGREES, images=needed) >= 0.9
    assert theory.auc(samples, DATA, DEGREES, images=needed - 1) < 0.9
    assert theory.images_for(DATA, DATA, DEGREES, most=100) == 100


def test_steps_until_undetected():
    found = hub.steps_until_undetected("IPNDMScheduler", DATA, DEGREES, target=0.6)
    aucs = [hub.sampler_auc("IPNDMScheduler", DATA, steps, DEGREES) for steps in (found - 1, found)]
    assert aucs[1] <= 0.6 < aucs[0]
    assert hub.steps_until_undetected("DDPMScheduler", DATA, DEGREES, target=0.501, most=20) is None


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: theory.auc([1.0, 2.0], [1.0], 8), "one shape"),
        (lambda: theory.auc([0.0], [1.0], 8), "positive"),
        (lambda: theory.chi_square_cdf(1.0, [1.0], [2.0]), "6 or more"),
        (lambda: theory.power([2.0], [1.0], 8, false_alarms=2), "false_alarms"),
        (lambda: theory.auc([2.0], [1.0], 8, images=0), "images"),
    ],
)
def test_messages(call, message):
    with pytest.raises(ValueError, match=message):
        call()
