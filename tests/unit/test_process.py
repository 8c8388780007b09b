"""The processes: tables, noise, predictions, Markov chains, calibration, parity with diffusers, errors."""

from functools import lru_cache, partial
from typing import get_args

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fans import diffusion
from fans.diffusion import SpectralProcess, filtered, plane_mean, schedules
from fans.spectrum import radial_bands

SIZES = [(16, 16), (17, 17), (32, 32), (24, 40)]
CLEAR = partial(schedules.cosine, end=0.95)  # leaves signal at T, as epsilon needs


def power_law_spectrum(size: tuple[int, int], alpha: float = 2.0, variance: float = 0.25) -> Tensor:
    f = diffusion.radius(size)
    f[0, 0] = f[f > 0].min()
    return f**-alpha * variance / plane_mean(f**-alpha, size)


@lru_cache(maxsize=8)
def families(
    size: tuple[int, int], timesteps: int = 1000, schedule: schedules.ScheduleLike = "cosine"
) -> dict[str, SpectralProcess]:
    C = power_law_spectrum(size)
    common = {"size": size, "timesteps": timesteps}
    scalar = common | {"schedule": schedule}
    return {
        "white": diffusion.white(**scalar),
        "equal_snr": diffusion.equal_snr(C, **scalar),
        "flipped_snr": diffusion.flipped_snr(C, **scalar),
        "power_law": diffusion.power_law(-0.3, **scalar),
        "band": diffusion.band((0.3, 0.7), **scalar),
        "blurring": diffusion.blur("blurring", **scalar),
        "inverse_heat": diffusion.blur("inverse_heat", **common),
        "gud": diffusion.gud(C, **common),
        "fans": diffusion.fans(C, bands=5, **scalar),
        "article": diffusion.fans_as_published(C, bands=5, **common),
        "code": diffusion.fans_as_published(C, release="code", **common),
    }


FAMILIES = list(families((16, 16), 10))


def spectrum_of(images: Tensor) -> Tensor:
    return torch.fft.rfft2(images, norm="ortho").abs().square().flatten(0, -3).mean(0)


# Schedules

WHOLE = torch.arange(1001, dtype=torch.float64)


@pytest.mark.parametrize("name", ["linear", "cosine", "sigmoid", "rectified"])
def test_schedules_fall_from_clean_to_noise(name: str) -> None:
    a, s = schedules.schedule_of(name)(WHOLE, 1000)
    assert a.dtype == s.dtype == torch.float64 and a.shape == s.shape == (1001,)
    assert (a[0], s[0]) == (1, 0)
    assert (a.diff() < 0).all() and (s.diff() > 0).all()
    if name == "linear":
        assert float(a[-1]) == pytest.approx(4.0358e-5**0.5, rel=1e-3)
    else:
        assert a[-1] == 0 and s[-1] == pytest.approx(1, abs=1e-15)
    if name != "rectified":
        torch.testing.assert_close(a**2 + s**2, torch.ones_like(a), rtol=0, atol=1e-14)


def test_schedule_endpoints_are_options() -> None:
    t = WHOLE[:11]
    assert float(schedules.cosine(t, 10, end=0.5).signal[-1]) == pytest.approx(0.5**0.5)
    assert float(schedules.rectified(t, 10, end=0.9).signal[-1]) == pytest.approx(0.1)
    assert float(schedules.linear(t, 10, beta_end=0.5).signal[-1]) < float(schedules.linear(t, 10).signal[-1])
    offset = 0.008
    u = torch.linspace(0, 1, 11, dtype=torch.float64)
    nichol = torch.cos((u + offset) / (1 + offset) * torch.pi / 2) ** 2
    ours = schedules.cosine(t, 10, start=offset / (1 + offset))
    torch.testing.assert_close(ours.signal**2, nichol / nichol[0], rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(ours.noise**2, 1 - nichol / nichol[0], rtol=1e-12, atol=1e-15)


def test_linear_schedule_and_add_noise_are_those_of_diffusers() -> None:
    scheduler = DDPMScheduler()
    white = diffusion.white(size=(8, 8), schedule="linear")
    t = torch.tensor([1, 10, 500, 1000])  # diffusers counts noisy states from 0, we count the clean one
    torch.testing.assert_close(
        white.signal(t).flatten() ** 2, scheduler.alphas_cumprod[t - 1].double(), rtol=2e-5, atol=0
    )
    x_0, epsilon = torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(white.add_noise(x_0, epsilon, t), scheduler.add_noise(x_0, epsilon, t - 1))
    torch.testing.assert_close(
        white.target(x_0, epsilon, t, "v_prediction"), scheduler.get_velocity(x_0, epsilon, t - 1)
    )


# Families


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_clean_at_0_and_Markov(name: str, size: tuple[int, int]) -> None:
    built = families(size, 50)[name]
    plane = (size[0], size[1] // 2 + 1)
    for level in (built.signal(25), built.noise(torch.tensor([1, 50]))):
        assert level.dtype == torch.float64 and level.shape[-2:] in (plane, (1, 1))
    assert (built.signal(0) == 1).all() and (built.noise(0) == 0).all()
    assert built.check().shape == (0, 3)


def test_levels_of_the_families() -> None:
    size = (24, 40)
    C = power_law_spectrum(size)
    built = families(size)
    snr = {name: built[name].snr(400, C) for name in built}
    assert float(snr["equal_snr"].std()) < 1e-12
    independent = torch.ones(24, 21, dtype=torch.bool)
    independent[13:, [0, 20]] = False
    flipped, plain = (snr[name][independent].sort().values for name in ("flipped_snr", "white"))
    torch.testing.assert_close(flipped, plain)  # the same SNRs, elsewhere
    assert snr["white"].argmax() == 0 and snr["flipped_snr"][0, 0] < snr["flipped_snr"].median()
    assert float(plane_mean(built["power_law"].noise(1000) ** 2, size)) == pytest.approx(1)
    assert float(plane_mean(built["band"].noise(1000) ** 2, size)) == pytest.approx(1)
    gains = built["band"].noise(1000).unique()
    assert float(gains[1] / gains[0]) == pytest.approx(7 / 3)
    f = diffusion.radius(size)
    heat = built["inverse_heat"]
    torch.testing.assert_close(heat.signal(1), torch.exp(-((2 * torch.pi * f * 0.5) ** 2) / 2))
    assert heat.noise(1).item() == heat.noise(1000).item() == 0.01
    torch.testing.assert_close(built["blurring"].signal(500)[0, 0], schedules.cosine(WHOLE[500]).signal)


def test_gud_spans_equal_snr_and_white() -> None:
    size = (16, 16)
    C = power_law_spectrum(size)
    soft = diffusion.gud(C, size=size, softness=1e9).snr(300, C)
    assert float(soft.std() / soft.mean()) < 1e-6
    ratio = diffusion.gud(C, size=size, softness=1.0).snr(300, C) / C
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio))


@pytest.mark.parametrize("ramp", ["linear", "sigmoid"])
@pytest.mark.parametrize("size", SIZES)
def test_fans_has_mean_1_at_every_timestep(size: tuple[int, int], ramp: diffusion.Ramp) -> None:
    C = power_law_spectrum(size)
    built = diffusion.fans(C, size=size, timesteps=20, schedule="rectified", bands=5, gamma=2.0, ramp=ramp)
    t = torch.arange(1, 21)
    colour = (built.noise(t) * 20 / t[:, None, None]) ** 2
    torch.testing.assert_close(plane_mean(colour, size), torch.ones(20, 1, 1, dtype=torch.float64))
    assert float((colour[-3:] - 1).abs().max()) < 1e-12  # the guardrail: 1 - t/T < 0.15
    assert float((colour[:10] - 1).abs().max()) > 0.1


def test_fans_with_equal_weights_is_exactly_white() -> None:
    built = diffusion.fans(power_law_spectrum((32, 32)), size=(32, 32), beta=0.0, gamma=0.0)
    white = diffusion.white(size=(32, 32))
    assert float((built.tables().noise - white.tables().noise).abs().max()) < 1e-15


@pytest.mark.parametrize("ramp", ["linear", "sigmoid"])
def test_fans_is_its_formula_written_out(ramp: diffusion.Ramp) -> None:
    """All options as they are unless given: 8 rings to the corner, alpha 1/2, beta 1, gamma 1, knee 0.15."""
    size = (16, 16)
    C = power_law_spectrum(size).numpy()
    ring = radial_bands(size, 8).index
    times = np.array([1, *[2] * 7, 1]) * np.ones((16, 1))  # coefficients of the whole plane
    count, held = (np.array([w[ring == b].sum() for b in range(8)]) for w in (times, times * C))
    rarity = (held / held.sum()) ** -0.5
    built = diffusion.fans(C, size=size, ramp=ramp)
    for t in (1, 120, 500, 790, 849, 851, 1000):
        tau = 1 - t / 1000
        phi = tau if ramp == "linear" else 1 / (1 + np.exp(3 - 6 * tau))
        weight = np.exp(rarity / rarity.mean() - np.arange(8) / 7 * phi)
        level = weight * 256 / (count * weight).sum()
        level = 1 + max(0, (tau - 0.15) / 0.85) * (level - 1)
        found = built.noise(t).square().numpy() / np.sin(np.pi * t / 2000) ** 2
        # the published floor 1e-8 moves the rarest share, about 1e-3, by 1e-5 of itself
        np.testing.assert_allclose(found, level[ring], rtol=1e-4)


def test_inverse_power_weights_have_the_published_size() -> None:
    # on f^-2 data with alpha = 0.5 and 8 bands up to the corner the rarest band gets weight 0.58, at 12.3 dB;
    # the last digit hangs on which band owns an edge
    from fans.diffusion.fans import band_scores, band_shares

    rings = radial_bands((64, 64), 8)
    shares = band_shares(power_law_spectrum((64, 64)), rings)
    weight = torch.softmax(
        band_scores(shares, torch.ones(1), alpha=0.5, beta=1.0, gamma=0.0, ramp="linear"), -1
    )
    assert float(weight[-1]) == pytest.approx(0.58, abs=0.01)
    assert 10 * np.log10(float(weight[-1]) * 4096 / rings.count[-1]) == pytest.approx(12.3, abs=0.25)


# Noise


def test_white_needs_no_fft(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("an FFT was computed")

    for name in ("rfft2", "irfft2"):
        monkeypatch.setattr(torch.fft, name, refuse)
    white = diffusion.white(size=(8, 8), schedule=CLEAR)
    generator = torch.Generator().manual_seed(0)
    x_0, t = torch.ones(2, 1, 8, 8), torch.tensor([3, 900])
    x_t = white.add_noise(x_0, white.draw(x_0.shape, t, generator), t)
    white.predicted_sample(x_t, white.target(x_0, x_0, t, "noise"), t, "noise")
    white.prior(x_0.shape, generator)
    with pytest.raises(AssertionError, match="an FFT"):
        diffusion.power_law(-0.3, size=(8, 8)).draw(x_0.shape, t, generator)


@pytest.mark.parametrize("size", [(16, 16), (17, 15), (12, 20)])
def test_drawn_noise_has_the_stated_power_everywhere(size: tuple[int, int]) -> None:
    built = diffusion.power_law(-0.5, size=size)
    noise = built.draw((4000, *size), 700, torch.Generator().manual_seed(1), dtype=torch.float64)
    ratio = spectrum_of(noise) / built.noise(700) ** 2
    # |n|^2 has relative variance 1, or 2 where the coefficient is real
    z = (ratio - 1) / (2 / len(noise)) ** 0.5
    assert float(z.abs().max()) < 4.5
    assert float(noise.mean()) == pytest.approx(0, abs=0.05)
    # a process of a slightly other colour is told apart
    other = (spectrum_of(noise) / diffusion.power_law(-0.4, size=size).noise(700) ** 2 - 1) / (
        2 / 4000
    ) ** 0.5
    assert float(other.abs().max()) > 8


def test_drawn_frequencies_are_independent() -> None:
    noise = diffusion.power_law(-0.5, size=(8, 8)).draw((20000, 8, 8), 500, torch.Generator().manual_seed(2))
    coefficients = torch.fft.rfft2(noise)[:, 1:4, 1:4].flatten(1)
    covariance = coefficients.T.conj() @ coefficients
    scale = covariance.diagonal().real.sqrt()
    correlation = (covariance / scale / scale[:, None]).abs() - torch.eye(9)
    assert float(correlation.max()) < 4 / 20000**0.5


def test_images_do_not_depend_on_the_batch_size() -> None:
    built = diffusion.power_law(-0.5, size=(8, 8))
    batch = built.draw((5, 3, 8, 8), 10, diffusion.streams(7, 5))
    torch.testing.assert_close(built.draw((2, 3, 8, 8), 10, diffusion.streams(7, 2, first=3)), batch[3:])
    assert not torch.equal(batch[0], batch[1])
    again = built.draw((5, 3, 8, 8), 10, diffusion.streams(8, 5))
    assert not torch.equal(batch, again)


def test_one_timestep_per_image() -> None:
    built = families((16, 16), 50, CLEAR)["fans"]
    generator = torch.Generator().manual_seed(3)
    x_0, epsilon = torch.randn(2, 3, 2, 16, 16, generator=generator)
    t = torch.tensor([1, 20, 50])
    batch = built.add_noise(x_0, epsilon, t)
    for i in range(3):
        torch.testing.assert_close(batch[i], built.add_noise(x_0[i], epsilon[i], int(t[i])))


@pytest.mark.parametrize("name", ["white", "power_law", "blurring"])
def test_images_keep_device_dtype_and_gradient(name: str) -> None:
    built = families((8, 8), 10, CLEAR)[name]
    x = torch.randn(2, 1, 8, 8, requires_grad=True)
    t = torch.tensor([2, 3])
    built.predicted_sample(x, x, t, "v_prediction").square().sum().backward()
    assert x.grad is not None and (x.grad != 0).all()
    elsewhere = torch.ones(2, 1, 8, 8, dtype=torch.float64, device="meta")
    for result in (built.add_noise(elsewhere, elsewhere, t), built.target(elsewhere, elsewhere, t, "score")):
        assert result.device.type == "meta" and result.dtype == torch.float64
    drawn = built.draw((2, 1, 8, 8), t, diffusion.streams(0, 2), dtype=torch.float64, device="meta")
    assert drawn.device.type == "meta" and drawn.dtype == torch.float64


def test_spectra_come_as_they_are_measured() -> None:
    images = torch.randn(50, 1, 9, 12, generator=torch.Generator().manual_seed(8)).cumsum(-1)
    measured = spectrum_of(images)  # float32: f and -f differ by rounding
    exact = diffusion.as_spectrum(measured, (9, 12))
    assert exact.dtype == torch.float64 and exact[1, 0] == exact[8, 0]
    frozen = measured.numpy().copy()
    frozen.flags.writeable = False
    torch.testing.assert_close(diffusion.as_spectrum(frozen, (9, 12)), exact)
    assert diffusion.as_spectrum(measured.tolist(), (9, 12)).shape == (9, 7)


# Predictions


@pytest.mark.parametrize("kind", get_args(diffusion.Prediction))
@pytest.mark.parametrize("name", FAMILIES)
def test_predictions_convert_back_to_the_image(name: str, kind: diffusion.Prediction) -> None:
    built = families((12, 9), 50, CLEAR)[name]
    generator = torch.Generator().manual_seed(4)
    x_0, epsilon = torch.randn(2, 3, 2, 12, 9, generator=generator, dtype=torch.float64)
    t = torch.tensor([1, 5, 9])
    x_t, prediction = built.add_noise(x_0, epsilon, t), built.target(x_0, epsilon, t, kind)
    torch.testing.assert_close(built.predicted_sample(x_t, prediction, t, kind), x_0, rtol=1e-6, atol=1e-6)


def test_coloured_noise_prediction_has_unit_variance_and_the_colour() -> None:
    built = families((16, 16))["equal_snr"]
    epsilon = torch.randn(500, 1, 16, 16, generator=torch.Generator().manual_seed(5))
    noise = built.target(torch.zeros_like(epsilon), epsilon, 300, "noise")
    assert float(noise.var()) == pytest.approx(1, abs=0.05)
    C = power_law_spectrum((16, 16))
    assert float((spectrum_of(noise) / C).log().std()) < 0.1


@pytest.mark.parametrize("size", [(12, 9), (9, 12)])
@pytest.mark.parametrize("name", FAMILIES)
def test_v_pixel_gives_the_image_from_clean_to_pure_noise(name: str, size: tuple[int, int]) -> None:
    built = families(size, 50)[name]  # most end without signal, where epsilon, noise and score fail
    x_0, epsilon = torch.randn(2, 3, 2, *size, generator=torch.Generator().manual_seed(9)).double()
    t = torch.tensor([1, 25, 50])
    target = built.target(x_0, epsilon, t, "v_pixel")
    x_t = built.add_noise(x_0, epsilon, t)
    # rounding of 1e-16, amplified by 1 / s: 100 for the noise of inverse heat
    torch.testing.assert_close(built.predicted_sample(x_t, target, t, "v_pixel"), x_0, rtol=1e-12, atol=1e-12)
    # by definition: a times the noise in units of its standard deviation sigma, less sigma times the image
    response = filtered(impulse(3, size), built.noise(t))  # its energy is the variance of the noise
    sigma = response.square().sum((-2, -1)).sqrt()[:, None, None]
    noise = built.target(0 * x_0, epsilon, t, "noise")
    defined = filtered(noise, built.signal(t)) - filtered(x_0, sigma)
    torch.testing.assert_close(target, defined, rtol=1e-12, atol=1e-12)
    wrong = filtered(noise, built.signal(t)) - filtered(
        x_0, built.noise(t)
    )  # v_prediction's share of the image
    assert built.noise(1).shape == (1, 1) or float((wrong - target).abs().max()) > 0.01


def impulse(count: int, size: tuple[int, int]) -> Tensor:
    """Images of one bright pixel, (count, H, W)."""
    x = torch.zeros(count, *size, dtype=torch.float64)
    x[:, 0, 0] = 1
    return x


@pytest.mark.parametrize("name", FAMILIES)
def test_scalars_turn_v_pixel_into_an_image_whatever_the_colour_of_the_noise(name: str) -> None:
    built = families((16, 16), 50)[name]
    t = torch.arange(1, 51)

    def spread(kind: diffusion.Prediction) -> float:
        return max(float((c.amax((1, 2)) - c.amin((1, 2))).max()) for c in built.inversion(t, kind))

    if built.signal(1).shape == (1, 1):
        assert spread("v_pixel") < 1e-12  # rounding; the coefficients are of the order of 1
        assert built.is_white or spread("v_prediction") > 0.1
    else:  # a blurred or otherwise coloured signal needs a filter
        assert spread("v_pixel") > 0.1


@pytest.mark.parametrize("schedule", ["linear", "cosine", "sigmoid", "rectified"])
def test_v_pixel_of_white_noise_is_the_common_velocity(schedule: schedules.ScheduleName) -> None:
    white = diffusion.white(size=(8, 8), timesteps=20, schedule=schedule)
    for ours, common in zip(
        white.mixture(torch.arange(1, 21), "v_pixel"),
        white.mixture(torch.arange(1, 21), "v_prediction"),
        strict=True,
    ):
        torch.testing.assert_close(ours, common, rtol=1e-14, atol=0)
    x_0, epsilon = torch.randn(2, 3, 1, 8, 8, generator=torch.Generator().manual_seed(10))
    t = torch.tensor([1, 10, 20])
    found = [white.target(x_0, epsilon, t, kind) for kind in ("v_pixel", "v_prediction")]
    torch.testing.assert_close(*found)


# Going back


def test_elbo_weights_telescope() -> None:
    built = families((16, 16), 30)["power_law"]
    t = torch.arange(2, 31)
    torch.testing.assert_close(built.elbo_weight(t).sum(0), (built.snr(1) - built.snr(30)) / 2)
    assert built.elbo_weight(1).isinf().all()


def rising() -> SpectralProcess:
    """FANS with a ramp so steep that strong frequencies become clearer again."""
    return diffusion.fans(power_law_spectrum((64, 64)), size=(64, 64), gamma=40.0)


def test_check_says_where_no_chain_exists() -> None:
    built = rising()
    at = built.check()
    assert len(at) > 0
    t, row, column = at[0].tolist()
    assert built.snr(t)[row, column] > built.snr(t - 1)[row, column]


def test_calibration_equalises_the_average_snr() -> None:
    size = (24, 40)
    C = power_law_spectrum(size)
    built = families(size, 100, CLEAR)
    t = torch.arange(1, 101)
    wanted = plane_mean(built["white"].snr(t, C), size)
    for name, member in built.items():
        if name == "article":  # has its own schedule, which leaves no signal at T
            continue
        ours = plane_mean(member.calibrated(built["white"], C).snr(t, C), size)
        torch.testing.assert_close(ours, wanted, msg=name)
    colour = diffusion.equal_snr(C, size=size).calibrated(diffusion.white(size=size), C)
    torch.testing.assert_close(colour.noise(1000) ** 2, C / plane_mean(C, size))


# As published


def test_the_release_has_the_schedule_and_the_rings_of_its_code() -> None:
    """Nichol and Dhariwal (2021), eq. 17, with their offset 0.008 and steps whose beta is 0.999 at most."""
    C = power_law_spectrum((32, 32))
    t = np.arange(1001)
    f = np.cos((t / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    alpha_bar = np.cumprod(np.maximum(f[1:] / f[:-1], 0.001))
    built = diffusion.fans_as_published(C, size=(32, 32), release="code")
    # a thousand products in double precision; the last has lost a factor 400 in f, as small as 1e-6
    np.testing.assert_allclose(built.signal(t[1:]).flatten().square(), alpha_bar, rtol=1e-9)
    assert len(built.noise(500).unique()) == 5
    assert len(diffusion.fans_as_published(C, size=(32, 32)).noise(500).unique()) == 8


def test_published_faults_are_switches() -> None:
    C = power_law_spectrum((32, 32))
    build = partial(diffusion.fans_as_published, C, size=(32, 32), timesteps=20)
    assert build().faults == {"guardrail", "prior", "velocity", "score"}
    assert build(release="code").faults == {"prior", "double_sigma"}
    assert float((build(faults=["prior"]).noise(20) - 1).abs().max()) < 1e-12  # a white guardrail
    assert float((build().noise(20) - 1).abs().max()) > 0.5
    assert (build().prior_power() == 1).all()
    assert (build(faults=["guardrail"]).prior_power() == build().noise(20) ** 2).all()
    twice, once = build(release="code").noise(10), build(release="code", faults=()).noise(10)
    sigma = (1 - build(release="code").signal(10) ** 2).sqrt()
    torch.testing.assert_close(twice, sigma * once)
    share = [build(release="code", faults=()).noise(t)[0, [0, -1]] for t in (1, 20)]
    assert share[0][1] / share[0][0] > share[1][1] / share[1][0]  # its ramp runs with the noise
    with pytest.raises(ValueError, match="the article has guardrail, prior, score, velocity"):
        build(faults=["double_sigma"])
    with pytest.raises(ValueError, match="use one of article, code"):
        build(release="blog")  # type: ignore[arg-type]


# Bad input


def test_errors_say_what_is_allowed() -> None:
    size = (8, 8)
    C = torch.ones(8, 5)
    bad = C.clone()
    bad[2, 3] = -1
    lopsided = C.clone()
    lopsided[1, 0] = 2
    cases = [
        (
            lambda: diffusion.equal_snr(torch.ones(8, 8), size=size),
            r"\(8, 8\).*need \(H, W//2 \+ 1\) = \(8, 5\)",
        ),
        (lambda: diffusion.equal_snr(bad, size=size), r"-1.0 at coefficient \(2, 3\).*not negative"),
        (lambda: diffusion.equal_snr(0 * C, size=size), "add a floor"),
        (lambda: diffusion.fans(bad, size=size), "not negative"),
        (lambda: diffusion.as_spectrum(torch.nan * C, size), "finite"),
        (lambda: diffusion.as_spectrum(lopsided, size), "f and -f"),
        (lambda: diffusion.band((1.0, 0.0), size=size), "finite and positive"),
        (lambda: diffusion.fans(C, size=size, bands=90), "ask for fewer"),
        (lambda: diffusion.fans(C, size=size, ramp="cubic"), "linear, sigmoid"),
        (lambda: diffusion.fans(C, size=size, gamma=-1.0), "finite and not negative"),
        (lambda: diffusion.fans(C, size=size, guardrail=1.0), r"\[0, 1\)"),
        (lambda: diffusion.blur("box", size=size), "use one of blurring, inverse_heat"),
        (lambda: diffusion.gud(C, size=size, softness=0.0), "softness > 0"),
        (lambda: diffusion.white(size=size, schedule="quadratic"), "linear, cosine, sigmoid, rectified"),
        (lambda: diffusion.white(size=size, timesteps=1), "at least 2"),
        (lambda: diffusion.white(size=size, schedule=lambda t, T: schedules.cosine(t[:1], T)), "for 5 times"),
        (lambda: schedules.linear(WHOLE, beta_end=1.0), "between 0 and 1"),
        (lambda: schedules.cosine(WHOLE, end=0.0), "start < end"),
        (lambda: schedules.sigmoid(WHOLE, start=3.0, end=-3.0), "start < end"),
        (lambda: schedules.rectified(WHOLE, end=2.0), r"\(0, 1\]"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


def test_tables_are_checked() -> None:
    a, s = (level[:, None, None] for level in schedules.cosine(WHOLE[:5], 4))
    lopsided = s * torch.ones(8, 5, dtype=torch.float64)
    lopsided[2, 1, 0] = 0.9
    silent = s.clone()
    silent[2] = 0
    dead = a.clone()
    dead[3] = 0
    cases = [
        (a, silent, r"noise is 0.0 at t=2, coefficient \(0, 0\).*floor"),
        (dead, s, "signal is 0.0 at t=3"),
        (a, lopsided, "f and -f"),
        (a, s.float(), "must be float64"),
        (a, s[:, 0], "must be float64 of shape"),
        (a, s[:3], "5 rows of signal, 3 of noise"),
        (a[1:], s[1:], "t = 0 must be the clean image"),
        (-a, s, "finite and not negative"),
    ]
    for signal, noise, message in cases:
        with pytest.raises(ValueError, match=message):
            SpectralProcess.from_tables("mine", (8, 8), signal, noise)


def test_misuse_of_a_process_is_explained() -> None:
    white, generator = diffusion.white(size=(8, 8)), torch.Generator()
    x = torch.ones(2, 1, 8, 8)
    C = torch.ones(8, 5)
    other = diffusion.white(size=(8, 8), schedule=CLEAR)
    cases = [
        (lambda: white.signal(1001), "from 0 to T = 1000"),
        (lambda: white.target(x, x, 0, "sample"), r"t=0 is the clean image.*torch.randint\(1, T \+ 1"),
        (lambda: white.predicted_sample(x, x, 0, "sample"), "run from 1 to T"),
        (lambda: white.predicted_sample(x, x, 1000, "epsilon"), "no signal left.*end the schedule earlier"),
        (lambda: white.predicted_sample(x, x, 0, "v_pixel"), "run from 1 to T"),
        (lambda: white.predicted_sample(x, x, 1000, "noise"), "'noise' does not determine the image"),
        (lambda: white.inversion(5, "v_pixels"), "unknown prediction 'v_pixels': use one of sample"),
        (lambda: white.target(x, x, 5, "flow"), "sample, epsilon, noise, v_prediction, v_pixel, score"),
        (lambda: white.draw((2, 1, 8, 9), 5, generator), r"must end in the size \(8, 8\)"),
        (lambda: white.draw((2, 1, 8, 8), 5, diffusion.streams(0, 3)), "3 generators for a batch of 2"),
        (lambda: white.calibrated(diffusion.white(size=(8, 8), timesteps=5), C), "equal size and timesteps"),
        (lambda: white.calibrated(other, C), "signal left at T"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(2, 20),
    width=st.integers(2, 20),
    t=st.integers(1, 10),
    name=st.sampled_from(["equal_snr", "flipped_snr", "power_law", "gud", "blurring", "inverse_heat"]),
)
def test_any_size_survives_the_round_trip(height: int, width: int, t: int, name: str) -> None:
    size = (height, width)
    C = power_law_spectrum(size)
    build = {
        "equal_snr": partial(diffusion.equal_snr, C, schedule=CLEAR),
        "flipped_snr": partial(diffusion.flipped_snr, C, schedule=CLEAR),
        "power_law": partial(diffusion.power_law, 0.5, schedule=CLEAR),
        "gud": partial(diffusion.gud, C, log_snr=(7.0, -3.0)),
        "blurring": partial(diffusion.blur, schedule=CLEAR),
        "inverse_heat": partial(diffusion.blur, "inverse_heat", sigma_max=1.0),
    }
    built = build[name](size=size, timesteps=10)
    x_0, epsilon = torch.randn(2, *size, generator=torch.Generator().manual_seed(t), dtype=torch.float64)
    x_t = built.add_noise(x_0, epsilon, t)
    back = built.predicted_sample(x_t, built.target(x_0, epsilon, t, "v_prediction"), t, "v_prediction")
    torch.testing.assert_close(back, x_0, rtol=1e-6, atol=1e-6)
