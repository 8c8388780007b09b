"""Networks and remedies: constants of equalised layers, operators, losses by plain formulas, gradients."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_unet import noise
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate

from fans.filters import measured_gain, upsample, upsampling_gain
from fans.metrics.reconstruction import nyquist_excess, recovery
from fans.metrics.spectral_losses import (
    focal_frequency_loss,
    log_spectrum,
    nearest,
    reduced_spectrum,
    spectral_loss,
)
from fans.networks import gan, gan_remedies
from fans.networks.gan import (
    Discriminator,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    pool,
    stddev,
)
from fans.networks.gan_remedies import (
    DualDiscriminator,
    FrequencyShifted,
    SpectralDiscriminator,
    shift,
    translate,
    translation_gain,
)
from fans.networks.layers import EqualisedConv, EqualisedLinear, equalised, pixel_norm
from fans.spectrum import radial_bands, radial_frequency

# Sums of some 10^3 values near 1, each with an error of 1e-16.
DOUBLE = {"rtol": 1e-12, "atol": 1e-12}
UPSAMPLINGS = ("nearest", "bilinear", "zeros", "shuffle")
POOLINGS = ("average", "stride", "blur")


def small(**options: Any) -> GeneratorConfig:
    return GeneratorConfig(**({"latent": 8, "widths": (6, 6, 6)} | options))


# Equalised layers


@pytest.mark.parametrize("fan_in", [4, 64])
def test_equalised_layers_keep_the_variance(fan_in: int) -> None:
    """White inputs of variance 1 give outputs of variance g^2, whatever their number."""
    torch.manual_seed(fan_in)
    conv, linear = EqualisedConv(fan_in, 200, gain=1), EqualisedLinear(fan_in, 4000, gain=2**0.5)
    x = torch.randn(8, fan_in, 12, 12)
    inner = conv(x).detach()[:, :, 1:-1, 1:-1]  # zeros beyond the border lower the rest
    # 200 rows of 9 fan_in weights, or 4000 of fan_in, whose sums of squares scatter: 4 sigma.
    assert abs(float(inner.var()) - 1) < 4 * (2 / (9 * fan_in * 200)) ** 0.5 + 0.02
    assert abs(float(linear(x[:, :, 0, 0]).detach().var()) - 2) < 2 * 4 * (2 / (fan_in * 8)) ** 0.5
    # Without the constant it would be the number of inputs: the mutant that this test must find.
    raw = conv2d(x, conv.weight.detach())[:, :, 1:-1, 1:-1]
    assert float(raw.var()) > 30


def test_equalised_rates_are_equal() -> None:
    """Adam moves each weight by its rate, so that all layers change by the same share of their weights."""
    for shape in [(8, 4, 3, 3), (8, 64, 3, 3), (8, 500)]:
        weight, scale = equalised(*shape)
        used = weight * scale
        assert scale == pytest.approx((2 / np.prod(shape[1:])) ** 0.5, rel=1e-12)
        step = scale * 1e-3  # of the weight that is used
        # |w| of N(0, 1) has the mean sqrt(2 / pi); 4 sigma of its mean over the weights.
        assert (
            abs(step / float(used.abs().mean().detach()) - 1e-3 * (np.pi / 2) ** 0.5)
            < 4e-3 / weight.numel() ** 0.5
        )


def test_pixel_norm_is_one_at_every_pixel() -> None:
    x = 10 * noise(3, 5, 4, 4).double()
    torch.testing.assert_close(
        pixel_norm(x).square().mean(1), torch.ones(3, 4, 4).double(), rtol=1e-7, atol=0
    )
    torch.testing.assert_close(pixel_norm(7 * x), pixel_norm(x), rtol=1e-7, atol=0)


# Networks


@pytest.mark.parametrize("method", UPSAMPLINGS)
def test_upsampling_inside_a_generator_is_that_of_the_filters(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the networks apply is recorded, and its response fitted and compared with the formula."""
    seen: list[tuple[Tensor, Tensor]] = []

    def recorded(x: Tensor, name: Any) -> Tensor:
        seen.append((x, upsample(x, name)))
        return seen[-1][1]

    monkeypatch.setattr(gan, "upsample", recorded)
    generator = Generator(small(upsampling=method))
    generator(noise(2, 8))
    assert [tuple(y.shape[-2:]) for _, y in seen] == [(8, 8), (16, 16)]
    channels = 4 if method == "shuffle" else 1
    fitted = measured_gain(
        lambda x: upsample(x, method),
        (4, 4),
        torch.Generator().manual_seed(0),
        channels=channels,  # type: ignore[arg-type]
    )
    torch.testing.assert_close(fitted.gain, upsampling_gain(method, (4, 4)), rtol=0, atol=1e-10)  # type: ignore[arg-type]
    for x, y in seen:
        assert torch.equal(upsample(x, method), y)  # type: ignore[arg-type]


def test_nearest_is_that_of_torch() -> None:
    x = noise(2, 3, 4, 4)
    torch.testing.assert_close(upsample(x, "nearest"), interpolate(x, scale_factor=2), rtol=0, atol=0)


def test_the_last_upsampling_may_be_another() -> None:
    config = small(last="zeros", widths=(6, 6, 6, 6))
    assert config.upsamplings == ("nearest", "nearest", "zeros") and config.size == 32
    assert small(upsampling="shuffle").upsamplings == ("shuffle", "shuffle")
    plain, other = Generator(small()), Generator(small(last="zeros"))
    assert plain.state_dict().keys() == other.state_dict().keys()
    other.load_state_dict(plain.state_dict())
    z = noise(2, 8)
    assert not torch.allclose(plain(z), other(z), atol=1e-3)


@pytest.mark.parametrize("method", UPSAMPLINGS)
def test_untrained_generators_differ_at_the_nyquist_frequency(method: str) -> None:
    """Zero insertion and shuffle repeat the zero frequency there, averaging upsamplings do not."""
    wide = small(upsampling=method, widths=(24, 24, 16))
    x = torch.cat([Generator(wide, seed=seed)(noise(16, 8)).detach() for seed in range(8)])
    excess = nyquist_excess(x, noise(4096, 1, 16, 16))  # white, whose own is 0 +- 0.1 dB
    # Measured: 3.6 and 5.0 dB where the gain has a zero there, 16.2 and 18.7 dB where it has none.
    assert excess > 10 if method in ("zeros", "shuffle") else excess < 8


def test_networks_depend_on_their_seed_only() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    for build in (
        lambda seed: Generator(small(), seed=seed),
        lambda seed: Discriminator(DiscriminatorConfig(widths=(4, 4)), seed=seed),
        lambda seed: SpectralDiscriminator(16, seed=seed),
    ):
        one, same, other = (build(seed).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(one[name], same[name]) for name in one)
        assert not torch.equal(one["last.weight"], other["last.weight"])
    assert torch.equal(torch.get_rng_state(), before)


def test_pooling_by_its_definition() -> None:
    x = noise(2, 3, 8, 8).double()
    assert torch.equal(pool(x, "average"), avg_pool2d(x, 2))
    assert torch.equal(pool(x, "stride"), x[..., ::2, ::2])
    kernel = torch.tensor([[1.0, 3, 1], [3, 9, 3], [1, 3, 1]]).double() / 25
    padded = nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
    by_hand = sum(kernel[i, j] * padded[..., i : i + 8, j : j + 8] for i in range(3) for j in range(3))
    torch.testing.assert_close(pool(x, "blur"), avg_pool2d(by_hand, 2), **DOUBLE)  # type: ignore[call-overload]
    for method in POOLINGS:
        torch.testing.assert_close(pool(torch.ones(1, 1, 4, 4), method), torch.ones(1, 1, 2, 2))  # type: ignore[arg-type]


def test_a_discriminator_with_stride_is_one_with_strided_convolutions() -> None:
    network = Discriminator(DiscriminatorConfig(widths=(4, 6), layers=1, pooling="stride")).double()
    x = noise(2, 1, 8, 8).double()
    act = lambda x: nn.functional.leaky_relu(x, 0.2)  # noqa: E731
    conv = network.grids[0][0]
    y = act(conv2d(act(network.first(x)), conv.weight * conv.scale, conv.bias, stride=2, padding=1))
    y = act(network.grids[1][0](y))
    torch.testing.assert_close(network(x), network.last(act(network.hidden(y.flatten(1)))), **DOUBLE)


def test_a_discriminator_may_see_how_much_a_batch_varies() -> None:
    """Without that, the logit of an image does not depend on the others."""
    x = noise(4, 1, 8, 8).double()
    torch.testing.assert_close(stddev(x), x.std(0, correction=0).mean(), rtol=1e-7, atol=0)
    alike = x[:1].repeat(4, 1, 1, 1)
    for aware in (False, True):
        network = Discriminator(DiscriminatorConfig(widths=(4, 4), minibatch_stddev=aware)).double()
        one, other = network(x)[0], network(alike)[0]
        assert torch.allclose(one, other, atol=1e-12) is not aware


@pytest.mark.parametrize("name", ["cpu", "paper"])
def test_presets_have_the_sizes_that_they_state(name: str) -> None:
    stated = {"cpu": (86_481, 85_857), "paper": (352_867, 416_641)}[name]
    with torch.device("meta"):
        pair = zip((Generator, Discriminator), gan.gan_preset(name), strict=True)  # type: ignore[arg-type]
        assert tuple(sum(p.numel() for p in kind(sizes).parameters()) for kind, sizes in pair) == stated
    assert GeneratorConfig.from_json(gan.gan_preset("cpu")[0].to_json()) == gan.gan_preset("cpu")[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: small(upsampling="cubic"), "unknown upsampling 'cubic': use one of zeros, nearest"),
        (lambda: small(upsampling="none"), "unknown upsampling 'none'"),
        (lambda: small(last="cubic"), "unknown last upsampling"),
        (lambda: small(widths=()), r"widths=\(\): must be positive"),
        (lambda: small(latent=0), "latent=0: must be positive"),
        (lambda: DiscriminatorConfig(pooling="max"), "unknown pooling 'max': use one of average, stride"),  # type: ignore[arg-type]
        (lambda: DiscriminatorConfig(logits=0), "logits=0"),
        (lambda: gan.gan_preset("huge"), "unknown preset 'huge'"),  # type: ignore[arg-type]
        (lambda: Generator(small())(noise(2, 9)), r"codes \(2, 9\): must be \(B, 8\)"),
        (
            lambda: Discriminator(DiscriminatorConfig(widths=(4, 4)))(noise(1, 1, 16, 16)),
            r"be \(B, 1, 8, 8\)",
        ),
        (lambda: SpectralDiscriminator(16)(noise(1, 1, 8, 8)), "must have 16 x 16 pixels"),
        (lambda: FrequencyShifted(nn.Identity(), [(0.5, 0.5)])(noise(1, 4, 8, 8)), "give the network 3 for"),
        (lambda: spectral_loss(noise(2, 1, 8, 8), noise(3, 1, 8, 8)), "must be pairs of one shape"),
        (lambda: focal_frequency_loss(noise(1, 1, 8, 8), noise(1, 1, 4, 4)), "must be pairs"),
        (lambda: focal_frequency_loss(noise(1, 1, 8, 8), noise(1, 1, 8, 8), alpha=-1), "alpha=-1"),
        (lambda: reduced_spectrum(noise(1, 1, 8, 8), norm="unitary"), "unknown norm 'unitary'"),  # type: ignore[arg-type]
        (lambda: translation_gain(noise(2, 1, 8, 8), noise(2, 1, 4, 4)), "must be of one size"),
        (lambda: translation_gain(torch.zeros(2, 1, 8, 8), noise(2, 1, 8, 8)), "no gain helps"),
        (lambda: recovery(noise(1, 1, 8, 8), noise(2, 1, 8, 8), radial_bands((8, 8), 2)), "must be pairs"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# Spectral loss and spectral discriminators


def same_power(x: Tensor, seed: int = 0) -> Tensor:
    """Images with the amplitudes of x and the phases of noise."""
    phase = torch.fft.rfft2(noise(*x.shape, seed=seed).double())
    return torch.fft.irfft2(torch.fft.rfft2(x).abs() * phase / phase.abs(), s=x.shape[-2:])


@given(st.integers(0, 10**6), st.sampled_from([8, 9, 16]))
@settings(deadline=None, max_examples=20)
def test_the_spectral_loss_is_zero_for_equal_spectra_only(seed: int, size: int) -> None:
    x = noise(3, 2, size, size, seed=seed).double()
    assert float(spectral_loss(same_power(x, seed + 1), x)) < 1e-20
    one_ring = torch.fft.rfft2(x)
    ring = (radial_frequency((size, size)) * size).round() == 3
    one_ring[..., torch.from_numpy(ring)] *= 1.1
    assert float(spectral_loss(torch.fft.irfft2(one_ring, s=(size, size)), x)) > 1e-5


@pytest.mark.parametrize("norm", ["ortho", "backward", "forward"])
def test_the_spectral_loss_by_its_definition(norm: Any) -> None:
    x, y = noise(2, 3, 16, 16).double(), 2 * noise(2, 3, 16, 16, seed=1).double()

    def profile(x: Tensor) -> Any:
        power = (np.abs(np.fft.fft2(x.numpy(), norm=norm)) ** 2).mean(1)
        f = np.fft.fftfreq(16, 1 / 16)
        ring = np.rint(np.hypot(f[:, None], f)).astype(int)
        return np.stack([power[:, ring == r].mean(1) for r in range(ring.max() + 1)], 1)

    a, b = profile(x), profile(y)
    paired = ((np.log1p(a) - np.log1p(b)) ** 2).mean()
    pooled = ((np.log1p(a.mean(0)) - np.log1p(b.mean(0))) ** 2).mean()
    np.testing.assert_allclose(float(spectral_loss(x, y, norm=norm)), paired, rtol=1e-12)
    np.testing.assert_allclose(float(spectral_loss(x, y, norm=norm, pooled=True)), pooled, rtol=1e-12)
    np.testing.assert_allclose(log_spectrum(x, offset=0.1, norm=norm), np.log(0.1 + a), rtol=1e-12)


def test_the_spectral_loss_has_a_gradient_of_any_order() -> None:
    x, y = noise(2, 1, 8, 8).double().requires_grad_(), noise(2, 1, 8, 8, seed=1).double()
    assert torch.autograd.gradcheck(lambda x: spectral_loss(x, y), (x,))
    assert torch.autograd.gradgradcheck(lambda x: log_spectrum(x), (x,))


def gradient(critic: nn.Module) -> Tensor:
    x = noise(2, 1, 16, 16).requires_grad_()
    loss = nn.functional.softplus(-critic(x)).sum() + 0 * x.sum()
    return torch.autograd.grad(loss, x)[0]


def all_learn(network: nn.Module) -> bool:
    """No gradient is below 1e-3 of the largest: measured are 0.03 and more, and rounding makes 1e-7."""
    sizes = [0.0 if p.grad is None else float(p.grad.abs().max()) for p in network.parameters()]
    return min(sizes) > 1e-3 * max(sizes)


def test_gradients_of_all_remedies_reach_the_generator() -> None:
    generator = Generator(small())
    y = noise(4, 1, 16, 16)
    for loss in (
        lambda x: spectral_loss(x, y),
        lambda x: spectral_loss(x, y[:2], pooled=True),
        lambda x: focal_frequency_loss(x, nearest(x, y)),
        lambda x: SpectralDiscriminator(16)(x).sum(),
    ):
        generator.zero_grad()
        loss(generator(noise(4, 8))).backward()
        assert all_learn(generator)


def test_a_detached_spectral_score_has_no_gradient_but_learns() -> None:
    spatial, spectral = Discriminator(DiscriminatorConfig(widths=(4, 4, 4))), SpectralDiscriminator(16)
    silent = nn.Sequential(nn.Flatten(), nn.Linear(256, 1))
    nn.init.zeros_(silent[1].weight)
    assert not gradient(DualDiscriminator(silent, spectral, through=False)).any()
    assert gradient(DualDiscriminator(silent, spectral, through=True)).any()
    both = DualDiscriminator(spatial, spectral, through=False)
    both(noise(2, 1, 16, 16)).sum().backward()
    assert all_learn(both)
    x = noise(2, 1, 16, 16)
    torch.testing.assert_close(both(x), (spatial(x) + spectral(x)) / 2)


# Focal frequency loss


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0])
def test_the_focal_loss_by_its_formula(alpha: float) -> None:
    x, y = noise(3, 2, 6, 8).double(), noise(3, 2, 6, 8, seed=1).double()
    total = 0.0
    for n in range(3):
        for c in range(2):
            d = np.abs(np.fft.fft2((x - y)[n, c].numpy()) / 48**0.5)
            total += ((d**alpha / (d**alpha).max()) * d**2).mean() / 6
    np.testing.assert_allclose(float(focal_frequency_loss(x, y, alpha=alpha)), total, rtol=1e-12)


def test_the_weight_of_the_focal_loss_is_detached() -> None:
    """Its gradient is that of a weighted square error with fixed weights; not that of the whole."""
    x, y = noise(1, 1, 8, 8).double().requires_grad_(), noise(1, 1, 8, 8, seed=1).double()
    (found,) = torch.autograd.grad(focal_frequency_loss(x, y), x)
    d = torch.fft.fft2(x - y, norm="ortho")
    weight = d.abs() / d.abs().max()
    fixed = torch.autograd.grad((weight.detach() * d.abs().square()).mean(), x, retain_graph=True)[0]
    whole = torch.autograd.grad((weight * d.abs().square()).mean(), x)[0]
    torch.testing.assert_close(found, fixed, **DOUBLE)  # type: ignore[call-overload]
    assert not torch.allclose(found, whole, atol=1e-4)


def test_the_focal_loss_of_equal_images_is_zero() -> None:
    x = noise(2, 1, 8, 8).requires_grad_()
    loss = focal_frequency_loss(x, x.detach().clone())
    assert loss.item() == 0
    assert torch.autograd.grad(loss, x)[0].isfinite().all()


# Carriers and translation


@given(st.integers(0, 15), st.integers(0, 15), st.integers(0, 10**6))
@settings(deadline=None, max_examples=20)
def test_a_carrier_moves_the_spectrum(row: int, column: int, seed: int) -> None:
    """cos: half up and half down; with the sine as imaginary part, all of it up."""
    x = noise(16, 16, seed=seed).double()
    X, carrier = torch.fft.fft2(x), (row / 16, column / 16)
    moved = shift(x, carrier)
    expected = (X.roll((row, column), (0, 1)) + X.roll((-row, -column), (0, 1))) / 2
    torch.testing.assert_close(torch.fft.fft2(moved), expected, rtol=0, atol=1e-11)
    turned = torch.complex(moved, shift(x, carrier, phase=-torch.pi / 2))
    torch.testing.assert_close(torch.fft.fft2(turned), X.roll((row, column), (0, 1)), rtol=0, atol=1e-11)


def test_branches_without_carriers_are_a_sum_and_shifted_ones_are_not() -> None:
    still = FrequencyShifted(nn.Identity(), [(0.0, 0.0)])
    x = noise(2, 3, 8, 8)
    torch.testing.assert_close(still(x)[:, 0], x[:, 0] + x[:, 1], rtol=0, atol=1e-6)  # the sine is zero
    moved = FrequencyShifted(nn.Identity(), [(0.5, 0.5)])(x)
    assert not torch.allclose(moved, still(x), atol=1e-2)
    assert FrequencyShifted(nn.Identity())(noise(1, 18, 8, 8)).shape == (1, 2, 8, 8)
    assert len(gan_remedies.CARRIERS) == 4


@given(st.integers(0, 10**6), st.sampled_from([(8, 8), (6, 9)]))
@settings(deadline=None, max_examples=20)
def test_translation_makes_mean_powers_equal(seed: int, size: tuple[int, int]) -> None:
    x, y = noise(5, 2, *size, seed=seed).double(), 3 * noise(7, 2, *size, seed=seed + 1).double()
    z = translate(x, translation_gain(x, y))
    powers = [torch.fft.rfft2(images).abs().square().mean(0) for images in (z, y)]
    torch.testing.assert_close(*powers, rtol=1e-9, atol=1e-9)  # ratios of powers down to 1e-3 of the mean
    before, after = torch.fft.rfft2(x), torch.fft.rfft2(z)
    torch.testing.assert_close(before / before.abs(), after / after.abs(), rtol=0, atol=1e-9)


def test_nearest_finds_each_image_again() -> None:
    y = noise(6, 1, 8, 8)
    order = torch.tensor([3, 3, 0, 5])
    assert torch.equal(nearest(y[order] + 0.01 * noise(4, 1, 8, 8, seed=1), y), y[order])


# Recovery


def test_recovery_by_hand() -> None:
    y = noise(4, 2, 16, 16).double()
    rings = radial_bands((16, 16), 4)
    twice = recovery(2 * y, y, rings)
    np.testing.assert_allclose(twice.error, 0, atol=1e-9)
    np.testing.assert_allclose(twice.power, 20 * np.log10(2), rtol=1e-9)
    assert twice.peak == pytest.approx(0, abs=1e-9)
    black = recovery(0 * y + 1e-9 * noise(4, 2, 16, 16, seed=1), y, rings)
    np.testing.assert_allclose(black.error, 0, atol=1e-6)
    scrambled = recovery(same_power(y, 5), y, rings)
    np.testing.assert_allclose(scrambled.power, 0, atol=1e-9)
    assert all(1.5 < error < 4.5 for error in scrambled.error)  # 3 dB, of 20 coefficients or more
    energy = 10 ** (np.array(scrambled.error) / 10) * _energies(y, rings)
    assert scrambled.mse == pytest.approx(energy.sum() / y.numel())  # Parseval


def _energies(y: Tensor, rings: Any) -> Any:
    power = (np.abs(np.fft.fft2(y.numpy(), norm="ortho")) ** 2).sum((0, 1))
    f = np.hypot(np.fft.fftfreq(16)[:, None], np.fft.fftfreq(16))
    index = np.clip(np.searchsorted(rings.edges, f, side="right") - 1, 0, 3)
    return np.array([power[index == b].sum() for b in range(4)])


@pytest.mark.parametrize("pattern", [[1.0, -1.0], [1.0, 1.0]])
def test_the_peak_is_at_the_nyquist_frequency(pattern: list[float]) -> None:
    """Stripes of two pixels show, and a constant does not."""
    x = noise(64, 1, 16, 16).double()
    added = x + torch.tensor(pattern).repeat(8)
    excess = nyquist_excess(added, x)
    # One of three coefficients of power 1 +- 1/8 gets 256 more, the eight around it stay.
    assert excess == pytest.approx(10 * np.log10(259 / 3) if pattern[1] < 0 else 0, abs=1)
