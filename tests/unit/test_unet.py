"""The U-Net and preconditioning per frequency: shapes, seeds, the Wiener denoiser, EDM's scalars, errors."""

from dataclasses import asdict
from typing import get_args

import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D
from test_process import CLEAR, FAMILIES, families, power_law_spectrum
from torch import Tensor, nn

from fans import diffusion
from fans.diffusion import Prediction, filtered, sampling
from fans.diffusion.losses import residual_power
from fans.diffusion.preconditioning import Preconditioned, preconditioning
from fans.diffusion.wiener import WienerDenoiser
from fans.networks import Preset, UNet, UNetConfig, WaveletUNet, WaveletUNetConfig, preset

SIZE = (8, 8)
TINY = UNetConfig(widths=(4, 8), groups=4)
PREDICTIONS: list[Prediction] = ["sample", "epsilon", "noise", "v_prediction", "v_pixel", "score"]


class Zero(nn.Module):
    """A network that has learned nothing."""

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return 0 * x_t


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def awake(network: UNet) -> UNet:
    """Give the last convolution, which starts at zero, weights."""
    with torch.no_grad():
        network.blocks.conv_out.weight.copy_(0.1 * noise(*network.blocks.conv_out.weight.shape))
    return network


# The U-Net


def test_presets_have_the_stated_sizes() -> None:
    assert get_args(Preset) == ("cpu", "paper")
    count = sum(p.numel() for p in UNet(preset("cpu")).parameters())
    assert 0.28e6 < count < 0.29e6
    with torch.device("meta"):
        count = sum(p.numel() for p in UNet(preset("paper")).parameters())
    assert 38.2e6 < count < 38.4e6
    assert preset("cpu", channels=3).channels == 3


@pytest.mark.parametrize("size", [(8, 8), (8, 12), (16, 10)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_prediction_has_the_shape_of_the_images(channels: int, size: tuple[int, int]) -> None:
    config = UNetConfig(channels=channels, widths=(4, 8), groups=4, layers=2, attention=(1,))
    x = noise(2, channels, *size)
    network = awake(UNet(config))
    prediction = network(x, torch.tensor([1, 1000]))
    assert prediction.shape == x.shape
    later = network(x, torch.tensor([2, 1000]))  # it knows its timestep: measured are 0.06 to 0.09
    assert float((later[0] - prediction[0]).norm().detach()) > 0.01 * float(prediction[0].norm().detach())
    torch.testing.assert_close(network(x[1:], torch.tensor([1000])), prediction[1:])


def test_an_untrained_network_predicts_zero_and_depends_on_its_seed_only() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, same, other = (UNet(TINY, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert (one(noise(1, 1, *SIZE), torch.tensor([5])) == 0).all()
    weights = [network.blocks.conv_in.weight for network in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def time_effects(network: UNet, size: int = 16) -> dict[str, float]:
    """Relative change of each residual block's output from t = 1 to t = 1000, for the same features."""
    t, blocks, seen = torch.tensor([1, 1000]), network.blocks, {}
    residual = {name: part for name, part in blocks.named_modules() if isinstance(part, ResnetBlock2D)}
    hooks = [
        part.register_forward_hook(lambda module, args, output, name=name: seen.update({name: args[0]}))
        for name, part in residual.items()
    ]
    with torch.no_grad():
        network(noise(1, network.config.channels, size, size), t[:1])
        for hook in hooks:
            hook.remove()
        embedded = blocks.time_embedding(blocks.time_proj(t))
        outputs = {name: part(seen[name].expand(2, -1, -1, -1), embedded) for name, part in residual.items()}
    return {name: float((y[1] - y[0]).norm() / y[0].norm()) for name, y in outputs.items()}


# Widths and groups of the presets, of the students and of the published experiments.
SIZES = {
    "cpu": preset("cpu"),
    "paper": preset("paper"),
    "small": UNetConfig(widths=(8, 8, 8), groups=4),
    "middle": UNetConfig(widths=(8, 16, 16), groups=4),
    "large": UNetConfig(widths=(16, 32, 32), groups=4),
    "pixels": UNetConfig(widths=(8, 16, 16), groups=8),
    "Lite": UNetConfig(channels=3, widths=(64, 128, 192, 256), layers=2, attention=(1, 2, 3), groups=32),
    "smoke": UNetConfig(widths=(8, 8, 8), groups=8),
}


@pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
@pytest.mark.parametrize("name", SIZES)
def test_every_block_depends_on_time(name: str, gated: bool) -> None:
    """By more than 0.001 with initial weights: measured are 0.016 to 0.08, and rounding makes 1e-7 of it."""
    config = SIZES[name]
    network = WaveletUNet(WaveletUNetConfig(**asdict(config))) if gated else UNet(config)
    effects = time_effects(network)
    expected = len(config.widths) * (2 * config.layers + 1) + 2  # down, up, and two at the bottom
    assert len(effects) == expected
    assert min(effects.values()) > 1e-3, effects


@pytest.mark.parametrize("widths", [(8, 8, 8), (8, 16, 16)])
def test_a_norm_of_single_channels_removes_the_time_added_before_it(widths: tuple[int, ...]) -> None:
    """The control of the test above: two orders of magnitude below its margin there, and half of it seen."""
    effects = time_effects(UNet(UNetConfig(widths=widths, groups=8, time_scale_shift="default")))
    blind = [effect for effect in effects.values() if effect < 1e-5]
    assert len(blind) == len(effects) if widths == (8, 8, 8) else len(effects) > len(blind) > 0
    assert effects["down_blocks.0.resnets.0"] < 1e-5


def test_it_is_a_denoiser_for_the_sampler() -> None:
    white = diffusion.white(size=SIZE)
    images = sampling.sample(
        white,
        awake(UNet(TINY)),
        (2, 1, *SIZE),
        generator=diffusion.streams(0, 2),
        steps=3,
        prediction="v_prediction",
    )
    assert images.shape == (2, 1, *SIZE)
    assert images.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (6, 8), "groups": 4}, "multiples of groups=4"),
        ({"widths": ()}, "must be positive"),
        ({"layers": 0}, "must be positive"),
        ({"attention": (3,)}, "levels are 0 to 2"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"channels": "RGB"}, "channels='RGB': must be int"),
        ({"time_scale_shift": "group"}, "use one of scale_shift, default"),
    ],
)
def test_sizes_that_do_not_work_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNetConfig(**options)  # type: ignore[arg-type]


def test_images_that_do_not_fit_are_refused() -> None:
    network = UNet(TINY)
    for shape in [(1, 3, 8, 8), (1, 1, 7, 8), (1, 1, 8, 9)]:
        with pytest.raises(ValueError, match=r"must be \(B, 1, H, W\) with H and W multiples of 2"):
            network(noise(*shape), torch.tensor([1]))
    with pytest.raises(ValueError, match="'big': must be one of cpu, paper"):
        preset("big")  # type: ignore[arg-type]


# Preconditioning


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_zero_network_is_the_wiener_denoiser(name: str, prediction: Prediction) -> None:
    member, C = families((16, 16), 10)[name], power_law_spectrum((16, 16))
    t = torch.tensor([1, 4, 9])
    x = member.add_noise(noise(3, 2, 16, 16), noise(3, 2, 16, 16, seed=1), t)
    ours = Preconditioned(Zero(), member, C, prediction)(x, t)
    exact = WienerDenoiser(member, C, prediction)(x, t)
    torch.testing.assert_close(ours, exact, rtol=1e-4, atol=1e-5 * float(exact.abs().max()))


@pytest.mark.parametrize("size", [(16, 16), (17, 17)])
@pytest.mark.parametrize("prediction", ["sample", "epsilon", "v_prediction", "v_pixel"])
def test_input_and_target_have_unit_power(prediction: Prediction, size: tuple[int, int]) -> None:
    C = power_law_spectrum(size)
    member = diffusion.fans(C, size=size, timesteps=10, bands=5)
    t = torch.full((3000,), 6)
    x_0 = filtered(noise(3000, 1, *size), C.sqrt())
    epsilon = noise(3000, 1, *size, seed=1)
    x_t = member.add_noise(x_0, epsilon, t)
    c_in, c_skip, c_out = preconditioning(member, C, t[0], prediction)
    target = filtered(member.target(x_0, epsilon, t, prediction) - filtered(x_t, c_skip), 1 / c_out)
    for images in (filtered(x_t, c_in), target):
        power = torch.fft.rfft2(images, norm="ortho").abs().square().mean((0, 1))
        # the mean of 3000 exponential (or chi-square) values scatters by 0.018 (0.026)
        assert (power - 1).abs().max() < 0.13


def test_the_network_means_the_same_for_every_prediction() -> None:
    C = power_law_spectrum(SIZE)
    member = diffusion.fans(C, size=SIZE, timesteps=10, bands=3, schedule=CLEAR)
    network, t = awake(UNet(TINY)), torch.tensor([3, 8])
    x = noise(2, 1, *SIZE)
    images = [
        member.predicted_sample(x, Preconditioned(network, member, C, kind)(x, t), t, kind)
        for kind in PREDICTIONS
    ]
    for image in images[1:]:
        torch.testing.assert_close(image, images[0], rtol=1e-4, atol=1e-4)


def test_white_noise_and_a_flat_spectrum_give_edm() -> None:
    """Karras et al. 2022, table 1, for their variable x_t / a_t with sigma = s_t / a_t."""
    variance = 0.25
    white = diffusion.white(size=SIZE, schedule=CLEAR)
    t = torch.arange(1, 1001)
    c_in, c_skip, c_out = preconditioning(white, torch.full((8, 5), variance), t, "sample")
    a, s = white.signal(t), white.noise(t)
    sigma = s / a
    expected = (
        1 / (variance + sigma**2).sqrt() / a,
        variance / (variance + sigma**2) / a,
        sigma * variance**0.5 / (variance + sigma**2).sqrt(),
    )
    for ours, theirs in zip((c_in, c_skip, c_out), expected, strict=True):
        torch.testing.assert_close(ours, theirs.expand_as(ours), rtol=1e-12, atol=0)


def test_residual_power_is_that_of_the_wiener_denoiser() -> None:
    C = power_law_spectrum(SIZE)
    member = diffusion.fans(C, size=SIZE, timesteps=10, bands=3)
    torch.testing.assert_close(residual_power(member, C, 4, "sample"), member.posterior_variance(4, C))


def test_the_state_at_time_zero_has_no_prediction() -> None:
    network = Preconditioned(Zero(), diffusion.white(size=SIZE), power_law_spectrum(SIZE))
    assert network(noise(1, 1, *SIZE), torch.tensor([0])).isnan().all()


def test_weights_belong_to_their_spectrum() -> None:
    white, C = diffusion.white(size=SIZE), power_law_spectrum(SIZE)
    state = Preconditioned(UNet(TINY), white, C).state_dict()
    Preconditioned(UNet(TINY, seed=1), white, C).load_state_dict(state)
    with pytest.raises(ValueError, match="another spectrum"):
        Preconditioned(UNet(TINY), white, 2 * C).load_state_dict(state)


def test_bf16_is_for_the_network_alone() -> None:
    white, C = diffusion.white(size=SIZE), power_law_spectrum(SIZE)
    network, x, t = Preconditioned(awake(UNet(TINY)), white, C), noise(2, 1, *SIZE), torch.tensor([3, 800])
    with torch.autocast("cpu", torch.bfloat16):
        half = network(x, t)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, network(x, t), rtol=0, atol=0.02)
