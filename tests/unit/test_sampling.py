"""The sampler: parity with diffusers, Monte Carlo against the oracle, grids, predictions, cost, errors."""

from collections.abc import Callable
from functools import partial
from typing import get_args

import pytest
import skimage.data
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from test_process import CLEAR, FAMILIES, families, power_law_spectrum, rising, spectrum_of
from torch import Tensor

from fans import diffusion
from fans.diffusion import grids, wiener
from fans.diffusion.attribution import trace
from fans.diffusion.samplers import Eta, SamplerLike, SamplerName
from fans.diffusion.sampling import sample

SIZE = (16, 16)
NAMES: tuple[SamplerName, ...] = get_args(SamplerName)  # a new name is tested with the others


def photographs(count: int, size: tuple[int, int] = SIZE) -> Tensor:
    """Random crops of a photograph, (count, 1, H, W) in [-1, 1]."""
    picture = torch.tensor(skimage.data.camera()) / 127.5 - 1
    corners = torch.randint(512 - max(size), (count, 2), generator=torch.Generator().manual_seed(0))
    return torch.stack([picture[None, i : i + size[0], j : j + size[1]] for i, j in corners.tolist()])


def power_of(images: Tensor) -> Tensor:
    """Power per image and coefficient, (B, H, W//2 + 1)."""
    return torch.fft.rfft2(images.double(), norm="ortho").abs().square().mean(1)


def test_fifty_steps_are_taken_unless_another_number_is_given() -> None:
    seen: list[int] = []

    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        seen.append(int(t[0]))
        return 0 * x

    white = diffusion.white(size=SIZE)
    sample(white, denoiser, (1, 1, *SIZE), generator=torch.Generator())
    assert seen == list(range(1000, 0, -20))
    seen.clear()
    trace(white, denoiser, (1, 1, *SIZE), generator=torch.Generator())
    assert seen == list(range(1000, 0, -20))


# Parity with diffusers


def network(x: Tensor, t: Tensor) -> Tensor:
    """A denoiser of epsilon that is anything but linear."""
    return torch.tanh(x + torch.sin(t.float())[:, None, None, None] * x.roll(1, -1))


def test_ddpm_is_that_of_diffusers() -> None:
    scheduler = DDPMScheduler(clip_sample=False)
    scheduler.set_timesteps(1000)
    white = diffusion.white(size=SIZE, schedule="linear")
    x = x_T = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, t.expand(2)), t, x, generator=generator).prev_sample
    ours = sample(
        white,
        lambda x, t: network(x, t - 1),  # diffusers counts noisy states from 0, we count the clean one
        x.shape,
        generator=torch.Generator().manual_seed(2),
        steps=1000,
        sampler="ancestral",
        prediction="epsilon",
        start=x_T,
    )
    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4 * float(x.abs().max()))


@pytest.mark.parametrize("eta", [0.0, 0.5])
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_ddim_is_that_of_diffusers(prediction: diffusion.Prediction, eta: float) -> None:
    scheduler = DDIMScheduler(
        clip_sample=False, timestep_spacing="trailing", prediction_type=prediction, set_alpha_to_one=True
    )
    scheduler.set_timesteps(20)
    white = diffusion.white(size=SIZE, schedule="linear")
    x = x_T = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, t.expand(2)), t, x, eta=eta, generator=generator).prev_sample
    ours = sample(
        white,
        lambda x, t: network(x, t - 1),
        x.shape,
        generator=torch.Generator().manual_seed(2),
        steps=20,
        sampler=Eta(eta),
        prediction=prediction,
        start=x_T,
    )
    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4 * float(x.abs().max()))


# Monte Carlo against the oracle


def z_scores(images: Tensor, expected: Tensor) -> Tensor:
    """Standard scores of the power in 8 rings, given each image's expected spectrum."""
    rings = (diffusion.radius(SIZE) * 16).round().clamp(max=7).long()
    member = (rings == torch.arange(8)[:, None, None]).double()
    excess = torch.einsum("bhw,rhw->br", power_of(images) / expected - 1, member)
    return excess.mean(0) / (excess.std(0) / len(images) ** 0.5)


@pytest.mark.parametrize("sampler", [*NAMES, Eta(0.5)])
@pytest.mark.parametrize("name", ["white", "equal_snr", "fans", "blurring"])
def test_sampled_photographs_have_the_predicted_spectrum(name: str, sampler: SamplerLike) -> None:
    photos = photographs(400)
    C = spectrum_of(photos).double()
    common = {"size": SIZE, "schedule": partial(CLEAR, end=0.8)}
    built = {
        "white": partial(diffusion.white),
        "equal_snr": partial(diffusion.equal_snr, C),
        "fans": partial(diffusion.fans, C, bands=4),
        "blurring": partial(diffusion.blur, sigma_max=2.0),
    }[name](**common)
    streams = diffusion.streams(3, len(photos))
    x_T = built.add_noise(photos, built.white_noise(photos.shape, streams), 1000)
    found = sample(
        built,
        wiener.WienerDenoiser(built, C),
        photos.shape,
        generator=streams,
        steps=8,
        sampler=sampler,
        spectrum=C,
        start=x_T,
    )
    expected = wiener.sampled_spectrum(
        built,
        C,
        timesteps=grids.uniform(built, 8),
        sampler=sampler,
        start=built.signal(1000) ** 2 * power_of(photos) + built.noise(1000) ** 2,
    )
    z = z_scores(found, expected)
    assert float(z.abs().max()) < 4
    assert float(z_scores(1.1 * found, expected).abs().max()) > 4  # 0.8 dB too much is seen


def test_a_white_prior_under_equal_snr_is_caught() -> None:
    C = spectrum_of(photographs(400)).double()
    built = diffusion.equal_snr(C, size=SIZE)
    run = partial(sample, built, wiener.WienerDenoiser(built, C), (200, 1, *SIZE), steps=20)
    expected = wiener.sampled_spectrum(built, C, timesteps=grids.uniform(built, 20), start="prior").expand(
        200, -1, -1
    )
    right = run(generator=diffusion.streams(4, 200))
    wrong = run(
        generator=diffusion.streams(4, 200),
        start=diffusion.randn((200, 1, *SIZE), diffusion.streams(5, 200)),
    )
    assert float(z_scores(right, expected).abs().max()) < 4
    assert float(z_scores(wrong, expected).abs().max()) > 20


def test_exact_marginal_start_is_drawn() -> None:
    C = power_law_spectrum(SIZE)
    built = diffusion.white(size=SIZE, schedule=partial(CLEAR, end=0.7))
    x_T = built.prior((4000, 1, *SIZE), torch.Generator().manual_seed(6), spectrum=C)
    z = (spectrum_of(x_T).double() / built.power(1000, C) - 1) / (2 / 4000) ** 0.5
    assert float(z.abs().max()) < 4.5


def test_published_sampler_makes_the_predicted_errors() -> None:
    C = power_law_spectrum(SIZE)
    built = diffusion.fans_as_published(C, size=SIZE, timesteps=50, bands=4, churn=0.5)
    found = sample(
        built,
        wiener.WienerDenoiser(built, C),
        (400, 1, *SIZE),
        generator=diffusion.streams(7, 400),
        sampler=built.sampler,
        dtype=torch.float64,
    )
    grid = grids.uniform(built, 50)
    expected = wiener.sampled_spectrum(built, C, timesteps=grid, sampler=built.sampler, start="prior")
    assert float(z_scores(found, expected.expand(400, -1, -1)).abs().max()) < 4
    assert float(z_scores(found, C.expand(400, -1, -1)).abs().max()) > 8


# One sampler for all


@pytest.mark.parametrize("method", NAMES)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_prediction_gives_the_same_images(name: str, method: SamplerName) -> None:
    built, C = families((12, 9), 50, CLEAR)[name], power_law_spectrum((12, 9))
    kinds: list[diffusion.Prediction] = ["sample", "epsilon", "noise", "v_prediction", "v_pixel", "score"]
    if name in ("article", "inverse_heat"):  # no signal is left at T
        kinds = ["sample", "v_prediction", "v_pixel"]
    runs = [
        sample(
            built,
            wiener.WienerDenoiser(built, C, prediction),
            (2, 1, 12, 9),
            generator=diffusion.streams(0, 2),
            steps=5,
            sampler=method,
            prediction=prediction,
            spectrum=C,
            dtype=torch.float64,
        )
        for prediction in kinds
    ]
    for other in runs[1:]:
        torch.testing.assert_close(other, runs[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["white", "fans"])
def test_image_i_does_not_depend_on_the_batch(name: str) -> None:
    built, C = families(SIZE, 50)[name], power_law_spectrum(SIZE)
    run = partial(sample, built, wiener.WienerDenoiser(built, C), steps=5, sampler="ancestral")
    batch = run((4, 3, *SIZE), generator=diffusion.streams(9, 4))
    alone = run((1, 3, *SIZE), generator=diffusion.streams(9, 1, first=2))
    torch.testing.assert_close(alone[0], batch[2], rtol=1e-5, atol=1e-6)
    assert batch.dtype == torch.float32


@pytest.mark.parametrize("method", [name for name in NAMES if name != "exact"])
def test_white_and_coloured_arithmetic_agree(method: SamplerName) -> None:
    white = diffusion.white(size=SIZE, timesteps=50)
    signal, noise = white.tables()
    dressed = diffusion.SpectralProcess.from_tables(  # the same process, by FFTs
        "dressed", SIZE, signal, noise.expand(-1, 16, 9).contiguous()
    )
    run = partial(sample, denoiser=lambda x, t: torch.tanh(x), shape=(2, 1, *SIZE), sampler=method)
    plain, coloured = (run(built, generator=diffusion.streams(1, 2)) for built in (white, dressed))
    torch.testing.assert_close(plain, coloured, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "calls"),
    [("ddim", 2), ("ancestral", 3), ("exact", 3), ("euler", 2), ("heun", 4), ("dpmpp_2m", 2), ("unipc", 2)],
)
def test_a_coloured_step_costs_at_most_four_ffts(
    method: SamplerName, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []

    def counting(transform: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *args, **kwargs: (counted.append(1), transform(*args, **kwargs))[1]

    for name in ("rfft2", "irfft2"):
        monkeypatch.setattr(torch.fft, name, counting(getattr(torch.fft, name)))
    C = power_law_spectrum(SIZE)

    def ffts(name: str, steps: int) -> int:
        built = families(SIZE)[name]
        counted.clear()
        sample(
            built,
            lambda x, t: x,
            (1, 1, *SIZE),
            generator=torch.Generator(),
            steps=steps,
            sampler=method,
            spectrum=C,
        )
        return len(counted)

    assert ffts("fans", 11) - ffts("fans", 10) == calls
    assert ffts("white", 10) == 0 or method == "exact"


def test_progress_wraps_the_steps() -> None:
    seen: list[int] = []

    def progress(steps: range) -> list[int]:
        seen.extend(steps)
        return list(steps)

    white = diffusion.white(size=SIZE)
    sample(white, lambda x, t: x, (1, 1, *SIZE), generator=torch.Generator(), steps=7, progress=progress)
    assert seen == list(range(7))


# Grids


@pytest.mark.parametrize("steps", [1, 2, 50, 99, 100])
@pytest.mark.parametrize("name", FAMILIES)
def test_grids_descend_from_T_to_0(name: str, steps: int) -> None:
    built, C = families(SIZE, 100)[name], power_law_spectrum(SIZE)
    for grid in (grids.uniform(built, steps), grids.equal_angle(built, C, steps)):
        assert grid.shape == (steps + 1,) and grid.dtype == torch.int64
        assert grid[0] == 100 and grid[-1] == 0 and (grid.diff() < 0).all()


def test_equal_angle_shares_the_largest_change() -> None:
    built, C = diffusion.white(size=SIZE, timesteps=100000), power_law_spectrum(SIZE)
    grid = grids.equal_angle(built, C, 20)
    signal, noise = built.tables()
    theta = torch.atan2(noise, signal * C.sqrt())
    travelled = torch.cat([torch.zeros(1), theta.diff(dim=0).abs().amax((1, 2)).cumsum(0)])
    share = travelled[grid].diff().abs()
    torch.testing.assert_close(share, share.mean().expand_as(share), rtol=0.01, atol=0)


def test_a_grid_may_be_listed() -> None:
    white, C = diffusion.white(size=SIZE), power_law_spectrum(SIZE)
    run = partial(sample, white, wiener.WienerDenoiser(white, C), (1, 1, *SIZE))
    listed = run(generator=diffusion.streams(0, 1), grid=[1000, 500, 0])
    torch.testing.assert_close(run(generator=diffusion.streams(0, 1), steps=2), listed)
    equal = run(generator=diffusion.streams(0, 1), steps=2, grid="equal_angle", spectrum=C)
    assert not torch.equal(equal, listed)


# Bad input


def test_nan_stops_at_once_and_says_where() -> None:
    calls = []

    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        calls.append(int(t[0]))
        return x * (torch.inf if len(calls) == 3 else 1.0)

    white = diffusion.white(size=SIZE)
    run = partial(sample, white, denoiser, (2, 1, *SIZE), generator=torch.Generator(), steps=10)
    with pytest.raises(FloatingPointError, match=r"NaN or infinity at step 3 of 10 \(t = 800\)"):
        run()
    assert calls == [1000, 900, 800]
    calls.clear()
    with pytest.raises(FloatingPointError, match=r"step 2 of 10 \(t = 900\)"):
        run(sampler="heun")  # the third call begins the second step


def test_large_values_are_no_fault() -> None:
    white = diffusion.white(size=SIZE)
    found = sample(
        white, lambda x, t: torch.full_like(x, 3e38), (1, 1, *SIZE), generator=torch.Generator(), steps=1
    )
    assert found.isfinite().all()  # although the sum of a prediction is not


def test_errors_say_what_is_allowed() -> None:
    white, generator = diffusion.white(size=SIZE), torch.Generator()
    C = power_law_spectrum(SIZE)
    run = partial(sample, white, lambda x, t: x, (2, 1, *SIZE), generator=generator)
    steep = partial(sample, rising(), lambda x, t: x, (1, 1, 64, 64), generator=generator)
    cases = [
        (lambda: run(steps=1001), "steps=1001: must be an integer from 1 to the process's T = 1000"),
        (lambda: run(steps=0), "an integer from 1 to"),
        (lambda: run(steps=10.0), r"steps=10\.0: must be an integer"),
        (lambda: run(steps=True), "steps=True: must be an integer"),
        (lambda: run(grid="cosine"), "must be 'uniform', 'equal_angle' or descending"),
        (lambda: run(grid=[1000, 1000, 0]), "descend from T = 1000 to 0"),
        (lambda: run(grid="equal_angle"), "needs spectrum="),
        (lambda: run(sampler="exact"), "needs spectrum="),
        (
            lambda: run(sampler="plms"),
            "must be ddim, ancestral, .*, or an instance such as Eta",
        ),
        (lambda: run(prediction="flow"), "sample, epsilon, noise, v_prediction, v_pixel, score"),
        (lambda: run(prediction="epsilon"), "no signal left"),
        (lambda: run(start="marginal"), "together with spectrum="),
        (lambda: run(start=torch.ones(1, 1, *SIZE)), r"must be \(2, 1, 16, 16\)"),
        (lambda: run(spectrum=-C, start="marginal"), "not negative"),
        (lambda: run(spectrum=C[:8], sampler="exact"), r"need \(H, W//2 \+ 1\) = \(16, 9\)"),
        (lambda: steep(sampler="ancestral", steps=1000), "no Markov chain: its SNR rises"),
        (lambda: steep(sampler=Eta(0.1), steps=1000), "such as 'ddim' or 'exact'"),
        (lambda: Eta(1.5), "eta=1.5: must lie between 0"),
        (lambda: Eta(float("nan")), "eta=nan: must lie between 0"),
        (
            lambda: sample(white, lambda x, t: x, (1, 1, 8, 8), generator=generator),
            r"must end in the size \(16, 16\)",
        ),
        (
            lambda: sample(white, lambda x, t: x[:, :, :8], (1, 1, *SIZE), generator=generator),
            r"returned shape \(1, 1, 8, 16\) for images \(1, 1, 16, 16\)",
        ),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="generator is int: must be a"):
        run(generator=0)
    with pytest.raises(TypeError, match="generator is list"):
        run(generator=[0, 1])
    with pytest.raises(TypeError, match="must be a name or an instance"):
        run(sampler=2)
