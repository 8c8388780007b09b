"""The linear denoiser: a filter of images by construction, Wiener's by training."""

from typing import Any

import pytest
import torch
from accelerate import Accelerator
from test_process import CLEAR, power_law_spectrum
from torch import Tensor

from fans import diffusion
from fans.diffusion import SpectralProcess, filtered, plane_mean, randn, streams
from fans.diffusion.sampling import sample
from fans.diffusion.wiener import WienerDenoiser
from fans.networks import LinearDenoiser
from fans.training import Trainer, TrainingConfig

SIZE = (8, 8)
C = power_law_spectrum(SIZE)


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def arbitrary(size: tuple[int, int] = SIZE, knots: int = 5) -> LinearDenoiser:
    """With gains drawn at random, which do not even treat f and -f alike."""
    network = LinearDenoiser(size, 100, knots=knots)
    with torch.no_grad():
        network.gain.copy_(noise(*network.gain.shape, seed=1))
    return network.requires_grad_(False)


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (6, 5)])
def test_it_is_linear_whatever_its_gains(size: tuple[int, int]) -> None:
    network, t = arbitrary(size), torch.tensor([1, 37, 100])
    x, y = noise(3, 2, *size), noise(3, 2, *size, seed=2)
    torch.testing.assert_close(network(x, t) + network(y, t), network(x + y, t), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(-3 * network(x, t), network(-3 * x, t), rtol=1e-5, atol=1e-6)
    assert (network(0 * x, t) == 0).all()
    assert float((network(x, t) - network(x.square(), t)).abs().max()) > 0.1  # it does something


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (6, 5)])
def test_it_commutes_with_translations(size: tuple[int, int]) -> None:
    network, t, x = arbitrary(size), torch.tensor([5, 70]), noise(2, 1, *size)
    for shift in [(1, 0), (0, 1), (3, -2)]:
        moved = network(x.roll(shift, (-2, -1)), t)
        torch.testing.assert_close(moved, network(x, t).roll(shift, (-2, -1)), rtol=1e-5, atol=1e-6)
    assert float((network(x.transpose(-2, -1).reshape(x.shape), t) - network(x, t)).abs().max()) > 0.1


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (6, 5)])
def test_its_images_are_those_of_a_real_filter(size: tuple[int, int]) -> None:
    """The rFFT stores f and -f of some columns; gains that differ act through their mean."""
    network, x = arbitrary(size), noise(1, 1, *size)
    gain = network.gain[1].clone()
    columns = [0, size[1] // 2] if size[1] % 2 == 0 else [0]
    gain[:, columns] = (gain[:, columns] + gain[:, columns].flip(0).roll(1, 0)) / 2
    torch.testing.assert_close(network(x, torch.tensor([25])), filtered(x, gain), rtol=1e-5, atol=1e-6)
    # over the full plane: the response to one bright pixel is real, so that its DFT is Hermitian
    pixel = torch.zeros(1, 1, *size)
    pixel[..., 0, 0] = (size[0] * size[1]) ** 0.5
    response = torch.fft.fft2(network(pixel, torch.tensor([25])), norm="ortho")[0, 0]
    assert float(response.imag.abs().max()) < 1e-5  # a real gain at every frequency
    torch.testing.assert_close(response.real[:, : size[1] // 2 + 1], gain, rtol=1e-5, atol=1e-5)


def test_gains_lie_on_straight_lines_between_knots() -> None:
    network, x = arbitrary(knots=5), noise(1, 1, *SIZE)  # knots at t = 0, 25, 50, 75, 100

    def at(t: int) -> Tensor:
        answer: Tensor = network(x, torch.tensor([t]))
        return answer

    for knot in range(5):
        torch.testing.assert_close(at(25 * knot), filtered(x, symmetric(network.gain[knot])))
    torch.testing.assert_close(at(60), 0.6 * at(50) + 0.4 * at(75), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(at(99), 0.04 * at(75) + 0.96 * at(100), rtol=1e-5, atol=1e-6)
    both = network(x.expand(2, -1, -1, -1), torch.tensor([60, 99]))
    torch.testing.assert_close(both, torch.cat([at(60), at(99)]))


def symmetric(gain: Tensor) -> Tensor:
    gain = gain.clone()
    gain[:, [0, -1]] = (gain[:, [0, -1]] + gain[:, [0, -1]].flip(0).roll(1, 0)) / 2
    return gain


def test_gradients_are_those_of_finite_differences() -> None:
    network = LinearDenoiser((4, 5), 10, knots=3).double()
    t = torch.tensor([1.0, 7.0], dtype=torch.float64)
    x = noise(2, 2, 4, 5).double().requires_grad_()
    gain = noise(*network.gain.shape, seed=3).double().requires_grad_()

    def predicted(x: Tensor, gain: Tensor) -> Tensor:
        answer: Tensor = torch.func.functional_call(network, {"gain": gain}, (x, t))
        return answer

    assert torch.autograd.gradcheck(predicted, (x, gain))


def field(count: int, seed: int = 0) -> Tensor:
    return filtered(noise(count, 1, *SIZE, seed=seed), C.sqrt())


@pytest.mark.parametrize("name", ["white", "fans"])
def test_it_learns_the_wiener_filter(name: str) -> None:
    """On a Gaussian field, of which it is told nothing, from gains of zero."""
    options: dict[str, Any] = {"size": SIZE, "timesteps": 100, "schedule": CLEAR}
    member = diffusion.white(**options) if name == "white" else diffusion.fans(C, bands=4, **options)
    config = TrainingConfig(
        steps=200, batch=64, rate=0.1, warmup=20, prediction="v_prediction", loss="flat", ema=0.9
    )
    network = LinearDenoiser(SIZE, 100, knots=9)
    run = Trainer(network, field(4000), member, config, accelerator=Accelerator(cpu=True))
    run.run()
    learned, untrained = run.denoiser(), LinearDenoiser(SIZE, 100)
    # What is left of the cost of zero gains: noise of the gradient, and straight lines between 9 knots.
    assert excess(member, learned, C) < 0.01 * excess(member, untrained, C)
    other = power_law_spectrum(SIZE, alpha=1.0)  # the filter is that of these data, and of no others
    assert excess(member, learned, other) > 0.05 * excess(member, untrained, other)
    # f and -f are never told apart
    columns = run.network.get_parameter("gain").detach()[:, :, [0, 4]]
    assert float((columns - columns.flip(1).roll(1, 1)).abs().max()) < 1e-3
    assert float((columns - columns.flip(1)).abs().max()) > 0.1


def excess(member: SpectralProcess, denoiser: Any, spectrum: Tensor) -> float:
    """What a filter costs above Wiener's, mean over timesteps: the power by which their outputs differ."""
    t = torch.arange(1, 101)
    pixel = torch.zeros(100, 1, *SIZE)
    pixel[..., 0, 0] = 8.0  # power 1 at every frequency
    wiener = WienerDenoiser(member, spectrum, "v_prediction")
    with torch.no_grad():
        gain = torch.fft.rfft2(denoiser(pixel, t) - wiener(pixel, t), norm="ortho")[:, 0]
    return float(plane_mean(gain.abs().square().double() * member.power(t, spectrum), SIZE).mean())


def test_it_is_a_denoiser_for_the_sampler() -> None:
    white = diffusion.white(size=SIZE, timesteps=100)
    images = sample(
        white,
        arbitrary(),
        (2, 3, *SIZE),
        generator=streams(0, 2),
        steps=4,
        prediction="v_prediction",
    )
    assert images.shape == (2, 3, *SIZE) and images.isfinite().all()
    silent = LinearDenoiser(SIZE, 100)
    assert (silent(randn((1, 1, *SIZE), torch.Generator()), torch.tensor([3])) == 0).all()
