"""What spectra, levels, times and images of a process must satisfy, and errors that say where they do not."""

import numpy as np
import torch
from torch import Tensor

from fans.diffusion.plane import Size, Spectrum

Timestep = int | float | Tensor
_TIMES = (torch.int8, torch.int16, torch.int32, torch.int64, torch.float32, torch.float64)


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


def as_time(t: Timestep, timesteps: int, *, noisy: bool = False) -> Tensor:
    """Check times, whole or real, of a process that runs from 0 to T = ``timesteps``.

    Args:
        t: number or numbers of any shape; not bool, nor uint8, in which ``t - 1`` wraps around.
        timesteps: T.
        noisy: refuse the clean state t = 0 too.

    Returns:
        float64 of the shape and on the device of t.

    Raises:
        TypeError: no numbers, or of a type that does not hold times.
        ValueError: a time outside, or NaN.
    """
    try:
        time = t if isinstance(t, Tensor) else torch.tensor(np.asarray(t))
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"t={t!r}: must be a whole or real number, or a tensor of them") from None
    if time.dtype not in _TIMES:
        raise TypeError(f"t is of type {time.dtype}: must be whole (int64) or real (float32, float64)")
    inside = (time >= 0) & (time <= timesteps) & ((time > 0) | (not noisy))
    if not inside.all():
        wrong = time[~inside].reshape(-1)[0].item()
        if noisy and wrong == 0:
            raise ValueError(
                "t=0 is the clean image, with nothing to predict: noisy states run from 1 to T ="
                f" {timesteps}; draw t with torch.randint(1, T + 1, ...)"
            )
        raise ValueError(f"t={wrong}: must lie from 0 to T = {timesteps}" + (", above 0" if noisy else ""))
    return time.to(torch.float64)


def check_images(label: str, x: Tensor, size: Size, t: Tensor | None = None) -> None:
    """Check images (..., H, W) of real numbers, and that times fit them: one, or one per image.

    Raises:
        TypeError: no tensor, or not of a floating type; whole numbers would lose everything but 0 and 1.
        ValueError: another size, or another number of times.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(
            f"{label} is {kind}: must be a tensor of floating type; scale images to -1 ... 1 first"
        )
    if tuple(x.shape[-2:]) != size:
        raise ValueError(f"{label} has shape {tuple(x.shape)}: must end in the size {size} of the process")
    if t is not None and t.ndim and (t.ndim > 1 or x.ndim < 3 or len(t) not in (1, len(x))):
        raise ValueError(
            f"t has shape {tuple(t.shape)} for {label} of shape {tuple(x.shape)}: give one t, or one an image"
        )


def check_levels(name: str, size: Size, times: Tensor, signal: Tensor, noise: Tensor) -> None:
    """Check levels of a process at increasing times 0 ... T: shape and precision, a clean start, signal and
    noise where they must be.

    Args:
        name: of the process.
        size: (H, W) of the images.
        times: (K,), the first 0 and the last T.
        signal, noise: (K, H, W//2 + 1), or (K, 1, 1).

    Raises:
        ValueError: says which level, and at which timestep and coefficient.
    """
    for label, level in (("signal", signal), ("noise", noise)):
        _check_level(level, f"{name}: {label}", size, len(times))
    if (signal[0] != 1).any() or (noise[0] != 0).any():
        raise ValueError(f"{name}: t = 0 must be the clean image, signal 1 and noise 0 everywhere")
    _check_positive(noise[1:], f"{name}: noise", times[1:])
    _check_positive(signal[:-1], f"{name}: signal", times[:-1])


def _check_level(level: Tensor, label: str, size: Size, count: int) -> None:
    plane = (size[0], size[1] // 2 + 1)
    if level.dtype != torch.float64 or level.shape not in ((count, *plane), (count, 1, 1)):
        raise ValueError(
            f"{label} is {level.dtype} of shape {tuple(level.shape)} for {count} times: must be float64 of"
            f" shape {(count, *plane)} or {(count, 1, 1)}"
        )
    if not level.isfinite().all() or (level < 0).any():
        raise ValueError(f"{label} must be finite and not negative everywhere")
    if level.shape[1:] == plane and not is_hermitian(level, size):
        raise ValueError(f"{label} differs between frequencies f and -f: images are real, treat both alike")


def _check_positive(level: Tensor, label: str, times: Tensor) -> None:
    if (level <= 0).any():
        k, row, column = (level <= 0).nonzero()[0].tolist()
        raise ValueError(
            f"{label} is {level[k, row, column].item()} at t={times[k].item():g}, coefficient ({row},"
            f" {column}): it must be positive between the clean image and T; put a floor under the spectrum"
            " or the weights"
        )
