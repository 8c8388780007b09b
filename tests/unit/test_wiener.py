"""The oracle: exact spectra of every sampler, against formulas written twice and against the literature."""

from functools import partial

import pytest
import torch
from test_process import FAMILIES, SIZES, families, power_law_spectrum, rising
from torch import Tensor

from fans import diffusion
from fans.diffusion import grids, schedules, wiener
from fans.diffusion.samplers import Eta, SamplerName
from fans.spectrum import decibel

GENERIC = [
    name for name in FAMILIES if name not in ("article", "code")
]  # these two bring samplers of their own


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found / wanted - 1).abs().max())


def worst(found: Tensor, wanted: Tensor) -> float:
    return float(decibel(found, wanted).abs().max())


# Exact spectra


@pytest.mark.parametrize("steps", [1, 3, 10, 50])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", FAMILIES)
def test_exact_sampling_reproduces_any_spectrum(name: str, size: tuple[int, int], steps: int) -> None:
    built, C = families(size)[name], power_law_spectrum(size)
    C[1, 1] = 0.0  # a gap, and
    C[2, 2] *= 1e4  # a line
    grid = grids.uniform(built, steps)
    found = wiener.sampled_spectrum(built, C, timesteps=grid, sampler="exact")
    assert relative(found[C > 0], C[C > 0]) < 1e-10
    assert found[1, 1] < 1e-20


@pytest.mark.parametrize("steps", [1, 3, 10, 50])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", FAMILIES)
def test_ddim_obeys_the_cosine_law(name: str, size: tuple[int, int], steps: int) -> None:
    built, C = families(size)[name], power_law_spectrum(size)
    grid = grids.uniform(built, steps)
    ratio = wiener.sampled_spectrum(built, C, timesteps=grid, sampler="ddim") / C
    torch.testing.assert_close(ratio, wiener.cosine_law(built, C, grid), rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", FAMILIES)
def test_cosine_law_in_angles(name: str) -> None:
    built, C = families((16, 16))[name], power_law_spectrum((16, 16))
    grid = grids.uniform(built, 10)
    theta = torch.atan2(built.noise(grid), built.signal(grid) * C.sqrt())
    angles = theta.diff(dim=0).cos().square().prod(0)
    torch.testing.assert_close(wiener.cosine_law(built, C, grid), angles, rtol=1e-8, atol=1e-20)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", GENERIC)
def test_ancestral_follows_its_recursion(name: str, size: tuple[int, int]) -> None:
    built, C = families(size)[name], power_law_spectrum(size)
    grid = grids.uniform(built, 10)
    power = built.signal(1000) ** 2 * C + built.noise(1000) ** 2
    for t, s in zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True):
        a_t, s_t, a_s, s_s = built.signal(t), built.noise(t), built.signal(s), built.noise(s)
        kept = 0.0 if s == 0 else (a_t / a_s) * (s_s / s_t) ** 2  # of x_t in the posterior's mean
        jump = s_t**2 - (a_t / a_s) ** 2 * s_s**2  # noise added on the way from s to t
        filtered = a_t * C / (a_t**2 * C + s_t**2)
        power = (kept + a_s * jump / s_t**2 * filtered) ** 2 * power + s_s**2 * jump / s_t**2
    found = wiener.sampled_spectrum(built, C, timesteps=grid, sampler="ancestral")
    assert relative(found, power) < 1e-10


@pytest.mark.parametrize("name", GENERIC)
def test_eta_joins_ddim_and_ancestral(name: str) -> None:
    built, C = families((16, 16))[name], power_law_spectrum((16, 16))
    run = partial(wiener.sampled_spectrum, built, C, timesteps=grids.uniform(built, 10))
    torch.testing.assert_close(run(sampler=Eta(0.0)), run(sampler="ddim"))
    torch.testing.assert_close(run(sampler=Eta(1.0)), run(sampler="ancestral"))


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2)])
@pytest.mark.parametrize("name", ["white", "fans"])
def test_flow_samplers_converge_with_their_order(name: str, method: SamplerName, order: int) -> None:
    built, C = families((16, 16))[name], power_law_spectrum((16, 16))
    coarse, fine = (
        worst(wiener.sampled_spectrum(built, C, timesteps=grids.uniform(built, K), sampler=method), C)
        for K in (50, 100)
    )
    assert coarse / fine == pytest.approx(2**order, rel=0.2)


def test_the_flow_of_equal_snr_is_the_identity() -> None:
    built, C = families((16, 16))["equal_snr"], power_law_spectrum((16, 16))
    for method in ("euler", "heun"):
        found = wiener.sampled_spectrum(built, C, timesteps=[1000, 500, 0], sampler=method)
        assert relative(found, C) < 1e-5


def test_exact_and_ddim_need_no_markov_chain() -> None:
    built, C = rising(), power_law_spectrum((64, 64))
    grid = grids.uniform(built, 20)
    assert relative(wiener.sampled_spectrum(built, C, timesteps=grid, sampler="exact"), C) < 1e-10
    ratio = wiener.sampled_spectrum(built, C, timesteps=grid, sampler="ddim") / C
    torch.testing.assert_close(ratio, wiener.cosine_law(built, C, grid), rtol=1e-10, atol=0)
    with pytest.raises(ValueError, match="no Markov chain"):
        wiener.sampled_spectrum(built, C, timesteps=grid, sampler="ancestral")


# Figures of the literature, recomputed: 64 x 64, f^-2, variance 0.25; largest error of all frequencies, dB


@pytest.mark.parametrize(
    ("name", "ten", "fifty", "thousand"),
    [
        ("white", (4.20, 4.79), (0.79, 1.51), (0.039, 0.110)),
        ("equal_snr", (1.08, 1.68), (0.21, 0.39), (0.011, 0.021)),
        ("flipped_snr", (4.20, 4.79), (0.79, 1.51), (0.039, 0.110)),
        ("power_law", (3.28, 4.02), (0.63, 1.26), (0.031, 0.087)),
        ("blurring", (21.6, 21.7), (2.11, 3.12), (0.106, 0.187)),
    ],
)
def test_discretisation_error_of_each_family(
    name: str, ten: tuple[float, float], fifty: tuple[float, float], thousand: tuple[float, float]
) -> None:
    built, C = families((64, 64))[name], power_law_spectrum((64, 64))
    for steps, wanted in ((10, ten), (50, fifty), (1000, thousand)):
        grid = grids.uniform(built, steps)
        for method, error in zip(("ddim", "ancestral"), wanted, strict=True):
            found = worst(wiener.sampled_spectrum(built, C, timesteps=grid, sampler=method), C)
            assert found == pytest.approx(error, rel=0.025, abs=6e-4)


def test_best_possible_ddim_is_reached_by_equal_snr() -> None:
    built, C = families((16, 16))["equal_snr"], power_law_spectrum((16, 16))
    for steps in (10, 50, 1000):
        ratio = wiener.cosine_law(built, C, grids.uniform(built, steps))
        best = torch.cos(torch.tensor(torch.pi / (2 * steps), dtype=torch.float64)) ** (2 * steps)
        torch.testing.assert_close(ratio, best.expand_as(ratio))


@pytest.mark.parametrize("name", FAMILIES)
def test_equal_angle_beats_the_uniform_grid(name: str) -> None:
    built, C = families((64, 64))[name], power_law_spectrum((64, 64))
    uniform, equal = (
        worst(wiener.cosine_law(built, C, grid), torch.ones_like(C))
        for grid in (grids.uniform(built, 50), grids.equal_angle(built, C, 50))
    )
    if name == "equal_snr":  # where the uniform grid has equal angles already
        assert equal == pytest.approx(uniform, rel=1e-9)
    else:  # by how much, depends on how differently the family's frequencies turn
        assert equal < 0.95 * uniform
    wanted = {"white": (0.79, 0.39), "blurring": (2.11, 1.05)}
    if name in wanted:
        assert (uniform, equal) == pytest.approx(wanted[name], rel=0.015)


def test_a_white_start_costs_what_the_literature_says() -> None:
    built, C = families((64, 64)), power_law_spectrum((64, 64))
    ones = torch.ones(1, 1, dtype=torch.float64)
    for name, cost in (("equal_snr", 17.2), ("power_law", 7.8)):
        run = partial(wiener.sampled_spectrum, built[name], C, timesteps=range(1000, -1, -1))
        assert worst(run(sampler="ddim", start=ones), C) == pytest.approx(cost, abs=0.1)
        assert worst(run(sampler="ancestral", start=ones), C) < 0.4


def test_cost_of_the_practical_prior() -> None:
    size, C = (32, 32), power_law_spectrum((32, 32))
    grid = [1000, 500, 0]
    exact = partial(schedules.cosine, end=1.0)
    early = partial(schedules.cosine, end=0.9)
    assert (
        float(wiener.prior_cost(diffusion.white(size=size, schedule=exact), C, timesteps=grid).abs().max())
        == 0
    )
    cost = wiener.prior_cost(diffusion.white(size=size, schedule=early), C, timesteps=grid)
    a, s = early(torch.tensor(1000.0, dtype=torch.float64))
    torch.testing.assert_close(cost, decibel(s**2 + 0 * C, a**2 * C + s**2))
    forgotten = wiener.prior_cost(
        diffusion.white(size=size, schedule=early), C, timesteps=range(1000, -1, -1), sampler="ancestral"
    )
    assert forgotten.abs().max() < 0.25 * cost.abs().max()


def test_number_of_steps_and_variance_set_the_bias() -> None:
    # linear betas, 10 of 1000 steps, data of power 0.01: samples get 0.072 (ancestral), 0.118 (DDIM) of it
    white = diffusion.white(size=(4, 4), schedule="linear")
    C = torch.full((4, 3), 0.01)
    used = torch.linspace(1000, 1, 10, dtype=torch.float64).round().long()  # the last step goes from 1 to 0
    grid = torch.cat([used, torch.zeros(1, dtype=torch.long)])
    ratio = {
        method: float(
            wiener.sampled_spectrum(white, C, timesteps=grid, sampler=method, start="prior")[0, 0] / 0.01
        )
        for method in ("ancestral", "ddim")
    }
    assert ratio == pytest.approx({"ancestral": 0.072, "ddim": 0.118}, abs=0.001)


# Filters


@pytest.mark.parametrize("name", FAMILIES)
def test_filters_belong_together(name: str) -> None:
    built, C = families((24, 40))[name], power_law_spectrum((24, 40))
    t = torch.tensor([1, 400, 1000])
    G, H = wiener.reconstruction_filter(built, C, t), wiener.noise_filter(built, C, t)
    torch.testing.assert_close(
        built.signal(t) * G + built.noise(t) * H, torch.ones_like(G)
    )  # x_t is the two parts
    power = built.power(t, C)
    torch.testing.assert_close(wiener.denoised_spectrum(built, C, t), G**2 * power)
    assert (wiener.denoised_spectrum(built, C, t) <= C).all()
    torch.testing.assert_close(C - G**2 * power, built.posterior_variance(t, C))  # what the estimate lacks
    assert (wiener.reconstruction_filter(built, C, 0) == 1).all()


def test_filters_are_zero_where_nothing_is_known() -> None:
    """Without power in x_t there is nothing to estimate from, and no 0 / 0."""
    white, C = diffusion.white(size=(4, 4)), torch.ones(4, 3, dtype=torch.float64)
    C[1, 1] = 0
    for found in (wiener.reconstruction_filter(white, C, 0), wiener.denoised_spectrum(white, C, 0)):
        assert found[1, 1] == 0 and (found[C > 0] == 1).all()
    assert (wiener.noise_filter(white, C, 0) == 0).all()


def test_filters_minimise_the_squared_error() -> None:
    white = diffusion.white(size=(2, 2), schedule="linear")
    C = torch.full((2, 2), 0.5, dtype=torch.float64)
    a, s = float(white.signal(300)), float(white.noise(300))
    for filtered, error in (
        (wiener.reconstruction_filter(white, C, 300), lambda g: (1 - g * a) ** 2 * 0.5 + g**2 * s**2),
        (wiener.noise_filter(white, C, 300), lambda h: (1 - h * s) ** 2 + h**2 * a**2 * 0.5),
    ):
        best = float(filtered[0, 0])
        assert error(best) < min(error(best * 1.001), error(best * 0.999))


def test_filters_have_the_corrected_values() -> None:
    # H = sqrt(1 - alpha_bar) / (alpha_bar S + 1 - alpha_bar), not 1 / (...): 5.03, not 50.3
    def at(alpha_bar: float, power: float) -> tuple[float, float]:
        levels = [torch.tensor([0.0, 0.5, x], dtype=torch.float64) for x in (alpha_bar, 1 - alpha_bar)]
        levels[0][:2] = torch.tensor([1.0, 0.5])
        a, s = (level.sqrt()[:, None, None] for level in levels)
        built = diffusion.SpectralProcess.from_tables("errata", (2, 2), a, s)
        C = torch.full((2, 2), power, dtype=torch.float64)
        return float(wiener.noise_filter(built, C, 2)[0, 0]), float(
            wiener.reconstruction_filter(built, C, 2)[0, 0]
        )

    assert at(0.99, 0.01)[0] == pytest.approx(5.03, abs=0.01)
    assert at(0.3, 2.0)[1] == pytest.approx(0.8427, abs=1e-4)


def test_crossover_sweeps_up_as_the_noise_falls() -> None:
    size, A, alpha = (128, 128), 1e-3, 2.0
    f = diffusion.radius(size)
    f[0, 0] = 1 / 128
    white = diffusion.white(size=size)
    t = torch.arange(900, 100, -100)
    found = wiener.crossover(white, A * f**-alpha, t)
    rho = white.snr(t).flatten()
    wanted = ((A * rho) ** (1 / alpha)).clamp(max=0.5**0.5)
    assert float((found - wanted).abs().max()) < 1 / 128
    assert (found.diff() >= 0).all()
    assert wiener.crossover(white, 0 * f, 500) == 0


@pytest.mark.parametrize("prediction", ["sample", "epsilon", "noise", "v_prediction", "score"])
def test_denoiser_predicts_what_it_is_asked_for(prediction: diffusion.Prediction) -> None:
    built = families((12, 9), 50, partial(schedules.cosine, end=0.9))["fans"]
    C = power_law_spectrum((12, 9))
    x_t = torch.randn(3, 1, 12, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.tensor([1, 20, 50])
    image = wiener.WienerDenoiser(built, C)(x_t, t)
    predicted = wiener.WienerDenoiser(built, C, prediction)(x_t, t)
    torch.testing.assert_close(built.predicted_sample(x_t, predicted, t, prediction), image)


# Faults of the published method, with the exact denoiser, 64 x 64, f^-2; error in dB per band


@pytest.fixture(scope="module")
def flow() -> dict[str, Tensor]:
    return diffusion.fault_errors(power_law_spectrum((64, 64)), size=(64, 64), churn=0.0)


def test_repaired_fans_is_right(flow: dict[str, Tensor]) -> None:
    assert float(flow["repaired"].abs().max()) < 0.025


def test_guardrail_and_prior_are_one_fault_in_two_places(flow: dict[str, Tensor]) -> None:
    # -9.75 ... +1.5 dB as published: a start that is white, for a guardrail that is not
    assert float(flow["published"][0]) == pytest.approx(-9.75, abs=0.5)
    assert float(flow["published"][-1]) == pytest.approx(1.5, abs=0.1)
    # -10.3 ... +1.7 dB with the velocity repaired: exactly one over the guardrail's levels
    assert float(flow["without velocity"][0]) == pytest.approx(-10.3, abs=0.4)
    assert float(flow["without velocity"][-1]) == pytest.approx(1.7, abs=0.1)
    # either repair is enough, if the velocity is right
    assert float(flow["only prior"].abs().max()) < 0.025
    assert float(flow["only guardrail"].abs().max()) < 0.025


def test_missing_velocity_term(flow: dict[str, Tensor]) -> None:
    # 0.6 dB with gamma = 1, 3.1 dB with gamma = 4 if only the prior is repaired; more with the guardrail too
    assert float(flow["without prior"].abs().max()) == pytest.approx(0.5, abs=0.1)
    assert float(flow["only velocity"].abs().max()) == pytest.approx(2.7, abs=0.1)
    steep = diffusion.fault_errors(power_law_spectrum((64, 64)), size=(64, 64), churn=0.0, gamma=4.0)
    assert float(steep["without prior"].abs().max()) == pytest.approx(3.0, abs=0.15)
    assert float(steep["repaired"].abs().max()) < 0.025


def test_noise_without_score_inflates_power() -> None:
    errors = diffusion.fault_errors(power_law_spectrum((64, 64)), size=(64, 64), churn=0.5)
    assert float(errors["only score"].max()) == pytest.approx(4.2, abs=0.15)
    assert float(errors["only score"].min()) > 0.5
    assert float(errors["repaired"].abs().max()) < 0.025


def test_double_sigma_loses_18_dB() -> None:
    errors = diffusion.fault_errors(power_law_spectrum((64, 64)), size=(64, 64), release="code")
    assert float(errors["published"].median()) == pytest.approx(-18.4, abs=0.1)
    assert (errors["published"] < -13).all()
    assert float(errors["without double_sigma"].abs().max()) < 0.25
    torch.testing.assert_close(
        errors["without prior"], errors["published"], rtol=0, atol=1e-3
    )  # DDPM forgets


def test_equal_band_power_is_not_white() -> None:
    # the levels that the article's 8 bands get in its guardrail; reported as +9.5 ... -1.5 dB after its
    # normalisation, with a draw that halves the power of the self-conjugate columns
    from fans.spectrum import radial_bands

    C = power_law_spectrum((64, 64))
    built = diffusion.fans_as_published(C, size=(64, 64), timesteps=10)
    rings = radial_bands((64, 64), 8, corners="cut")
    level = torch.stack([built.noise(10)[torch.from_numpy(rings.index == b)][0] for b in range(8)])
    assert (20 * level.log10()).tolist() == pytest.approx([9.5, 5.3, 3.2, 1.7, 0.6, 0.0, -0.9, -1.5], abs=1.1)


# Bad input


def test_errors_say_what_is_allowed() -> None:
    white, C = diffusion.white(size=(8, 8)), torch.ones(8, 5)
    for grid in ([1000, 500], [999, 0], [1000, 1000, 0], [0, 1000], [1000.0, 0.0], []):
        with pytest.raises(ValueError, match="descend from T = 1000 to 0"):
            wiener.sampled_spectrum(white, C, timesteps=grid)
    with pytest.raises(ValueError, match=r"\(H, W//2 \+ 1\)"):
        wiener.sampled_spectrum(white, torch.ones(8, 8), timesteps=[1000, 0])
    with pytest.raises(ValueError, match="must be 'marginal', 'prior' or a tensor"):
        wiener.sampled_spectrum(white, C, timesteps=[1000, 0], start="white")
    with pytest.raises(ValueError, match="not negative"):
        wiener.reconstruction_filter(white, -C, 5)
