"""What a spectrum and the tables of a process must satisfy, and errors that say where they do not."""

import numpy as np
import torch
from torch import Tensor

from fans.diffusion.plane import Size, Spectrum


def as_spectrum(spectrum: Spectrum, size: Size, *, positive: bool = False) -> Tensor:
    """Check a data spectrum: power per coefficient of the orthonormal DFT.

    Args:
        spectrum: shape (H, W//2 + 1), e.g. ``rfft2(images, norm="ortho").abs().square().mean((0, 1))``.
        size: (H, W) of the images.
        positive: refuse zeros too, for processes that divide by the spectrum.

    Returns:
        A float64 copy on the CPU, exactly equal at f and -f.

    Raises:
        ValueError: another shape, not finite, negative, or not the spectrum of real images.
    """
    found = spectrum.detach().cpu() if isinstance(spectrum, Tensor) else np.asarray(spectrum)
    power = torch.tensor(np.asarray(found, dtype=np.float64))
    plane = (size[0], size[1] // 2 + 1)
    if power.shape != plane:
        raise ValueError(
            f"spectrum has shape {tuple(power.shape)}: images of {size} need (H, W//2 + 1) = {plane}"
        )
    bad = ~power.isfinite() | (power < 0) | ((power == 0) & positive)
    if bad.any():
        at = tuple(bad.nonzero()[0].tolist())
        allowed = "finite and positive; add a floor" if positive else "finite and not negative"
        raise ValueError(f"spectrum is {power[at].item()} at coefficient {at}: power must be {allowed}")
    columns = mirrored_columns(size)
    mirrored = _mirror(power[:, columns])
    if not torch.allclose(power[:, columns], mirrored, rtol=1e-3, atol=1e-6 * float(power.max())):
        raise ValueError("spectrum differs between frequencies f and -f: images are real, average the two")
    power[:, columns] = (
        power[:, columns] + mirrored
    ) / 2  # measured in single precision, they differ a little
    return power


def mirrored_columns(size: Size) -> list[int]:
    """Columns of the plane that hold both f and -f: the first and, for even W, the last."""
    return [0, size[1] // 2] if size[1] % 2 == 0 else [0]


def is_hermitian(values: Tensor, size: Size) -> bool:
    """Whether real gains (..., H, W//2 + 1) treat f and -f alike, as filters of real images must."""
    columns = values[..., mirrored_columns(size)]
    return torch.allclose(columns, _mirror(columns), rtol=1e-6, atol=0)


def _mirror(columns: Tensor) -> Tensor:
    """Row k to row -k."""
    return columns.flip(-2).roll(1, -2)


def check_tables(name: str, size: Size, signal: Tensor, noise: Tensor) -> None:
    """Check the tables of a process: shape and precision, a clean start, signal and noise where they must be.

    Raises:
        ValueError: says which table, and at which timestep and coefficient.
    """
    for label, table in (("signal", signal), ("noise", noise)):
        _check_table(table, f"{name}: {label}_table", size)
    if len(signal) != len(noise):
        raise ValueError(f"{name}: {len(signal)} rows of signal, {len(noise)} of noise: both need T + 1")
    if (signal[0] != 1).any() or (noise[0] != 0).any():
        raise ValueError(f"{name}: t = 0 must be the clean image, signal 1 and noise 0 everywhere")
    _check_positive(noise[1:], f"{name}: noise", first=1)
    _check_positive(signal[:-1], f"{name}: signal", first=0)


def _check_table(table: Tensor, label: str, size: Size) -> None:
    plane = (size[0], size[1] // 2 + 1)
    if table.dtype != torch.float64 or table.shape[1:] not in (plane, (1, 1)) or len(table) < 3:
        raise ValueError(
            f"{label} is {table.dtype} of shape {tuple(table.shape)}: must be float64 of shape"
            f" (T + 1, {plane[0]}, {plane[1]}) or (T + 1, 1, 1) with T >= 2"
        )
    if not table.isfinite().all() or (table < 0).any():
        raise ValueError(f"{label} must be finite and not negative everywhere")
    if table.shape[1:] == plane and not is_hermitian(table, size):
        raise ValueError(f"{label} differs between frequencies f and -f: images are real, treat both alike")


def _check_positive(table: Tensor, label: str, *, first: int) -> None:
    if (table <= 0).any():
        t, row, column = (table <= 0).nonzero()[0].tolist()
        raise ValueError(
            f"{label} is {table[t, row, column].item()} at t={t + first}, coefficient ({row}, {column}): it"
            " must be positive between the clean image and T; put a floor under the spectrum or the weights"
        )
