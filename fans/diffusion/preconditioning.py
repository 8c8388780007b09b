"""Preconditioning per frequency."""

import torch
from torch import Tensor, nn

from fans.diffusion.checks import Timestep, as_spectrum, as_time, check_images
from fans.diffusion.denoisers import unwrapped
from fans.diffusion.losses import residual
from fans.diffusion.plane import Constant, Spectrum
from fans.diffusion.process import Prediction, SpectralProcess, prediction_parts


class Preconditioned(nn.Module):
    r"""A network whose input and target have unit power at every frequency, at every timestep.

    For a prediction ``p = c x_0 + d eps`` of data with power C, the best linear estimate from x_t is
    ``c_skip x_t`` and leaves the power ``c_out^2`` (``fans.diffusion.losses.residual_power``). The network F
    predicts the rest, scaled:

    .. math::
        \hat p = c_{skip} x_t + c_{out} F(c_{in} x_t, t), \quad
        c_{in} = P^{-1/2}, \quad c_{skip} = \frac{c a C + d s}{P}, \quad
        c_{out} = (c s - d a) \sqrt{C / P}, \quad P = a^2 C + s^2,

    all per coefficient. So F = 0 is the Wiener denoiser, exact for Gaussian data; ``c_out`` keeps its sign,
    so that F means the same for every prediction. With a white process and a constant spectrum these are the
    scalars of EDM (Karras et al. 2022), the control for preconditioning with colour.

    Args:
        network: F, called with images and timesteps.
        process: noising process.
        spectrum: power of the data per coefficient, (H, W//2 + 1).
        prediction: what to return.

    >>> from fans.diffusion import white
    >>> from fans.networks import UNet, UNetConfig
    >>> from fans.diffusion.wiener import WienerDenoiser
    >>> process, C = white(size=(4, 4)), torch.ones(4, 3)
    >>> network = Preconditioned(UNet(UNetConfig(widths=(4, 8), groups=4)), process, C)
    >>> x, t = torch.ones(1, 1, 4, 4), torch.tensor([300])
    >>> bool(torch.allclose(network(x, t), WienerDenoiser(process, C, "v_prediction")(x, t), atol=1e-6))
    True
    """

    def __init__(
        self,
        network: nn.Module,
        process: SpectralProcess,
        spectrum: Spectrum,
        prediction: Prediction = "v_prediction",
    ) -> None:
        super().__init__()
        self.network = network
        self.process = process
        self.prediction = prediction
        self.spectrum = as_spectrum(spectrum, process.size)
        self._spectrum = Constant(self.spectrum)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Predict from images (B, C, H, W) at timesteps (B,), whole or real.

        Where there is nothing to predict, at t = 0 and outside 0 ... T, the answer is not a number: t may lie
        on an accelerator, which a look at it would keep waiting.
        """
        check_images("x_t", x_t, self.process.size, t)
        time, last = t.to(x_t.device, torch.float64).reshape(-1, 1, 1), self.process.timesteps
        a, s = self.process.formula(time.clamp(0, last))
        found = coefficients(
            a, s, *prediction_parts(a, s, self.prediction, self.process.size), self._spectrum.like(a)
        )
        inside = (time > 0) & (time <= last)
        c_in, c_skip, c_out = (
            torch.where(inside, row, torch.nan).float()[:, None] for row in found
        )  # (B, 1, H, W//2 + 1)
        state = torch.fft.rfft2(x_t.float(), norm="ortho")
        whitened = torch.fft.irfft2(state * c_in, s=x_t.shape[-2:], norm="ortho")
        rest = torch.fft.rfft2(unwrapped(self.network(whitened, t)).float(), norm="ortho")
        prediction: Tensor = torch.fft.irfft2(state * c_skip + rest * c_out, s=x_t.shape[-2:], norm="ortho")
        return prediction.to(x_t.dtype)

    def get_extra_state(self) -> Tensor:
        """The spectrum, which is part of the weights: they mean nothing with another."""
        return self.spectrum

    def set_extra_state(self, state: Tensor) -> None:
        """Check that weights to be loaded belong to this spectrum.

        Raises:
            ValueError: they do not.
        """
        # Machines differ in the last digit of a mean.
        if state.shape != self.spectrum.shape or not torch.allclose(state.cpu(), self.spectrum, 1e-9, 0):
            raise ValueError("these weights were trained with another spectrum: precondition with theirs")


def preconditioning(
    process: SpectralProcess, spectrum: Spectrum, t: Timestep, kind: Prediction
) -> tuple[Tensor, Tensor, Tensor]:
    """``c_in, c_skip, c_out`` of ``Preconditioned``, float64 ``(*t.shape, H, W//2 + 1)``; t > 0."""
    a, s = process.at(as_time(t, process.timesteps, noisy=True))
    return coefficients(
        a, s, *prediction_parts(a, s, kind, process.size), as_spectrum(spectrum, process.size)
    )


def coefficients(
    a: Tensor, s: Tensor, c: Tensor, d: Tensor, spectrum: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """``preconditioning`` from levels, mixture and spectrum."""
    power = a.square() * spectrum + s.square()
    skip = (c * a * spectrum + d * s) / power
    return power.rsqrt(), skip, residual(a, s, c, d, spectrum).sqrt() * (c * s - d * a).sign()
