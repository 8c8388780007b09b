"""What doubling the grid does to a spectrum: repeat it, then weaken the repetitions."""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle

from fans._validation import known
from fans.spectrum import Size

Upsampling = Literal["none", "zeros", "nearest", "bilinear", "shuffle"]
METHODS: tuple[Upsampling, ...] = get_args(Upsampling)


class MeasuredGain(NamedTuple):
    """Response of an upsampling that best explains what it did, and how well it does so.

    Attributes:
        gain: complex (J, H, W) on the output's grid, one response for each input channel.
        residual: share of the output's power that no response explains.
    """

    gain: Tensor
    residual: float


def upsample(maps: Tensor, method: Upsampling) -> Tensor:
    r"""Double the grid, circularly, (..., H, W) to (..., 2H, 2W).

    On spectra it is a repetition and a product, ``Y = sum_j G_j(w) repeated(X_j)(w)``, with the gains of
    `upsampling_gain`. In the orthonormal DFT the repetition also divides by 2: zero insertion gives white
    noise of power 1 the power 1/4.

    Args:
        maps: (..., H, W); for ``"shuffle"`` (..., 4C, H, W).
        method: ``"zeros"`` inserts zeros between the pixels, ``"nearest"`` repeats pixels, ``"bilinear"`` is
            that of ``torch.nn.functional.interpolate`` with ``align_corners=False``, ``"shuffle"`` takes the
            four pixels of each square from four channels, ``"none"`` does nothing.

    >>> upsample(torch.tensor([[0.0, 4.0]]), "bilinear")
    tensor([[1., 1., 3., 3.],
            [1., 1., 3., 3.]])
    """
    known("upsampling", method, METHODS)
    if method == "none":
        return maps
    if method == "shuffle":
        if maps.ndim < 3 or maps.shape[-3] % 4:
            raise ValueError(f"'shuffle' needs maps (..., 4C, H, W), got {tuple(maps.shape)}")
        return pixel_shuffle(maps, 2)
    for axis in (-2, -1):
        maps = _doubled(maps, axis, method)
    return maps


def _doubled(maps: Tensor, axis: int, method: Upsampling) -> Tensor:
    """Pixels 2n and 2n + 1 from pixels n - 1, n and n + 1 of one axis."""
    if method == "zeros":
        even, odd = maps, torch.zeros_like(maps)
    elif method == "nearest":
        even, odd = maps, maps
    else:
        even, odd = (0.75 * maps + 0.25 * maps.roll(shift, axis) for shift in (1, -1))
    return torch.stack([even, odd], maps.ndim + axis + 1).flatten(axis - 1, axis)


def axis_gain(method: Upsampling, frequency: Tensor) -> Tensor:
    r"""Gains of an upsampling along one axis.

    .. math:: G(f) = 1, \quad 2\cos(\pi f)\, e^{-i\pi f}, \quad 2\cos^3(\pi f)\, e^{-i\pi f}

    for zero insertion, nearest and bilinear; the shuffle has one gain for each of its two channels,
    1 and :math:`e^{-2\pi if}`. Nearest is zero insertion followed by the filter (1, 1), bilinear by
    (1, 3, 3, 1)/4, which begins one pixel earlier; both move the image by half a pixel of the new grid, since
    pixels are squares here and not points. Interpolation between points, (1, 2, 1)/2, would have
    :math:`2\cos^2(\pi f)`.

    Args:
        method: as for `upsample`.
        frequency: f in cycles per pixel of the output, any shape.

    Returns:
        complex128 (J, \*frequency.shape); J is 2 for ``"shuffle"``, otherwise 1.

    >>> axis_gain("bilinear", torch.tensor([0.0, 0.25, 0.5])).abs().round(decimals=4).tolist()
    [[2.0, 0.7071, 0.0]]
    """
    known("upsampling", method, METHODS)
    f = frequency.to(torch.float64)
    flat = torch.ones_like(f, dtype=torch.complex128)
    if method in ("none", "zeros"):
        return flat[None]
    if method == "shuffle":
        return torch.stack([flat, torch.exp(-2j * torch.pi * f)])
    order = 1 if method == "nearest" else 3
    gain: Tensor = 2 * torch.cos(torch.pi * f) ** order * torch.exp(-1j * torch.pi * f)
    return gain[None]


def upsampling_gain(method: Upsampling, size: Size) -> Tensor:
    r"""Gains of an upsampling on the plane that it writes to: those of the axes, multiplied.

    The shuffle adds up four spectra with the gains :math:`e^{-2\pi i (a f_y + b f_x)}`, a and b in {0, 1}:
    four equal channels make ``"nearest"``, four uncorrelated ones of equal power a spectrum that is repeated
    at full strength. In between, with correlation c, the power is multiplied by
    :math:`4 (1 - c) + 16 c \cos^2(\pi f_y) \cos^2(\pi f_x)`.

    Args:
        method: as for `upsample`.
        size: (H, W) of the input.

    Returns:
        complex128 (J, 2H, 2W), (1, H, W) for ``"none"``; J is 4 for ``"shuffle"``, channel 2a + b, else 1.

    >>> upsampling_gain("nearest", (8, 8)).abs()[0, 0, 0].item()
    4.0
    """
    fy, fx = (torch.fft.fftfreq(n * factor(method), dtype=torch.float64) for n in size)
    return (axis_gain(method, fy)[:, None, :, None] * axis_gain(method, fx)[:, None, :]).flatten(0, 1)


def repeated(spectrum: Tensor, times: int = 2) -> Tensor:
    """Spectrum of maps with zeros inserted, in the DFT without normalisation: (..., H, W) to (..., 2H, 2W).

    >>> repeated(torch.tensor([[1, 2]]))
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    return spectrum.repeat(*[1] * (spectrum.ndim - 2), times, times)


def measured_gain(
    operator: Callable[[Tensor], Tensor],
    size: Size,
    generator: torch.Generator,
    *,
    channels: int = 1,
    count: int = 16,
) -> MeasuredGain:
    """Response of any upsampling, fitted at each frequency to what it does to white noise.

    An operator that is circular and linear leaves no residual beyond rounding; one that treats the border
    otherwise, or rectifies, has no response and shows it.

    Args:
        operator: from (count, channels, H, W) to (count, 1, rH, rW).
        size: (H, W) of its input.
        generator: of the noise.
        channels: J of its input, 4 for the shuffle.
        count: number of inputs, more than channels.

    Raises:
        ValueError: too few inputs, or an output of another shape.

    >>> fitted = measured_gain(lambda x: upsample(x, "zeros"), (4, 4), torch.Generator().manual_seed(0))
    >>> bool((fitted.gain - 1).abs().max() < 1e-12)
    True
    """
    if count <= channels:
        raise ValueError(f"{count} inputs cannot tell {channels} channels apart: count must be larger")
    x = torch.randn(count, channels, *size, generator=generator, dtype=torch.float64, device=generator.device)
    y = operator(x)
    times = y.shape[-1] // size[1]
    if y.shape != (count, 1, times * size[0], times * size[1]):
        raise ValueError(f"the operator must return ({count}, 1, r*H, r*W), got {tuple(y.shape)}")
    X = repeated(torch.fft.fft2(x), times).permute(2, 3, 0, 1)  # (H, W, N, J)
    Y = torch.fft.fft2(y).permute(2, 3, 0, 1)
    gain = torch.linalg.lstsq(X, Y).solution  # (H, W, J, 1)
    left = (Y - X @ gain).abs().square().sum() / Y.abs().square().sum()
    return MeasuredGain(gain[..., 0].permute(2, 0, 1), float(left))


def factor(method: Upsampling) -> int:
    return 1 if method == "none" else 2
