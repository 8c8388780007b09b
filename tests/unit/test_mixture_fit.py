"""Fits recover the mixture that images were drawn from; the step back is as Gaussian as numbers say."""

import doctest
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from test_mixtures import spectra

from fans import diffusion, images
from fans.diffusion import mixture_fit, reverse_step
from fans.diffusion.mixture_fit import fit_mixture
from fans.diffusion.mixtures import MixtureDenoiser


def test_contrasts_and_weights_are_recovered() -> None:
    levels = (0.0, -10.0, -20.0)
    x = images.load("mixture", size=16, count=3000, decibels=levels)
    x = torch.cat([x, images.load("mixture", size=16, count=600, seed=1, decibels=(-20.0,))])
    fit = fit_mixture(x, 3, shared=True)
    wanted = 10 ** (np.array(levels[::-1]) / 10)
    # each component's contrast is a mean over 1000 images of 255 coefficients; its ratio is good to 1 %
    np.testing.assert_allclose(fit.contrasts / fit.contrasts[-1], wanted, rtol=0.02)
    np.testing.assert_allclose(
        fit.weights, np.array([1600, 1000, 1000]) / 3600, atol=4 * (0.25 / 3600) ** 0.5
    )
    assert float(fit.weights @ fit.contrasts) == pytest.approx(1, abs=1e-6)


def test_spectra_are_recovered() -> None:
    alphas = (0.5, 3.0)
    fit = fit_mixture(images.load("mixture", size=16, count=2000, alphas=alphas, decibels=(0.0,)), 2)
    truth = images.mixture_spectra(16, alphas=alphas, decibels=(0.0,))[..., :9]
    found = sorted(fit.spectra, key=lambda plane: float(plane[0, 8]), reverse=True)
    for plane, wanted in zip(found, truth, strict=True):
        ratio = (plane.numpy() / np.where(wanted > 0, wanted, np.nan))[1:8, 1:8]
        # 1000 images of exponential periodograms: 3 % each
        assert np.abs(ratio - 1).max() < 0.16
        assert np.abs(0.8 * ratio - 1).max() > 0.16


def test_more_components_describe_photographs_that_were_not_fitted() -> None:
    train, test = (
        images.load("photographs", size=16, count=800, split=s).mean(1, keepdim=True)
        for s in ("train", "test")
    )
    mean = train.mean()
    density = [fit_mixture(train - mean, k, shared=True).log_density(test - mean).mean() for k in (1, 4)]
    assert float(density[1] - density[0]) > 0.5, "nats per pixel: contrast varies"


def test_a_fit_of_flat_patches_stays_finite() -> None:
    x = torch.randn(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    x[:30] = 0.0
    fit = fit_mixture(x, 3)
    assert fit.spectra.isfinite().all() and fit.weights.isfinite().all()
    with pytest.raises(ValueError, match="ten images or more for each of 7 components"):
        fit_mixture(x, 7)


@pytest.mark.parametrize(
    ("weights", "means", "variances"),
    [([0.3, 0.7], [-1.0, 0.5], [0.2, 1.0]), ([0.5, 0.4, 0.1], [0.0, 0.0, 0.0], [0.01, 1.0, 4.0])],
)
def test_divergence_is_that_of_adaptive_quadrature(
    weights: list[float], means: list[float], variances: list[float]
) -> None:
    w, m, v = (np.array(values) for values in (weights, means, variances))
    normal = stats.norm(w @ m, np.sqrt(w @ (v + (m - w @ m) ** 2)))

    def integrand(x: float) -> float:
        q = float(w @ stats.norm.pdf(x, m, np.sqrt(v)))
        return q * (np.log(q) - float(normal.logpdf(x)))

    wanted = integrate.quad(integrand, -12, 12, points=[-0.3, 0, 0.3], limit=400)[0]
    found = reverse_step.divergence(*(torch.tensor(values).double() for values in (w, m, v)))
    assert float(found) == pytest.approx(wanted, rel=1e-4)
    one = torch.ones(1).double()
    assert float(reverse_step.divergence(one, one, one)) < 1e-9, "a normal law is normal"


def test_the_law_of_a_step_back_is_that_of_simulated_pairs() -> None:
    size, t, s = (4, 4), 700, 300
    process = diffusion.white(size=size)
    bayes = MixtureDenoiser(process, spectra(size))
    x_t = reverse_step.draw(bayes, 1, t, torch.Generator().manual_seed(3))
    # x_s by the posterior of x_0, drawn component by component
    rng = torch.Generator().manual_seed(4)
    pi = bayes.responsibilities(x_t, t)[0]
    k = torch.multinomial(pi, 100_000, replacement=True, generator=rng)
    C, a, sigma = bayes.spectra[k, 1, 1], float(process.signal(t)), float(process.noise(t))
    X = torch.fft.rfft2(x_t, norm="ortho")[0, 0, 1, 1].abs()
    n = torch.randn(2, 100_000, generator=rng, dtype=torch.float64) / 2**0.5
    x_0 = a * C / (a**2 * C + sigma**2) * X + (C * sigma**2 / (a**2 * C + sigma**2)).sqrt() * n[0]
    b, r = float(process.signal(s)), float(process.noise(s))
    kept = (a * r / (b * sigma)) ** 2  # the Markov posterior's ratio of SNRs
    state = r * kept**0.5 / sigma
    x_s = (b - state * a) * x_0 + state * X + r * (1 - kept) ** 0.5 * n[1]
    # entropy by m-spacings, good to a few thousandths of a nat at this number
    entropy = stats.differential_entropy(x_s.numpy(), method="vasicek")
    wanted = 0.5 * np.log(2 * np.pi * np.e * float(x_s.var())) - entropy
    assert float(reverse_step.step_divergence(bayes, x_t, t, s)[1, 1]) == pytest.approx(
        float(wanted), abs=0.01
    )


def test_a_gaussian_field_steps_back_normally() -> None:
    size = (6, 5)
    bayes = MixtureDenoiser(diffusion.white(size=size), spectra(size)[:1])
    x_t = reverse_step.draw(bayes, 2, 600, torch.Generator().manual_seed(0))
    assert reverse_step.step_divergence(bayes, x_t, 600, 100).max() < 1e-9


@pytest.mark.parametrize("module", [mixture_fit, reverse_step])
def test_examples_in_docstrings(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
