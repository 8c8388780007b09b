"""Samplers: parity with diffusers, steps against closed forms, orders, and a sampler of one's own."""

from collections.abc import Callable
from functools import partial

import diffusers
import pytest
import torch
from test_process import CLEAR, FAMILIES, families, power_law_spectrum, rising
from test_sampling import SIZE, network, photographs, power_of, z_scores
from torch import Tensor

from fans import diffusion
from fans.diffusion import SpectralProcess, grids, samplers, wiener
from fans.diffusion.attribution import attribute, trace
from fans.diffusion.samplers import Sampler, SamplerName, Stages
from fans.diffusion.sampling import sample
from fans.spectrum import decibel


def one_step(sampler: Sampler, process: SpectralProcess, t: int, s: int) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients (A, B, S) of a step from t to s of a one-step sampler."""
    found = sampler.stages(process, torch.tensor([[s], [t]]))
    (state,), (estimate,) = found.states, found.estimates
    noise = torch.zeros(1, 1, 1) if found.noise is None else found.noise
    return state[0], estimate[0], noise[0]


# Multi-step methods, against diffusers


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # within diffusers
@pytest.mark.parametrize("steps", [1, 2, 3, 20])
@pytest.mark.parametrize("spacing", ["linspace", "trailing"])
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize(
    ("name", "theirs"), [("dpmpp_2m", "DPMSolverMultistepScheduler"), ("unipc", "UniPCMultistepScheduler")]
)
def test_multistep_methods_are_those_of_diffusers(
    name: SamplerName, theirs: str, prediction: diffusion.Prediction, spacing: str, steps: int
) -> None:
    """With the defaults there: order 2, midpoint or B2, the last step to sigma = 0 and of first order."""
    scheduler = getattr(diffusers, theirs)(prediction_type=prediction, timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    x = x_T = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, t.expand(2)), t, x).prev_sample
    run = partial(
        sample,
        diffusion.white(size=SIZE, schedule="linear"),
        lambda x, t: network(x, t - 1),  # diffusers counts noisy states from 0, we count the clean one
        x.shape,
        generator=torch.Generator(),
        prediction=prediction,
        start=x_T,
        grid=[*(scheduler.timesteps + 1).tolist(), 0],
    )
    # Rounding of 6e-8 a number, in levels that diffusers computes in single precision, and what 20 steps
    # and the slope of the network make of it: 1e-5 was the largest seen.
    scale = float(x.abs().max())
    torch.testing.assert_close(run(sampler=name), x, rtol=0, atol=5e-5 * scale)
    others: list[SamplerName] = ["ddim", "dpmpp_2m" if name == "unipc" else "unipc"]
    for other in others if steps > 2 else []:  # control: the nearest relatives are far outside
        assert float((run(sampler=other) - x).abs().max()) > 3e-4 * scale


# One step, against closed forms


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "inverse_heat"])  # adds no noise at DC
def test_ancestral_is_the_posterior_of_the_forward_chain(name: str) -> None:
    built = families((8, 9), 20)[name]
    t, s = 12, 8
    a_t, s_t, a_s, s_s = built.signal(t), built.noise(t), built.signal(s), built.noise(s)
    jump = a_t / a_s  # x_t = jump x_s + sqrt(added) n
    added = s_t**2 - jump**2 * s_s**2
    precision = 1 / s_s**2 + jump**2 / added
    A, B, S = one_step(samplers.Ancestral(), built, t, s)
    torch.testing.assert_close(S**2, 1 / precision)
    torch.testing.assert_close(A * torch.ones_like(precision), jump / added / precision)
    torch.testing.assert_close(B * torch.ones_like(precision), a_s / s_s**2 / precision)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("name", FAMILIES)
def test_steps_keep_the_marginals(name: str, eta: float) -> None:
    built = families((8, 9), 20)[name]
    A, B, S = one_step(samplers.Eta(eta), built, 15, 6)
    signal = (B + A * built.signal(15)) / built.signal(6)
    power = ((A * built.noise(15)) ** 2 + S**2) / built.noise(6) ** 2
    torch.testing.assert_close(signal, torch.ones_like(signal))
    torch.testing.assert_close(power, torch.ones_like(power))


def test_a_chain_is_asked_for_where_there_is_none() -> None:
    built = rising()
    at = built.check()
    t, before = int(at[0, 0]), int(at[:, 0].min()) - 1
    one_step(samplers.Ancestral(), built, before, before - 1)
    with pytest.raises(ValueError, match=rf"no Markov chain: its SNR rises from t={t - 1} to t={t} at"):
        one_step(samplers.Ancestral(), built, t, t - 1)
    with pytest.raises(ValueError, match="without a chain, such as 'ddim' or 'exact'"):
        one_step(samplers.Eta(0.5), built, t, t - 1)
    for sampler in (samplers.DDIM(), samplers.Eta(0.0)):
        assert all(c.isfinite().all() for c in one_step(sampler, built, t, t - 1))


def test_published_velocity_is_right_only_without_a_change_of_colour() -> None:
    C = power_law_spectrum((32, 32))
    build = partial(diffusion.fans_as_published, C, size=(32, 32), timesteps=2000, guardrail=0.5)
    right, wrong = build(faults=()), build(faults=("velocity",))
    for built in (right, wrong):  # the colour rests while 1 - t/T < guardrail
        change = 1 - one_step(built.sampler, built, 1500, 1499)[0]
        torch.testing.assert_close(change, torch.full_like(change, 1 / 1500), rtol=1e-6, atol=0)
    late = [one_step(built.sampler, built, 400, 399)[0] for built in (right, wrong)]
    assert float((late[0] - late[1]).abs().max()) > 1e-5
    torch.testing.assert_close(late[0], one_step(samplers.Euler(), right, 400, 399)[0])


def test_a_level_that_rests_is_not_extrapolated_from() -> None:
    """Frequencies whose SNR rises or rests take steps of DDIM, and samples stay finite."""
    built = rising()
    assert len(built.check()) > 0
    C = power_law_spectrum((64, 64))
    for name in ("dpmpp_2m", "unipc"):
        found = wiener.sampled_spectrum(built, C, timesteps=grids.uniform(built, 200), sampler=name)
        assert float(decibel(found, C).abs().max()) < 3


# Orders of accuracy


def _grid_in_half_log_snr(process: SpectralProcess, steps: int) -> Tensor:
    """Equal steps between lambda = -7.5 and 7.5, so that what lies beyond is 6e-7 of the power."""
    t = torch.arange(1, process.timesteps)
    half = (process.signal(t) / process.noise(t)).log().flatten()
    wanted = torch.linspace(7.5, -7.5, steps + 1, dtype=torch.float64)
    inner = t[torch.searchsorted(-half, -wanted)].flip(0)
    return torch.cat([torch.tensor([process.timesteps]), inner, torch.tensor([0])])


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("dpmpp_2m", 2), ("unipc", 3)])
@pytest.mark.parametrize("power", [0.05, 1.0])
def test_solvers_in_half_log_snr_have_their_order(name: SamplerName, order: int, power: float) -> None:
    white = diffusion.white(size=(2, 2), timesteps=400_000)  # so many that rounding of times is small
    C = torch.full((2, 2), power, dtype=torch.float64)
    coarse, fine = (
        decibel(
            wiener.sampled_spectrum(white, C, timesteps=_grid_in_half_log_snr(white, K), sampler=name), C
        ).abs()
        for K in (80, 160)
    )
    # the next order of the error adds up to a tenth of the ratio at these steps
    assert float((coarse / fine).max()) == pytest.approx(2**order, rel=0.1)


@pytest.mark.parametrize("name", ["white", "fans"])
def test_more_orders_are_worth_their_price(name: str) -> None:
    """At equal numbers of calls; the uniform grid hides the third order of unipc in its last step."""
    built, C = families((16, 16))[name], power_law_spectrum((16, 16))
    error = {
        sampler: float(
            decibel(wiener.sampled_spectrum(built, C, timesteps=grids.uniform(built, 50), sampler=sampler), C)
            .abs()
            .max()
        )
        for sampler in ("ddim", "dpmpp_2m", "unipc")
    }
    assert error["dpmpp_2m"] < error["ddim"] / 5
    assert error["unipc"] < error["ddim"] / 5


# A sampler of one's own


class Momentum(Sampler):
    """Two estimates and two states, and noise: nothing that exists."""

    reach = 3

    def stages(self, process: SpectralProcess, times: Tensor) -> Stages:
        s, t, before = times
        started = (before > t)[:, None, None] * 0.2
        a_s, kept = process.signal(s), 0.8 * process.noise(s) / process.noise(t)
        return Stages(
            t,
            (kept, -started * kept),
            ((1 + started) * (a_s - kept * process.signal(t)), -started * a_s),
            0.6 * process.noise(s),
        )


class Mutant(Momentum):
    """The same with less noise."""

    def stages(self, process: SpectralProcess, times: Tensor) -> Stages:
        found = super().stages(process, times)
        assert found.noise is not None
        return found._replace(noise=0.8 * found.noise)


@pytest.mark.parametrize("name", ["white", "equal_snr", "fans"])
def test_a_sampler_that_images_know_the_oracle_knows(name: str) -> None:
    photos = photographs(400)
    C = power_of(photos).mean(0)
    common = {"size": SIZE, "schedule": partial(CLEAR, end=0.8)}
    build: dict[str, Callable[..., SpectralProcess]] = {
        "white": diffusion.white,
        "equal_snr": partial(diffusion.equal_snr, C),
        "fans": partial(diffusion.fans, C, bands=4),
    }
    built, streams = build[name](**common), diffusion.streams(3, len(photos))
    x_T = built.add_noise(photos, built.white_noise(photos.shape, streams), 1000)
    options = {"generator": streams, "steps": 8, "start": x_T}
    found = sample(built, wiener.WienerDenoiser(built, C), photos.shape, sampler=Momentum(), **options)
    start = built.signal(1000) ** 2 * power_of(photos) + built.noise(1000) ** 2
    exact = partial(wiener.sampled_spectrum, built, C, timesteps=grids.uniform(built, 8), start=start)
    assert float(z_scores(found, exact(sampler=Momentum())).abs().max()) < 4
    for other in (Mutant(), "ddim", "dpmpp_2m"):  # controls: other samplers are told from it
        assert float(z_scores(found, exact(sampler=other)).abs().max()) > 6


def test_a_sampler_of_ones_own_is_traced() -> None:
    size = (8, 8)
    built, C = families(size, 50)["fans"], power_law_spectrum(size)
    oracle = wiener.WienerDenoiser(built, C, "v_prediction")
    for sampler in (Momentum(), samplers.UniPC(), samplers.Heun()):
        traced = trace(
            built, oracle, (400, 1, *size), generator=diffusion.streams(0, 400), steps=6, sampler=sampler
        )
        assert len(traced.gain) == sampler.calls(6)
        split = attribute(traced, C, bands=3)
        parts = split.sampler + split.gain + split.stray
        torch.testing.assert_close(parts, split.total, rtol=0, atol=1e-9)
        if not isinstance(sampler, Momentum):  # whose noise scatters into the last term
            assert float(split.stray.abs().max()) < 1e-3  # rounding of float32 images


def test_the_state_before_the_first_is_nothing() -> None:
    """Heun's corrector by hand, on pixels: the mean of two slopes."""
    built = diffusion.white(size=(4, 4), timesteps=10, schedule=CLEAR)
    x = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    found = sample(
        built,
        lambda x, t: torch.tanh(x),
        x.shape,
        generator=torch.Generator(),
        grid=[10, 4, 0],
        sampler="heun",
        start=x,
        dtype=torch.float64,
    )

    def slope(x: Tensor, t: int) -> Tensor:
        a, s = ((after - before) / 2 for before, after in ((f(t - 1), f(t + 1)) for f in levels))
        return a * x.tanh() + s * (x - built.signal(t) * x.tanh()) / built.noise(t)

    levels = (built.signal, built.noise)
    a, s = ((3 * f(10) - 4 * f(9) + f(8)) / 2 for f in levels)
    first = a * x.tanh() + s * (x - built.signal(10) * x.tanh()) / built.noise(10)
    x = x - 6 * (first + slope(x - 6 * first, 4)) / 2
    torch.testing.assert_close(found, x - 4 * slope(x, 4), rtol=1e-12, atol=1e-12)
