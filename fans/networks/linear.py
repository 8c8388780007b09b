"""A denoiser that is linear by construction, learned like any other."""

import torch
from torch import Tensor, nn

from fans.diffusion import Size


class LinearDenoiser(nn.Module):
    """One gain per coefficient and knot of time, ``p_hat = G_t(w) x_t``, linear between knots.

    It has what it takes to be Wiener's filter; what it lacks after training is training.

    Args:
        size: (H, W) of the images.
        timesteps: T.
        knots: number of points in time.

    >>> LinearDenoiser((8, 8), 1000)(torch.ones(2, 1, 8, 8), torch.tensor([1, 900])).shape
    torch.Size([2, 1, 8, 8])
    """

    def __init__(self, size: Size, timesteps: int, *, knots: int = 33) -> None:
        super().__init__()
        self.size, self.timesteps = size, timesteps
        self.gain = nn.Parameter(torch.zeros(knots, size[0], size[1] // 2 + 1))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Predict from images (B, C, H, W) at timesteps (B,)."""
        place = (t / self.timesteps).to(self.gain.dtype) * (len(self.gain) - 1)
        low = place.floor().long().clamp(max=len(self.gain) - 2)
        gain = torch.lerp(self.gain[low], self.gain[low + 1], (place - low)[:, None, None])
        filtered = torch.fft.rfft2(x_t, norm="ortho") * gain[:, None]
        prediction: Tensor = torch.fft.irfft2(filtered, s=self.size, norm="ortho")
        return prediction
