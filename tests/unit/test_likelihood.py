"""The bound: entropies and divergences known in closed form, the same for every colour and schedule."""

from collections.abc import Callable
from functools import lru_cache, partial
from math import e, exp, log, pi, sqrt, tanh
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, simpson
from test_process import families, power_law_spectrum, rising
from torch import Tensor

from fans import diffusion
from fans.diffusion import SpectralProcess, filtered, plane_mean, randn, schedules
from fans.diffusion.likelihood import Bound, bound
from fans.diffusion.sampling import Denoiser
from fans.diffusion.schedules import Schedule
from fans.diffusion.wiener import WienerDenoiser

SIZE = (8, 8)
C = power_law_spectrum(SIZE)
# Log SNR falls by this much between points of the integral. Its integrands are (rho C)^2 / (1 + rho C)^3 and
# the like, for which the trapezoidal rule is good to exp(-2 pi^2 / 0.8) if all steps are equal.
STEP = 0.8
# What lies beyond the ends of paths, at rho C of 1e5 and more, and the uneven steps of colours that change.
PRECISION = 1e-4
ALL = 80  # points for which every one of 40 timesteps is taken


def even(t: Tensor, timesteps: int, *, variance: float = 1.0, step: float = STEP) -> Schedule:
    """Equal steps of log SNR around SNR 1; a^2 + s^2 = variance, but for the clean image."""
    level = step * (timesteps / 2 - t)
    a, s = (variance * torch.sigmoid(level)).sqrt(), (variance * torch.sigmoid(-level)).sqrt()
    return Schedule(torch.where(t > 0, a, 1.0), torch.where(t > 0, s, 0.0))


def straight(t: Tensor, timesteps: int, *, step: float = STEP) -> Schedule:
    """The same SNRs on a straight line, a + s = 1."""
    a, s = even(t, timesteps, step=step)
    return Schedule(a / (a + s), s / (a + s))


@lru_cache
def member(name: str) -> SpectralProcess:
    """Colours whose SNR falls everywhere, from far above the data's power to far below it."""
    common = {"size": SIZE, "timesteps": 40}
    build: Callable[..., SpectralProcess] = {
        "white": diffusion.white,
        "shrinking": diffusion.white,
        "straight": diffusion.white,
        "equal_snr": partial(diffusion.equal_snr, C),
        "flipped_snr": partial(diffusion.flipped_snr, C),
        "power_law": partial(diffusion.power_law, -0.4),
        "fans": partial(diffusion.fans, C, bands=4),
        "blurring": partial(diffusion.blur, sigma_max=0.2),
    }[name]
    schedule = {"shrinking": partial(even, variance=0.2), "straight": straight}.get(name, even)
    built = build(**common, schedule=schedule)
    assert not len(built.check())
    return built


COLOURS = ["white", "shrinking", "straight", "equal_snr", "flipped_snr", "power_law", "fans", "blurring"]
FEW = ["white", "straight", "equal_snr", "fans"]


def precision(name: str) -> float:
    """Steps are most uneven for blurring."""
    return PRECISION * (10 if name == "blurring" else 1)


def gaussian(count: int, spectrum: Tensor = C, seed: int = 0) -> Tensor:
    """Fields of a spectrum."""
    return filtered(randn((count, 1, *SIZE), torch.Generator().manual_seed(seed)), spectrum.sqrt())


def measured(
    built: SpectralProcess,
    denoiser: Denoiser,
    images: Tensor,
    spectrum: Tensor = C,
    *,
    seed: int = 1,
    points: int = ALL,
    prediction: diffusion.Prediction = "sample",
    bands: int = 4,
) -> Bound:
    return bound(
        built,
        denoiser,
        images,
        spectrum,
        generator=torch.Generator().manual_seed(seed),
        points=points,
        prediction=prediction,
        bands=bands,
    )


def assert_is(found: Bound, wanted: float, *, precision: float = 0.05) -> None:
    """Within 4.5 standard errors, one test in 10^5 by chance, which are few enough to tell.

    Twice or half the value, as without the 1/2 or with it twice, is told apart; so is the other sign.
    """
    assert found.error < precision * abs(wanted)
    assert abs(found.value - wanted) < 4.5 * found.error, (found.value, wanted, found.error)
    for factor in (-1, 0.5, 2):
        assert abs(found.value - factor * wanted) > 4.5 * found.error


def divergence(data: Tensor, model: Tensor) -> Tensor:
    """Of Gaussian fields per dimension and coefficient, from the data's spectrum to the model's."""
    ratio = data / model
    return (ratio - 1 - ratio.log()) / 2


# Chance taken out: every coefficient of white noise has modulus 1, and over four images with the same pixels
# the signs of the noise are + - + -, those of an error + + - -. Means over images of squares and products are
# then what is expected, and closed forms are met to the precision of the integral.


def unit(shape: tuple[int, ...], generator: torch.Generator, signs: str) -> Tensor:
    noise = torch.fft.rfft2(randn((shape[0] // 4, *shape[1:]), generator).double(), norm="ortho")
    flat = torch.fft.irfft2(noise / noise.abs(), s=shape[-2:], norm="ortho").repeat_interleave(4, 0)
    factors = torch.tensor([1.0 if sign == "+" else -1.0 for sign in signs], dtype=torch.float64)
    return flat * factors.repeat(shape[0] // 4)[:, None, None, None]


def error_noise(x_t: Tensor, generator: torch.Generator) -> Tensor:
    return unit(tuple(x_t.shape), generator, "++--")


def typical(spectrum: Tensor = C, size: tuple[int, int] = SIZE, channels: int = 1) -> Tensor:
    """Two images with exactly this spectrum, four times each."""
    noise = unit((8, channels, *size), torch.Generator().manual_seed(0), "++++")
    return filtered(noise, spectrum.sqrt())


@pytest.fixture
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    def white_noise(self: SpectralProcess, shape: Any, generator: Any, **place: Any) -> Tensor:
        return unit(tuple(shape), generator, "+-+-")

    monkeypatch.setattr(SpectralProcess, "white_noise", white_noise)


# Gaussian fields


@pytest.mark.parametrize("prediction", ["sample", "v_prediction", "v_pixel"])
@pytest.mark.parametrize("name", FEW)
def test_the_linear_denoiser_costs_nothing_whatever_the_images(
    name: str, prediction: diffusion.Prediction
) -> None:
    built = member(name)
    images = torch.sign(gaussian(8)).double() + 0.5  # of another spectrum, and not Gaussian

    def found(spectrum: Tensor, images: Tensor) -> Bound:
        oracle = WienerDenoiser(built, spectrum, prediction)
        return measured(built, oracle, images, points=20, prediction=prediction)

    # rounding of 1e-16 beside errors of 3e-4 and more, weighted with rho of up to 1e7
    assert abs(found(C, images).value) < 1e-9
    assert float(found(C, images).bands.abs().max()) < 1e-9
    assert abs(found(C, images.float()).value) < 3e-4  # in single precision, that of networks: 1e-7
    assert abs(found(1.1 * C, images).value) > 1e-3


@pytest.mark.parametrize("name", COLOURS)
def test_a_wrong_spectrum_costs_the_divergence_of_gaussian_fields(name: str, no_chance: None) -> None:
    f = diffusion.radius(SIZE) / 0.5**0.5
    model = C * 8 ** (1 - 2 * f)  # eight times too much at low frequencies, an eighth at high ones
    wanted = float(plane_mean(divergence(C, model), SIZE))
    found = measured(member(name), WienerDenoiser(member(name), model), typical())
    # one number for all colours and schedules, to the precision of the integral
    assert found.value == pytest.approx(wanted, rel=precision(name))
    # the other direction, a spectrum half as wrong, and a missing 1/2 are other numbers
    others = [divergence(model, C), divergence(C, (C * model).sqrt()), 2 * divergence(C, model)]
    for other in others:
        assert abs(float(plane_mean(other, SIZE)) / wanted - 1) > 100 * PRECISION


@pytest.mark.parametrize("name", ["white", "equal_snr", "fans"])
def test_and_so_it_does_on_average_over_images_and_noise(name: str) -> None:
    model = 3 * power_law_spectrum(SIZE, alpha=1.0)
    found = measured(member(name), WienerDenoiser(member(name), model), gaussian(500))
    assert_is(found, float(plane_mean(divergence(C, model), SIZE)))


@pytest.mark.parametrize("name", COLOURS)
def test_of_any_images_it_is_the_excess_over_the_gaussian_code_length(name: str, no_chance: None) -> None:
    """With a linear denoiser of spectrum M it is log N(x; C) - log N(x; M), whatever the images."""
    images = (torch.sign(gaussian(5)) * 0.7 + 0.2).double().repeat_interleave(4, 0)
    model = 2 * power_law_spectrum(SIZE, alpha=1.0)
    power = torch.fft.rfft2(images, norm="ortho").abs().square().mean((0, 1))
    wanted = float(plane_mean((power / model + model.log() - power / C - C.log()) / 2, SIZE))
    found = measured(member(name), WienerDenoiser(member(name), model), images)
    # the images have a hundred times the power C at the highest frequencies, where the path ends soonest
    assert found.value == pytest.approx(wanted, abs=precision(name) * float(plane_mean(power / C, SIZE)))
    assert abs(wanted) > 0.1


@pytest.mark.parametrize("name", FEW)
def test_each_band_pays_for_its_own_errors(name: str, no_chance: None) -> None:
    f = diffusion.radius(SIZE)
    ring = (f / f.max() * 3).floor().clamp(max=2)
    model = torch.where(ring == 1, 4 * C, C)
    found = measured(member(name), WienerDenoiser(member(name), model), typical(), bands=3)
    wanted = float(plane_mean(torch.where(ring == 1, divergence(C, model), 0.0), SIZE))
    assert found.bands.tolist() == pytest.approx([0, wanted, 0], rel=PRECISION, abs=1e-9)
    assert float(found.bands.sum()) == pytest.approx(found.value, rel=1e-12)


@settings(max_examples=10, deadline=None)
@given(
    name=st.sampled_from(["white", "equal_snr", "fans", "power_law"]),
    channels=st.integers(1, 3),
    bands=st.integers(1, 3),
    scale=st.floats(-2, 2),
)
def test_shares_add_up_for_any_denoiser(name: str, channels: int, bands: int, scale: float) -> None:
    built = families(SIZE, 50)[name]  # no signal is left at T
    images = randn((3, channels, *SIZE), torch.Generator().manual_seed(2))

    def found(scale: float) -> Bound:
        return bound(
            built,
            lambda x, t: torch.tanh(scale * x),
            images,
            C,
            generator=torch.Generator().manual_seed(0),
            points=7,
            prediction="v_pixel",
            bands=bands,
        )

    one, again = found(scale), found(scale)
    assert one.bands.shape == (bands,)
    assert float(one.bands.sum()) == pytest.approx(one.value, rel=1e-9, abs=1e-12)
    assert np.isfinite(one.value) and one.error > 0
    assert (one.value, one.error) == (again.value, again.error) and torch.equal(one.bands, again.bands)
    assert one.value != found(scale + 1).value


@pytest.mark.parametrize(("size", "channels"), [((8, 8), 3), ((6, 9), 1), ((9, 6), 2)])
def test_it_is_per_dimension(size: tuple[int, int], channels: int, no_chance: None) -> None:
    """Channels are dimensions like pixels, and sizes may be odd."""
    spectrum = power_law_spectrum(size)
    built = diffusion.fans(spectrum, size=size, timesteps=40, schedule=even, bands=3)
    found = bound(
        built,
        WienerDenoiser(built, 4 * spectrum),
        typical(spectrum, size, channels),
        spectrum,
        generator=torch.Generator(),
        points=ALL,
        prediction="sample",
        bands=3,
    )
    assert found.value == pytest.approx((1 / 4 - 1 + log(4)) / 2, rel=PRECISION)


# Errors of known power


@pytest.mark.parametrize("name", FEW)
def test_white_errors_of_a_prediction_cost_their_integral(name: str, no_chance: None) -> None:
    """An error e of the prediction is one of g e of the image: half of g^2 E|e|^2 is integrated over rho."""
    built, generator, power = member(name), torch.Generator().manual_seed(4), 0.04
    t = torch.arange(1, 41)
    a, s = built.signal(t), built.noise(t)
    sigma = plane_mean(s.square(), SIZE).sqrt()
    gains: dict[diffusion.Prediction, Tensor] = {
        "epsilon": s / a,
        "v_prediction": s / (a.square() + s.square()),
        "v_pixel": sigma / (a.square() + sigma.square()),
    }
    log_snr = 2 * (a / s).log().expand(40, 8, 5)
    for prediction, gain in gains.items():

        def noisy(x_t: Tensor, t: Tensor, prediction: diffusion.Prediction = prediction) -> Tensor:
            error = power**0.5 * error_noise(x_t, generator)
            return WienerDenoiser(built, C, prediction)(x_t, t) + error

        found = measured(built, noisy, typical(), prediction=prediction)
        integrand = (a / s * gain).square().expand(40, 8, 5)
        # by Simpson's rule, of another order than the trapezoidal one
        integral = simpson(integrand.numpy(), x=-log_snr.numpy(), axis=0)
        wanted = power / 2 * float(plane_mean(torch.tensor(integral), SIZE))
        # where all is on one side, as here at the clean end, the trapezoidal rule is good to h^2 / 12 = 1% of
        # the slope's change
        assert found.value == pytest.approx(wanted, rel=20 * PRECISION), prediction
        if prediction == "epsilon":  # rho g^2 = 1 wherever a path leads: half the way it goes
            way = float(plane_mean(log_snr[0] - log_snr[-1], SIZE))
            assert found.value == pytest.approx(power / 2 * way, rel=1e-9)
        if prediction == "v_prediction" and name == "white":  # a^2 = rho / (1 + rho)
            first, last = (float(built.snr(u)) for u in (1, 40))
            exact = power / 2 * log((1 + first) / (1 + last))
            assert found.value == pytest.approx(exact, rel=PRECISION)


@pytest.mark.parametrize("power", [0.01, 1.0])
def test_a_white_error_of_the_image_costs_most_at_the_clean_end(power: float, no_chance: None) -> None:
    """Over rho itself: half its power times rho_1 - rho_T."""
    white, generator = member("white"), torch.Generator().manual_seed(5)

    def noisy(x_t: Tensor, t: Tensor) -> Tensor:
        return WienerDenoiser(white, C)(x_t, t) + power**0.5 * error_noise(x_t, generator)

    first, last = (float(white.snr(t)) for t in (1, 40))
    found = measured(white, noisy, typical())
    # of exp(x), the trapezoidal rule in steps of h makes (h / 2) / tanh(h / 2) too much: 5.3% for 0.8
    assert found.value == pytest.approx(power / 2 * (first - last), rel=0.054)
    assert found.value == pytest.approx(power / 2 * (first - last) * 0.4 / tanh(0.4), rel=1e-6)


# Data that are not Gaussian


def surplus(distance: float) -> float:
    """Entropy of a sign times distance plus unit noise, less the noise's; log 2 for a large distance."""

    def integrand(x: float) -> float:  # E log p under the mixture, around the right of two equal halves
        density = exp(-((x - distance) ** 2) / 2) / sqrt(2 * pi)
        other = -2 * distance * x
        log_mixture = -((x - distance) ** 2) / 2 - log(2 * sqrt(2 * pi)) + float(np.logaddexp(0, other))
        return -density * log_mixture

    return quad(integrand, distance - 12, distance + 12, limit=200)[0] - log(2 * pi * e) / 2


def test_the_entropy_of_two_signs() -> None:
    assert surplus(0.0) == pytest.approx(0, abs=1e-9)
    assert surplus(12.0) == pytest.approx(log(2), abs=1e-9)
    assert surplus(0.1) == pytest.approx(0.1**2 / 2, rel=0.02)  # an increase of the variance by 1%


@pytest.mark.parametrize("share", [0.05, 0.3])
@pytest.mark.parametrize("name", ["white", "straight"])
def test_independent_signs_are_known_better_than_their_spectrum(name: str, share: float) -> None:
    """Each pixel is a sign plus noise: variance 1, of which ``share`` is noise."""
    white, flat = member(name), torch.ones(8, 5, dtype=torch.float64)
    generator = torch.Generator().manual_seed(6)
    x = torch.sign(randn((200, 1, *SIZE), generator)) * (1 - share) ** 0.5
    x = x + share**0.5 * randn(x.shape, generator)

    def best(x_t: Tensor, t: Tensor, sharpness: float = 1.0) -> Tensor:
        a, s = float(white.signal(int(t[0]))), float(white.noise(int(t[0])))
        total = a**2 * share + s**2
        sign = torch.tanh(sharpness * a * (1 - share) ** 0.5 * x_t / total)
        mean = (1 - share) ** 0.5 * sign
        return mean + a * share / total * (x_t - a * mean)

    wanted = surplus(((1 - share) / share) ** 0.5) + log(share) / 2  # h(x) - h_G, below zero
    assert wanted < -0.05
    found = measured(white, best, x, flat)
    assert_is(found, wanted, precision=0.1)
    # a bound: any other denoiser is above it, and the linear one at zero
    blunt = measured(white, partial(best, sharpness=0.5), x, flat)
    assert found.value + 4.5 * found.error < blunt.value
    # one t for all images or one an image: another kernel may round cosines, and images in single precision
    assert measured(white, WienerDenoiser(white, flat), x, flat).value == pytest.approx(0, abs=1e-3)


def test_signs_alone_are_known_up_to_the_last_noise() -> None:
    """A pixel of +-1 holds log 2; its Gaussian stand-in holds log(1 + rho_1) / 2 at the last SNR."""
    white, flat = member("white"), torch.ones(8, 5, dtype=torch.float64)
    x = torch.sign(randn((100, 1, *SIZE), torch.Generator().manual_seed(7)))

    def best(x_t: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(float(white.signal(int(t[0])) / white.noise(int(t[0])) ** 2) * x_t)

    found = measured(white, best, x, flat)
    assert_is(found, log(2) - log(1 + float(white.snr(1))) / 2, precision=0.01)


@pytest.mark.parametrize("contrast", [0.05, 3.0])
@pytest.mark.parametrize("name", [*FEW, "blurring"])
def test_a_pattern_of_either_sign_is_known_whatever_the_colour(name: str, contrast: float) -> None:
    """Half of the images have a pattern added, half its negative: two Gaussians in 64 dimensions."""
    built, generator = member(name), torch.Generator().manual_seed(8)
    pattern = filtered(contrast**0.5 * randn((1, 1, *SIZE), generator).double(), C.sqrt())
    strength = torch.fft.rfft2(pattern[0, 0], norm="ortho")
    spectrum = C + strength.abs().square()
    signs = torch.tensor([1.0, -1.0]).repeat(300)[:, None, None, None]
    images = gaussian(600, seed=9) + signs * pattern.float()

    def best(x_t: Tensor, t: Tensor) -> Tensor:
        a, s = built.signal(int(t[0])), built.noise(int(t[0]))
        total = a.square() * C + s.square()
        matched = filtered(pattern, a / total).float()  # the log odds of the two signs are 2 <matched, x_t>
        sign = torch.tanh((matched * x_t).sum((1, 2, 3), keepdim=True))
        shown = (sign * pattern).float()
        return shown + filtered(x_t - filtered(shown, a), a * C / total)

    distance = float(plane_mean(strength.abs().square() / C, SIZE) * 64) ** 0.5
    wanted = surplus(distance) / 64 - float(plane_mean((spectrum / C).log(), SIZE)) / 2
    found = measured(built, best, images, spectrum)
    assert_is(found, wanted, precision=0.1)
    assert found.value < -0.005


# Its error, and its options


def test_the_standard_error_is_that_of_repeated_runs() -> None:
    built = member("fans")
    denoiser = WienerDenoiser(built, 3 * C)
    runs = [measured(built, denoiser, gaussian(30, seed=k), seed=1000 + k, points=8) for k in range(40)]
    scatter = float(torch.tensor([run.value for run in runs]).std())
    stated = float(torch.tensor([run.error for run in runs]).mean())
    # 40 values know their deviation to 1 / sqrt(80), 11%; the mean of 40 stated ones is better known
    assert scatter == pytest.approx(stated, rel=0.4)


@pytest.mark.parametrize(("points", "off"), [(32, 0.01), (100, 0.004)])
@pytest.mark.parametrize("schedule", ["cosine", "linear", "rectified"])
@pytest.mark.parametrize("name", ["white", "equal_snr", "fans"])
def test_few_points_are_enough_for_every_schedule(
    name: str, schedule: schedules.ScheduleName, points: int, off: float, no_chance: None
) -> None:
    """The SNR is steep near the clean image, where weak frequencies are decided: equal steps are 10% off."""
    steep = power_law_spectrum(SIZE, alpha=3.0, variance=1.0)
    common = {"size": SIZE, "schedule": schedule}
    build = {"white": diffusion.white, "equal_snr": partial(diffusion.equal_snr, steep)}
    built = build.get(name, partial(diffusion.fans, steep, bands=4))(**common)
    images = typical(steep)
    found = measured(built, WienerDenoiser(built, steep / 2), images, steep, points=points)
    assert found.value == pytest.approx((2 - 1 - log(2)) / 2, rel=off)


def test_the_stated_number_of_points_is_taken_unless_another_is_given() -> None:
    white, seen, x = diffusion.white(size=SIZE), [], gaussian(2)

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        seen.append(int(t[0]))
        return 0 * x_t

    found = bound(white, denoiser, x, C, generator=torch.Generator().manual_seed(1))
    equal, ratio = np.linspace(1, 1000, 20), np.logspace(0, 3, 20)
    assert seen == sorted({round(t) for t in (*equal, *ratio)})
    assert found.bands.shape == (8,)


def test_points_are_timesteps_at_most() -> None:
    built, seen = member("white"), []

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        assert t.shape == (len(x_t),) and t.dtype == torch.int64 and len(t.unique()) == 1
        seen.append(int(t[0]))
        return 0 * x_t

    measured(built, denoiser, gaussian(2), points=12)
    equal, ratio = [1, 9, 17, 24, 32, 40], [1, 2, 4, 9, 19, 40]
    assert seen == sorted({*equal, *ratio})
    seen.clear()
    measured(built, denoiser, gaussian(2), points=1000)
    assert seen == list(range(1, 41))


def test_errors_say_what_is_allowed() -> None:
    white = diffusion.white(size=SIZE)
    x, go = gaussian(2), partial(measured, white, lambda x, t: x)
    with pytest.raises(ValueError, match="no signal left"):
        go(x, prediction="epsilon")
    with pytest.raises(ValueError, match=r"must end in the size \(8, 8\)"):
        go(torch.zeros(2, 1, 8, 9))
    with pytest.raises(ValueError, match=r"need \(H, W//2 \+ 1\) = \(8, 5\)"):
        go(x, torch.ones(8, 8))
    with pytest.raises(ValueError, match="some hold no frequency"):
        go(x, bands=90)
    assert len(rising().check())  # no bound exists there: the caller must look
