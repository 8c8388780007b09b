"""The denoiser of a mixture against brute force, against Wiener's, and under every sampler."""

import doctest
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2, multivariate_normal
from test_process import power_law_spectrum
from torch import Tensor

from fans import diffusion
from fans.diffusion import contrast, grids, mixtures, sampling, wiener
from fans.diffusion.mixtures import MixtureDenoiser

KINDS = ("sample", "epsilon", "noise", "v_prediction", "v_pixel", "score")
FIVE = 10 ** (-np.array([30, 22.5, 15, 7.5, 0]) / 10)
FIVE = FIVE / FIVE.mean()  # five contrasts over 30 dB


def spectra(size: tuple[int, int], alphas: tuple[float, ...] = (0.5, 2.0, 4.0)) -> Tensor:
    """Components of another exponent and contrast each."""
    f = diffusion.radius(size).clamp(min=1 / max(size))
    planes = [f**-alpha / diffusion.plane_mean(f**-alpha, size) for alpha in alphas]
    return torch.stack(planes) * torch.tensor([0.3, 0.1, 1.0])[: len(planes), None, None]


def processes(size: tuple[int, int]) -> dict[str, diffusion.SpectralProcess]:
    C = power_law_spectrum(size)
    return {
        "white": diffusion.white(size=size),
        "EqualSNR": diffusion.equal_snr(C, size=size),
        "blue": diffusion.power_law(0.4, size=size),
        "fans": diffusion.fans(C, size=size, bands=2),
    }


def dense(plane: Tensor, size: tuple[int, int]) -> np.ndarray:
    """The pixels' matrix of a filter, (HW, HW), by the DFT of each unit image."""
    pixels = np.eye(size[0] * size[1]).reshape(-1, *size)
    kept = plane.expand(size[0], size[1] // 2 + 1).numpy()
    full = np.empty(size)
    for row in range(size[0]):
        for column in range(size[1]):
            mirrored = column > size[1] // 2
            full[row, column] = kept[-row % size[0], size[1] - column] if mirrored else kept[row, column]
    return np.fft.ifft2(np.fft.fft2(pixels) * full).real.reshape(len(pixels), -1)


def relative(found: Any, wanted: Any) -> float:
    found, wanted = np.asarray(found), np.asarray(wanted)
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


# Against brute force


@pytest.mark.parametrize("size", [(4, 4), (5, 4), (3, 5)])
@pytest.mark.parametrize("name", ["white", "EqualSNR", "blue", "fans"])
@pytest.mark.parametrize("t", [30, 400, 900])
def test_it_is_the_posterior_mean_of_dense_algebra(name: str, size: tuple[int, int], t: int) -> None:
    process, C, p = processes(size)[name], spectra(size), torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    bayes = MixtureDenoiser(process, C, p)
    x_t = torch.randn(6, 2, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    A, S = dense(process.signal(t), size), dense(process.noise(t).square(), size)
    prior = [dense(plane, size) for plane in C]
    flat = x_t.reshape(6, 2, -1).numpy()
    joint = [A @ covariance @ A.T + S for covariance in prior]
    odds = np.stack([multivariate_normal(cov=J).logpdf(flat).sum(1) for J in joint], 1) + np.log(p.numpy())
    pi = np.exp(odds - np.logaddexp.reduce(odds, 1, keepdims=True))
    means = np.stack(
        [flat @ np.linalg.solve(J, A @ covariance.T) for J, covariance in zip(joint, prior, strict=True)]
    )
    wanted = np.einsum("bk,kbcn->bcn", pi, means)
    assert relative(bayes.responsibilities(x_t, t), pi) < 1e-9
    assert relative(bayes(x_t, t).reshape(6, 2, -1), wanted) < 1e-9
    other = MixtureDenoiser(process, C, torch.tensor([0.2, 0.5, 0.3]))  # an error must be seen
    if pi[:, :2].min() > 0.01:
        assert relative(other(x_t, t).reshape(6, 2, -1), wanted) > 1e-6


@pytest.mark.parametrize("t", [300, 600])
def test_it_is_the_integral_over_all_images(t: int) -> None:
    size, process = (2, 2), diffusion.white(size=(2, 2))
    C = torch.tensor([[[0.4, 0.1], [0.2, 0.1]], [[1.0, 1.0], [1.0, 2.0]]], dtype=torch.float64)
    x_t = torch.tensor([[[0.5, -0.2], [0.1, 0.9]]], dtype=torch.float64)
    axis = np.linspace(
        -7, 7, 43
    )  # steps of a third: a trapezoid rule of Gaussians errs by exp(-2 (pi / 0.66)^2)
    x_0 = np.stack([grid.ravel() for grid in np.meshgrid(*[axis] * 4, indexing="ij")], 1)
    prior = sum(multivariate_normal(cov=dense(plane, size)).pdf(x_0) for plane in C)
    a, s = float(process.signal(t)), float(process.noise(t))
    likelihood = np.exp(-((x_t.numpy().ravel() - a * x_0) ** 2).sum(1) / (2 * s**2))
    posterior = prior * likelihood
    wanted = (posterior[:, None] * x_0).sum(0) / posterior.sum()
    found = MixtureDenoiser(process, C)(x_t, t).ravel()
    assert relative(found, wanted) < 1e-6
    first = wiener.WienerDenoiser(process, C.mean(0))(x_t, t).ravel()
    assert relative(first, wanted) > 1e-2, "the linear denoiser of the same spectrum is another"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["white", "EqualSNR", "blue", "fans"])
def test_one_component_is_wiener_s(name: str, kind: Any) -> None:
    process, C = processes((6, 5))[name], spectra((6, 5))[:1]
    x_t = torch.randn(3, 2, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for t in (1, 500, 999):
        one = wiener.WienerDenoiser(process, C[0], kind)(x_t, t)
        torch.testing.assert_close(
            MixtureDenoiser(process, C, None, kind)(x_t, t), one, rtol=1e-10, atol=1e-12
        )


@pytest.mark.parametrize("kind", KINDS)
def test_all_predictions_are_of_one_image(kind: Any) -> None:
    process, C = processes((6, 5))["fans"], spectra((6, 5))
    x_t = torch.randn(3, 2, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = MixtureDenoiser(process, C, None, kind)(x_t, 300)
    image = MixtureDenoiser(process, C)(x_t, 300)
    torch.testing.assert_close(process.predicted_sample(x_t, p, 300, kind), image, rtol=1e-9, atol=1e-10)


def test_images_may_have_timesteps_of_their_own() -> None:
    bayes = MixtureDenoiser(processes((6, 5))["white"], spectra((6, 5)))
    x_t = torch.randn(3, 1, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.tensor([10, 500, 10])
    single = torch.cat([bayes(x_t[i : i + 1], int(t[i])) for i in range(3)])
    torch.testing.assert_close(bayes(x_t, t), single, rtol=1e-12, atol=0)
    torch.testing.assert_close(bayes.responsibilities(x_t, t).sum(1), torch.ones(3).double())


def test_frequencies_without_power_are_left_alone() -> None:
    C = spectra((6, 5))
    C[:, 0, 0] = 0
    bayes = MixtureDenoiser(processes((6, 5))["white"], C)
    x_t = torch.randn(3, 1, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert bayes(x_t, 500).mean((2, 3)).abs().max() < 1e-12
    assert bayes.responsibilities(x_t, 0).isfinite().all(), "clean images can be classified"


# Under samplers


def scaled(C: Tensor, process: diffusion.SpectralProcess) -> MixtureDenoiser:
    return MixtureDenoiser(process, torch.stack([level * C for level in FIVE.tolist()]))


def on_quantiles(count: int, size: tuple[int, int]) -> Tensor:
    """White noise whose lengths are quantiles of their law."""
    x = torch.randn(count, 1, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    length = np.sqrt(chi2.ppf((np.arange(count) + 0.5) / count, size[0] * size[1]))
    return x / x.square().sum((1, 2, 3), keepdim=True).sqrt() * torch.tensor(length)[:, None, None, None]


@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("method", ["ddim", "contrast"])
def test_the_recursion_of_the_energy_is_what_the_sampler_does(method: Any, steps: int) -> None:
    size, C = (8, 8), power_law_spectrum((8, 8))
    process = diffusion.equal_snr(C, size=size)
    bayes, grid = scaled(C, process), grids.uniform(process, steps)
    x = diffusion.filtered(on_quantiles(301, size), process.noise(1000))
    if method == "ddim":
        x = sampling.sample(
            process, bayes, x.shape, generator=torch.Generator(), steps=steps, start=x, dtype=torch.float64
        )
    else:
        for t, s in pairwise(grid.tolist()):
            x = contrast.contrast_step(process, C, x, bayes(x, t), t, s)
    found = contrast.sampled_contrast(process, C, FIVE, timesteps=grid, sampler=method, quantiles=301)
    whitened = diffusion.filtered(x, C.rsqrt()).square().mean()
    assert float(whitened) == pytest.approx(found.power, rel=1e-8)
    if steps == 20:  # five steps leave images between two contrasts
        shares = bayes.responsibilities(x, 0).argmax(1).bincount(minlength=5) / 301
        np.testing.assert_allclose(found.shares, shares, atol=3 / 301)


def power_error(bayes: MixtureDenoiser, method: Any, steps: int, count: int) -> tuple[float, float]:
    """Relative error of the mean power of samples, and its standard error."""
    x = sampling.sample(
        bayes.process,
        bayes,
        (count, 1, *bayes.process.size),
        generator=torch.Generator().manual_seed(1),
        steps=steps,
        sampler=method,
        dtype=torch.float64,
        spectrum=bayes.spectrum,
    )
    power = x.square().mean((1, 2, 3)) / diffusion.plane_mean(bayes.spectrum, bayes.process.size)
    return float(power.mean()) - 1, float(power.std()) / count**0.5


@pytest.mark.parametrize("method", ["ddim", "ancestral", "heun", "dpmpp_2m"])
@pytest.mark.parametrize("name", ["white", "EqualSNR"])
def test_samplers_reach_the_mean_power_as_steps_grow(name: str, method: Any) -> None:
    size = (8, 8)
    bayes = MixtureDenoiser(processes(size)[name], spectra(size))
    few, many = (power_error(bayes, method, steps, 1500) for steps in (4, 200))
    assert abs(many[0]) < 4 * many[1] + 0.02, "what is left of the error at 200 steps, and chance"
    if method == "ddim":
        assert few[0] < -6 * few[1], "few steps lose power"


def test_ddim_is_of_first_order_heun_and_dpm_solver_of_second() -> None:
    C = power_law_spectrum((16, 16))
    process = diffusion.equal_snr(C, size=(16, 16))

    def order(method: Any) -> float:
        errors = [
            contrast.sampled_contrast(
                process, C, FIVE, timesteps=grids.uniform(process, steps), sampler=method, quantiles=20001
            ).power
            - 1
            for steps in (100, 200)
        ]
        return float(np.log2(errors[0] / errors[1]))

    # The next order is a tenth of the first at 100 steps.
    assert order("ddim") == pytest.approx(1, abs=0.1)
    assert order("heun") == pytest.approx(2, abs=0.3)
    assert order("dpmpp_2m") == pytest.approx(2, abs=0.4)


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        (5, (-11.7, -11.8, -12.5, -13.3, -14.0, -14.6, -15.4, -16.1)),
        (20, (-2.8, -2.7, -2.7, -2.8, -2.8, -2.9, -3.0, -3.1)),
        (50, (-1.1,) * 8),
    ],
)
def test_five_contrasts_lose_what_an_independent_trial_found(steps: int, wanted: tuple[float, ...]) -> None:
    size = (16, 16)
    f = diffusion.radius(size)
    C = torch.where(f > 0, f.clamp(min=1 / 16) ** -2, 0.0)
    bayes = scaled(C / diffusion.plane_mean(C, size), diffusion.white(size=size))
    error, deviation = power_error(bayes, "ddim", steps, 1000)
    found, spread = 10 * np.log10(1 + error), 4.34 * deviation / (1 + error)
    # 1000 images here, 4000 there; the variance of the data there is not known and moves five steps by 1 dB.
    assert found == pytest.approx(np.mean(wanted), abs=4 * spread + (1.3 if steps == 5 else 0.4))
    linear = wiener.sampled_spectrum(
        bayes.process, bayes.spectrum, timesteps=grids.uniform(bayes.process, steps), start="prior"
    )
    lost = 10 * np.log10(
        float(diffusion.plane_mean(linear, size) / diffusion.plane_mean(bayes.spectrum, size))
    )
    assert found < 2.5 * lost, "several times what the linear denoiser loses"


def test_bad_components_get_one_clear_message() -> None:
    process = diffusion.white(size=(4, 4))
    with pytest.raises(ValueError, match="2 spectra need as many positive weights"):
        MixtureDenoiser(process, torch.ones(2, 4, 3), torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"spectrum has shape \(4, 4\)"):
        MixtureDenoiser(process, torch.ones(2, 4, 4))


@pytest.mark.parametrize("module", [mixtures, contrast])
def test_examples_in_docstrings(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
