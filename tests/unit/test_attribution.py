"""Attribution: the recursion is the sampler's own arithmetic, and each term is what closed forms say."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_process import families, power_law_spectrum
from test_unet import awake
from torch import Tensor

from fans.diffusion import SpectralProcess, filtered, randn, streams
from fans.diffusion.attribution import Trace, attribute, trace
from fans.diffusion.samplers import DDIM, Ancestral, Eta, Euler, Exact, SamplerLike, ScalarDDPM
from fans.diffusion.sampling import Denoiser, sample
from fans.diffusion.wiener import WienerDenoiser, reconstruction_filter, sampled_spectrum
from fans.networks import UNet, UNetConfig
from fans.spectrum import decibel

SIZE = (16, 16)
C = power_law_spectrum(SIZE)
STEPS = 6
# Seven bands up to the corner: no coefficient lies on an edge, where rounding would decide its ring.
BANDS = 7
# In dB, of every coefficient of float32 images: rounding of 1e-7, which is 1e-6 dB, a step; more where a step
# subtracts nearly equal numbers.
ROUNDING = 1e-4


def member(name: str, size: tuple[int, int] = SIZE) -> SpectralProcess:
    return families(size, 50)[name]


def nonlinear(x: Tensor, t: Tensor) -> Tensor:
    """Couples neighbours, saturates, and adds what no linear filter gives."""
    return torch.tanh(x + torch.sin(t.float())[:, None, None, None] * x.roll(1, -1)) - 0.3 * x.square()


def unet(channels: int = 1) -> Denoiser:
    """A U-Net that was not trained, with weights everywhere."""
    return awake(UNet(UNetConfig(channels=channels, widths=(4, 8), groups=4)))


def run(
    name: str, denoiser: Denoiser, *, sampler: SamplerLike = "ddim", count: int = 16, seed: int = 0
) -> Trace:
    return trace(
        member(name),
        denoiser,
        (count, 1, *SIZE),
        generator=streams(seed, count),
        steps=STEPS,
        sampler=sampler,
    )


def apart(found: Tensor, wanted: Tensor) -> float:
    """Largest difference in dB."""
    return float(decibel(found, wanted).abs().max())


def whole(power: Tensor, size: tuple[int, int] = SIZE) -> Tensor:
    """Half a plane to the full plane, (H, W)."""
    rows, columns = -torch.arange(size[0]) % size[0], torch.arange((size[1] - 1) // 2, 0, -1)
    return torch.cat([power, power[rows][:, columns]], 1)


def in_rings(power: Tensor, bands: int, size: tuple[int, int] = SIZE) -> Tensor:
    """Power in rings of the full plane, without zero frequency, written without the package's partition."""
    f = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.fftfreq(size[1])[None])
    ring = torch.tensor(np.clip(np.floor(f / f.max() * bands + 1e-12), 0, bands - 1)).long()
    ring[0, 0] = bands
    return torch.bincount(ring.flatten(), whole(power, size).flatten(), bands + 1)[:bands]


# The recursion


@pytest.mark.parametrize("network", ["tanh", "U-Net"])
@pytest.mark.parametrize("method", ["ddim", "euler"])
@pytest.mark.parametrize("name", ["white", "fans", "equal_snr", "blurring", "article"])
def test_the_recursion_gives_the_power_that_was_drawn(name: str, method: SamplerLike, network: str) -> None:
    traced = run(name, nonlinear if network == "tanh" else unet(), sampler=method)
    drawn = torch.fft.rfft2(traced.images.double(), norm="ortho").abs().square().mean((0, 1))
    assert apart(traced.power, drawn) < 1e-9
    assert apart(traced.spectrum(), drawn) < ROUNDING
    # controls: what the identity is made of cannot be left out or changed
    other = "fans" if name == "blurring" else "blurring"  # EqualSNR has the steps of white noise
    mutants = {
        "no stray power": traced.spectrum(stray=False),
        "all gain": replace(traced, gain=(traced.gain.square() + traced.stray / P(traced)).sqrt()).spectrum(),
        "gain + 1%": replace(traced, gain=1.01 * traced.gain).spectrum(),
        "stray + 1%": replace(traced, stray=1.01 * traced.stray).spectrum(),
        "another start": replace(traced, start=1.01 * traced.start).spectrum(),
        "another process": replace(traced, process=member(other)).spectrum(),
        "another sampler": replace(traced, sampler=Euler() if method == "ddim" else DDIM()).spectrum(),
        "steps one later": replace(traced, gain=traced.gain.roll(1, 0)).spectrum(),
    }
    for mutant, power in mutants.items():
        assert apart(power, drawn) > 10 * ROUNDING, mutant


def P(traced: Trace) -> Tensor:
    """Power before every step, (K, H, W//2 + 1), by the recursion."""
    [step] = traced.sampler.plan(traced.process, traced.timesteps)
    (A,), (B,) = step.states, step.estimates
    assert step.noise is None
    powers = [traced.start]
    for k in range(STEPS):
        powers.append((A[k] + B[k] * traced.gain[k]).square() * powers[-1] + B[k].square() * traced.stray[k])
    return torch.stack(powers[:-1])


@pytest.mark.parametrize("name", ["white", "fans", "equal_snr", "code"])
def test_noise_of_the_sampler_agrees_up_to_chance(name: str) -> None:
    def saturating(x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(x + torch.sin(t.float())[:, None, None, None] * x.roll(1, -1))

    def apart(recursion: Tensor, traced: Trace) -> float:
        return float((recursion / traced.power).log().abs().median())

    sampler = ScalarDDPM() if name == "code" else Ancestral()
    few, many = (run(name, saturating, sampler=sampler, count=count) for count in (24, 24 * 64))
    ratio = apart(few.spectrum(), few) / apart(many.spectrum(), many)
    # The mean of n noise terms has deviation 1 / sqrt(n): 64 times the images, an eighth of it. The
    # ratio is known to an eighth from 128 independent coefficients on either side (seen over seeds), and four
    # such eighths are allowed. Without any agreement it would be 1.
    assert ratio == pytest.approx(8, rel=0.5)
    assert apart(many.spectrum(), many) < (24 * 64) ** -0.5
    # and without the noise of the steps, many images do not help
    assert apart(replace(many, sampler=DDIM()).spectrum(), many) > 0.2


def test_a_published_sampler_is_traced_with_its_own_prior_and_noise() -> None:
    process = member("code")  # starts from power 1, which is not s_T^2
    traced = run("code", nonlinear, sampler=ScalarDDPM(), count=400)
    z = (traced.start - 1) / (
        2 / 400
    ) ** 0.5  # at most: most coefficients are complex, with half the variance
    assert float(z.abs().max()) < 4.5
    assert float((process.noise(50).square() - 1).abs().max()) > 0.5
    split = attribute(traced, C, bands=BANDS)
    exact = sampled_spectrum(process, C, timesteps=traced.timesteps, sampler=ScalarDDPM(), start="prior")
    assert apart(in_rings(exact, BANDS) * 10 ** (-split.sampler / 10), in_rings(C, BANDS)) < 1e-9


@pytest.mark.parametrize(("channels", "size"), [(1, (12, 9)), (3, (8, 8)), (2, (9, 12))])
def test_channels_count_alike_and_sizes_may_be_odd(channels: int, size: tuple[int, int]) -> None:
    process = families(size, 50)["fans"]
    traced = trace(process, nonlinear, (5, channels, *size), generator=streams(1, 5), steps=4)
    assert traced.gain.shape == traced.stray.shape == (4, size[0], size[1] // 2 + 1)
    assert apart(traced.spectrum(), traced.power) < ROUNDING
    bands, spectrum = 3, power_law_spectrum(size)
    split = attribute(traced, spectrum, bands=bands)
    assert split.edges.shape == (bands + 1,)
    drawn = torch.fft.fft2(traced.images.double(), norm="ortho").abs().square().mean((0, 1))
    wanted = decibel(in_rings(drawn[:, : size[1] // 2 + 1], bands, size), in_rings(spectrum, bands, size))
    torch.testing.assert_close(split.total, wanted, rtol=0, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(["white", "fans", "equal_snr", "power_law", "band", "gud"]),
    method=st.sampled_from(["ddim", "euler"]),
    steps=st.integers(2, 8),  # in one step from pure noise, the linear denoiser draws nothing
    scale=st.floats(0.3, 2),  # a silent network draws images without any power
    curve=st.floats(-1, 1),
    seed=st.integers(0, 100),
)
def test_terms_add_up_and_stray_power_only_adds(
    name: str, method: SamplerLike, steps: int, scale: float, curve: float, seed: int
) -> None:
    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(scale * x) + curve * x.roll(1, -2).square().clamp(max=4)

    size = (8, 8)
    traced = trace(
        families(size, 50)[name],
        denoiser,
        (4, 1, *size),
        generator=streams(seed, 4),
        steps=steps,
        sampler=method,
    )
    split = attribute(traced, power_law_spectrum(size), bands=3)
    drawn = in_rings(traced.power, 3, size) / in_rings(power_law_spectrum(size), 3, size)
    torch.testing.assert_close(
        split.sampler + split.gain + split.stray, 10 * drawn.log10(), rtol=0, atol=1e-9
    )
    torch.testing.assert_close(split.total, 10 * drawn.log10(), rtol=0, atol=1e-9)
    assert (traced.stray >= 0).all()
    assert float(split.stray.min()) > -ROUNDING


# The exact linear denoiser


@pytest.mark.parametrize("method", ["ddim", "euler"])
@pytest.mark.parametrize("name", ["white", "fans", "equal_snr", "article"])
def test_the_wiener_denoiser_has_the_sampler_to_blame_only(name: str, method: SamplerLike) -> None:
    process, count = member(name), 200
    traced = run(name, WienerDenoiser(process, C, "v_prediction"), sampler=method, count=count)
    t = traced.timesteps[:-1]
    torch.testing.assert_close(traced.gain, reconstruction_filter(process, C, t), rtol=1e-4, atol=1e-5)
    # what was drawn is the exact recursion from what was started from
    exact = partial(sampled_spectrum, process, C, timesteps=traced.timesteps, sampler=method)
    assert apart(traced.power, exact(start=traced.start)) < ROUNDING
    split = attribute(traced, C, bands=BANDS)
    wanted = decibel(in_rings(exact(start="prior"), BANDS), in_rings(C, BANDS))
    torch.testing.assert_close(split.sampler, wanted, rtol=0, atol=1e-9)
    assert float(split.stray.abs().max()) < ROUNDING
    # Chance in the start is all of the gain term. Coefficients scatter by sqrt(1 / N) and come in pairs,
    # or are real and scatter by sqrt(2 / N): the variance of a ring is 2 sum p^2 / (N (sum p)^2) either way.
    power = exact(start="prior")
    deviation = (2 / count * in_rings(power**2, BANDS)).sqrt() / in_rings(power, BANDS) * 10 / np.log(10)
    assert float((split.gain / deviation).abs().max()) < 4.5  # one in 10^5 by chance, of 56 bands in all
    assert float(split.gain.abs().max()) > 0.01  # and it is no identity
    if (name, method) != ("equal_snr", "euler"):  # whose flow is the identity
        assert float(split.sampler.abs().max()) > 0.2  # six steps are few


def test_chance_of_the_start_shrinks_with_the_number_of_images() -> None:
    oracle = WienerDenoiser(member("white"), C, "v_prediction")

    def gain(count: int) -> float:
        return float(attribute(run("white", oracle, count=count), C, bands=BANDS).gain.square().mean().sqrt())

    # 7 bands on either side know the ratio to a third or so
    assert 0.4 * 8 < gain(32) / gain(32 * 64) < 2.5 * 8


def test_ancestral_with_the_wiener_denoiser() -> None:
    process = member("fans")
    oracle = WienerDenoiser(process, C, "v_prediction")
    split = attribute(run("fans", oracle, sampler="ancestral", count=1500), C, bands=BANDS)
    grid = torch.linspace(50, 0, STEPS + 1).round().long()
    exact = sampled_spectrum(process, C, timesteps=grid, sampler="ancestral", start="prior")
    torch.testing.assert_close(
        split.sampler, decibel(in_rings(exact, BANDS), in_rings(C, BANDS)), rtol=0, atol=1e-9
    )
    # The lowest ring has 8 coefficients, equal in pairs. 1500 images know the power of the start to 0.06
    # dB, and that of the noise of six steps with its chance correlations to 0.09: 4.5 times that.
    for term in (split.gain, split.stray):
        assert float(term.abs().max()) < 0.4
    assert float(split.sampler.abs().max()) > 0.5
    assert float(split.stray.min()) < 0  # chance, which only a sampler that adds noise leaves in this term


# Denoisers with known faults


def ddim_power(process: SpectralProcess, traced: Trace, gain: Tensor, stray: float = 0.0) -> Tensor:
    """DDIM's recursion in its textbook form, ``x_s = a_s x0_hat + (s_s / s_t) (x_t - a_t x0_hat)``."""
    power = traced.start
    for k, (t, s) in enumerate(
        zip(traced.timesteps[:-1].tolist(), traced.timesteps[1:].tolist(), strict=True)
    ):
        kept = process.noise(s) / process.noise(t)
        image = process.signal(s) - kept * process.signal(t)
        power = (image * gain[k] + kept).square() * power + image.square() * stray
    return power


@pytest.mark.parametrize("factor", [0.9, 1.1])
@pytest.mark.parametrize("name", ["white", "fans", "equal_snr"])
def test_a_wrong_gain_is_found_in_the_gain_term(name: str, factor: float) -> None:
    process = member(name)
    high = torch.tensor(np.hypot(np.fft.fftfreq(16)[:, None], np.fft.rfftfreq(16)[None])) > 0.4
    scale = torch.where(high, factor, 1.0).double()

    def faulty(x_t: Tensor, t: Tensor) -> Tensor:
        return filtered(x_t, scale * reconstruction_filter(process, C, t))

    traced = trace(
        process, faulty, (64, 1, *SIZE), generator=streams(2, 64), steps=STEPS, prediction="sample"
    )
    gain = scale * reconstruction_filter(process, C, traced.timesteps[:-1])
    torch.testing.assert_close(traced.gain, gain, rtol=1e-4, atol=1e-5)
    split = attribute(traced, C, bands=BANDS)
    predicted = in_rings(ddim_power(process, traced, gain), BANDS)
    exact = sampled_spectrum(process, C, timesteps=traced.timesteps, sampler="ddim", start="prior")
    wanted = decibel(predicted, in_rings(exact, BANDS))
    torch.testing.assert_close(split.gain, wanted, rtol=0, atol=ROUNDING)
    assert float(split.stray.abs().max()) < ROUNDING
    # The fault alone, with the start's chance divided out: nothing below the fault, the right sign above it,
    # and three quarters of ten per cent of the amplitude at least (the last step passes it on in full).
    innocent = ddim_power(process, traced, reconstruction_filter(process, C, traced.timesteps[:-1]))
    fault = decibel(predicted, in_rings(innocent, BANDS))
    assert float(fault[:3].abs().max()) < ROUNDING  # rings of 0.101: the fault at 0.4 is in the fourth
    assert float(fault[4:].mul(factor - 1).sign().min()) == 1
    assert float(fault[4:].abs().min()) > 0.75 * 20 * np.log10(1.1)


@pytest.mark.parametrize("name", ["white", "fans", "equal_snr"])
def test_independent_noise_is_found_in_the_stray_term(name: str) -> None:
    process, count, power = member(name), 1000, 0.1
    oracle, generator = WienerDenoiser(process, C), torch.Generator().manual_seed(3)

    def noisy(x_t: Tensor, t: Tensor) -> Tensor:
        return oracle(x_t, t) + power**0.5 * randn(x_t.shape, generator)

    traced = trace(
        process, noisy, (count, 1, *SIZE), generator=streams(3, count), steps=STEPS, prediction="sample"
    )
    # 864 values, each a mean over 1000 images with deviation sqrt(2 / 1000) at most: 4.5 of them
    assert float((traced.stray / power - 1).abs().max()) < 4.5 * (2 / count) ** 0.5
    split = attribute(traced, C, bands=BANDS)
    gain = reconstruction_filter(process, C, traced.timesteps[:-1])
    linear = in_rings(ddim_power(process, traced, gain), BANDS)

    def predicted(stray: float) -> Tensor:
        return decibel(in_rings(ddim_power(process, traced, gain, stray), BANDS), linear)

    # A ring of 8 coefficients, 4 of them independent, knows a power to 10 / log(10) / sqrt(4000), 0.07 dB.
    # Start and six steps bring in chance of this size each, 0.18 at most in all; 0.5 is nearly three of it.
    assert float((split.stray - predicted(power)).abs().max()) < 0.5
    assert float((split.stray - predicted(2 * power)).abs().max()) > 1  # control: twice the noise
    assert float(predicted(power).max()) > 3  # it matters
    assert float((split.gain + split.sampler - decibel(linear, in_rings(C, BANDS))).abs().max()) < 0.5


# The sampler


@pytest.mark.parametrize(
    "method", ["ddim", "ancestral", "euler", Eta(0.5), Exact(C), "heun", "dpmpp_2m", "unipc"], ids=repr
)
@pytest.mark.parametrize("name", ["white", "fans", "article"])
def test_a_trace_draws_the_images_of_the_sampler(name: str, method: SamplerLike) -> None:
    network = unet()
    traced = run(name, network, sampler=method, count=3)
    common = {"steps": STEPS, "sampler": method, "prediction": "v_prediction"}
    plain = sample(member(name), network, (3, 1, *SIZE), generator=streams(0, 3), **common)
    assert torch.equal(traced.images, plain)
    other = sample(member(name), network, (3, 1, *SIZE), generator=streams(1, 3), **common)
    assert not torch.equal(traced.images, other)
    assert traced.timesteps.tolist() == [50, 42, 33, 25, 17, 8, 0]
    assert not traced.gain.requires_grad


def test_a_start_may_be_given() -> None:
    process, x_T = member("fans"), randn((4, 1, *SIZE), streams(4, 4))
    traced = trace(process, nonlinear, x_T.shape, generator=streams(0, 4), steps=STEPS, start=x_T)
    power = torch.fft.rfft2(x_T.double(), norm="ortho").abs().square().mean((0, 1))
    assert apart(traced.start, power) < ROUNDING
    assert apart(traced.spectrum(), traced.power) < ROUNDING


def test_errors_say_what_is_allowed() -> None:
    process = member("white")
    go = partial(trace, process, nonlinear, (2, 1, *SIZE), generator=torch.Generator(), steps=2)
    for sampler in ("heun", "dpmpp_2m"):
        with pytest.raises(ValueError, match="stray power needs a sampler of one step, such as DDIM"):
            go(sampler=sampler).spectrum()
    with pytest.raises(ValueError, match="sampler='exact' needs spectrum="):
        go(sampler="exact")
    with pytest.raises(ValueError, match="must be ddim, ancestral"):
        go(sampler="plms")
    with pytest.raises(ValueError, match="an integer from 1 to"):
        go(steps=51)
    with pytest.raises(ValueError, match="no signal left"):
        go(prediction="epsilon")
    with pytest.raises(ValueError, match=r"need \(H, W//2 \+ 1\) = \(16, 9\)"):
        attribute(go(), torch.ones(8, 5))
    with pytest.raises(ValueError, match="some hold no frequency"):
        attribute(go(), C, bands=90)
    assert decibel(torch.ones(1), torch.zeros(1)).isnan()  # a ring without data has no error in dB
