"""The law of contrast: its number, its dependence on steps, pixels, schedule, and the step that undoes it."""

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from test_mixtures import FIVE, scaled
from torch import Tensor

from fans import diffusion
from fans.diffusion import contrast, grids, sampling, schedules, wiener

TWO = np.array([0.5, 1.5])


def white(side: int, **options: Any) -> tuple[diffusion.SpectralProcess, Tensor]:
    """White noise and data of equal SNR at all frequencies."""
    return diffusion.white(size=(side, side), **options), torch.ones(side, side // 2 + 1)


def excess(side: int, steps: int, contrasts: np.ndarray, **options: Any) -> float:
    """Loss of power beside that of Gaussian data, exactly."""
    process, C = white(side, **options)
    grid = grids.uniform(process, steps)
    both, gaussian = (
        contrast.sampled_contrast(process, C, c, timesteps=grid, quantiles=20001).power
        for c in (contrasts, [1.0])
    )
    return both - gaussian


def first_order(side: int, steps: int, contrasts: np.ndarray, **options: Any) -> float:
    process, C = white(side, **options)
    changes = contrast.share_changes(process, C, contrasts, timesteps=grids.uniform(process, steps))
    return contrast.relative_loss(changes, contrasts)


@pytest.mark.parametrize("contrasts", [TWO, FIVE])
@pytest.mark.parametrize("side", [16, 64, 256])
def test_the_law_becomes_exact_as_images_grow(side: int, contrasts: np.ndarray) -> None:
    # At first order in the step what is left falls as 1 / side: measured 3.4 / 16, 2.9 / 64, 2.1 / 256.
    once, twice, law = *(excess(side, n, contrasts) for n in (250, 500)), first_order(side, 500, contrasts)
    assert law / (2 * twice - once / 2) == pytest.approx(1, abs=4 / side)
    assert abs(law / (2 * twice) - 1) > 4 / side, "a factor of 2 must be seen"


def test_the_loss_falls_as_one_over_the_steps_and_grows_as_the_root_of_the_side() -> None:
    assert first_order(64, 500, TWO) / first_order(64, 1000, TWO) == pytest.approx(2, rel=0.01)
    # Equal steps of the angle grow towards the clean end: exactly the root only for what is decided early.
    assert first_order(256, 1000, TWO) / first_order(64, 1000, TWO) == pytest.approx(2, rel=0.03)
    assert first_order(64, 1000, 100 * TWO) == pytest.approx(10 * first_order(64, 1000, TWO), rel=0.05)


def test_equal_steps_of_log_snr_lose_nearly_the_same_at_every_size() -> None:
    # The linear betas of DDPM are nearly such steps at the noisy end: what growth is left is theirs.
    linear = partial(first_order, steps=200, contrasts=TWO, schedule=partial(schedules.linear, beta_end=0.02))
    assert linear(256) / linear(64) == pytest.approx(1, abs=0.3)
    assert first_order(256, 200, TWO) / first_order(64, 200, TWO) > 1.8


def test_the_loss_grows_with_the_spread_of_contrasts() -> None:
    spreads = [np.array([1 - d, 1 + d]) for d in (0.01, 0.2, 0.5, 0.9)]
    losses = [excess(64, 500, spread) for spread in spreads]
    assert all(more < less < 0 for less, more in pairwise(losses))
    assert abs(losses[0]) < abs(losses[-1]) / 50, "no spread, no loss"
    # The law holds where contrasts are told apart while there is little signal: not for the first of these.
    law = [first_order(64, 500, spread) for spread in spreads]
    np.testing.assert_allclose(law[1:], losses[1:], rtol=0.15)
    assert law[0] / losses[0] > 3


def test_one_contrast_obeys_the_cosine_law() -> None:
    process, C = white(8)
    for steps in (3, 50):
        grid = grids.uniform(process, steps)
        found = contrast.sampled_contrast(process, C, [1.0], timesteps=grid)
        assert found.shares.tolist() == [1.0]
        # a midpoint rule of 4001 quantiles lacks 1e-4 of the mean of their squares
        assert found.power == pytest.approx(float(wiener.cosine_law(process, C, grid)[0, 0]), rel=2e-4)


def test_detectability_is_the_deviation_of_a_simulated_energy() -> None:
    size = (16, 16)
    f = diffusion.radius(size).clamp(min=1 / 16)
    C, process, t = f**-1.0 / 20, diffusion.white(size=size), 900
    n = torch.randn(20_000, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    s, a = float(process.noise(t)), float(process.signal(t))
    plane = C.mul(a / s**2).sqrt()
    noise, data = (
        diffusion.filtered(x, plane).square().sum((1, 2))
        for x in (s * n, a * diffusion.filtered(n, C.sqrt()))
    )
    lam = float(data.mean() / noise.std())
    assert float(contrast.detectability(process, C, t)) == pytest.approx(
        lam, rel=0.03
    )  # 5 sd of 20 000 draws


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_the_spectrum_of_samples_is_predicted_before_any_is_drawn(alpha: float) -> None:
    size, steps = (16, 16), 20
    f = diffusion.radius(size)
    C = torch.where(f > 0, f.clamp(min=1 / 16) ** -alpha, 0.0)
    C = C / diffusion.plane_mean(C, size)
    bayes = scaled(C, diffusion.white(size=size))
    grid = grids.uniform(bayes.process, steps)
    predicted = contrast.predicted_spectrum(bayes.process, C, FIVE, timesteps=grid)
    x = sampling.sample(
        bayes.process, bayes, (3000, 1, *size), generator=torch.Generator().manual_seed(2), steps=steps,
        dtype=torch.float64,
    )  # fmt: skip
    drawn = torch.fft.rfft2(x, norm="ortho").abs().square().mean((0, 1))
    bands = [(f > low) & (f <= high) for low, high in pairwise((0, 0.2, 0.4, 0.8))]
    gap = [10 * np.log10(float(drawn[b].sum() / predicted[b].sum())) for b in bands]
    lost = [10 * np.log10(float(predicted[b].sum() / C[b].sum())) for b in bands]
    # 3 % standard error of contrasts spread over 30 dB is 0.13 dB; the field of equal SNR is an idealisation.
    assert np.abs(gap).max() < 0.7
    assert max(lost) < -2, "and what is predicted is not small"


@pytest.mark.parametrize("name", ["white", "EqualSNR"])
def test_a_step_that_knows_the_contrast_is_exact_for_gaussian_data(name: str) -> None:
    size = (8, 8)
    f = diffusion.radius(size).clamp(min=1 / 8)
    C = f**-2 / 50
    process = diffusion.white(size=size) if name == "white" else diffusion.equal_snr(C, size=size)
    oracle = wiener.WienerDenoiser(process, C)
    x = process.prior((5, 2, *size), torch.Generator().manual_seed(0), dtype=torch.float64)
    wanted = diffusion.filtered(x, (C / process.prior_power()).sqrt())
    for t, s in pairwise(grids.uniform(process, 4).tolist()):
        x = contrast.contrast_step(process, C, x, oracle(x, t), t, s)
    torch.testing.assert_close(x, wanted, rtol=1e-6, atol=1e-8)


def test_remedies_lose_less_for_the_same_price() -> None:
    process, C = white(64)

    def loss(steps: int, method: Any) -> float:
        grid = grids.uniform(process, steps)
        return 1 - contrast.sampled_contrast(process, C, FIVE, timesteps=grid, sampler=method).power

    assert loss(50, "contrast") < loss(50, "ddim") / 3
    assert loss(50, "heun") < loss(100, "ddim") / 2, "two evaluations a step"


def test_bad_contrasts_get_one_clear_message() -> None:
    process, C = white(8)
    grid = grids.uniform(process, 4)
    with pytest.raises(ValueError, match="must be positive and ascend"):
        contrast.share_changes(process, C, [1.0, 0.5], timesteps=grid)
    with pytest.raises(ValueError, match="one for each of 2 contrasts"):
        contrast.share_changes(process, C, [0.5, 1.0], [1.0], timesteps=grid)
