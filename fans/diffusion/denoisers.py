"""What a denoiser returns, and what it was trained for.

Networks of other libraries return an object that holds the images. And weights mean nothing with another
process, another prediction or images of another shape than they were trained with, although they run:
training leaves ``trained_for`` on a network, and whoever samples with it can check.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from torch import Tensor, nn

from fans.diffusion.process import SpectralProcess


def unwrapped(output: Any) -> Tensor:
    """The images in what a network returns: a tensor, an object with ``.sample``, or a tuple of one first.

    Raises:
        TypeError: none of these.

    >>> import torch
    >>> from diffusers.models.unets.unet_2d import UNet2DOutput
    >>> unwrapped(UNet2DOutput(sample=torch.ones(2))), unwrapped((torch.ones(2), None))
    (tensor([1., 1.]), tensor([1., 1.]))
    """
    if isinstance(output, Tensor):
        return output
    inner = output[0] if isinstance(output, tuple | list) and output else getattr(output, "sample", None)
    if isinstance(inner, Tensor):
        return inner
    raise TypeError(
        f"the network returned {type(output).__name__}: must be a tensor, an object whose .sample is one, or"
        " a tuple that begins with one"
    )


def described(process: SpectralProcess) -> dict[str, Any]:
    """A process in plain values, for checkpoints and messages; its hash tells two of them apart."""
    height, width = process.size
    return {
        "name": process.name,
        "size": [height, width],
        "timesteps": process.timesteps,
        "digest": process.digest(),
    }


def in_words(process: dict[str, Any]) -> str:
    """A process, as ``described`` gives it, in words."""
    height, width = process["size"]
    return f"{process['name']!r} of {height} x {width}, T = {process['timesteps']} ({process['digest']})"


class TrainedFor(NamedTuple):
    """What the weights of a denoiser belong to.

    Attributes:
        process: as ``described`` gives.
        prediction: what it predicts.
        shape: (C, H, W) of its images.
    """

    process: dict[str, Any]
    prediction: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, process: SpectralProcess, prediction: str, shape: Sequence[int]) -> Self:
        """From the process itself."""
        return cls(described(process), prediction, tuple(shape))

    def check(
        self,
        process: SpectralProcess | None = None,
        prediction: str | None = None,
        shape: Sequence[int] | None = None,
    ) -> None:
        """Compare with what it is to be used for; None is not compared.

        Raises:
            ValueError: another process, prediction or shape of images; names both.

        >>> from fans.diffusion import white
        >>> TrainedFor.of(white(size=(8, 8)), "v_prediction", (1, 8, 8)).check(prediction="sample")
        Traceback (most recent call last):
        ...
        ValueError: this denoiser was trained for prediction='v_prediction', not 'sample': use it for what ...
        """
        wrong = list[str]()
        if process is not None and described(process)["digest"] != self.process["digest"]:
            wrong.append(f"process {in_words(self.process)}, not {in_words(described(process))}")
        if prediction not in (None, self.prediction):
            wrong.append(f"prediction={self.prediction!r}, not {prediction!r}")
        if shape is not None and tuple(shape) != self.shape:
            wrong.append(f"images {self.shape}, not {tuple(shape)}")
        if wrong:
            raise ValueError(
                f"this denoiser was trained for {'; '.join(wrong)}: use it for what it was trained for, or"
                " pass a function that calls it"
            )


def labelled(network: nn.Module, trained_for: TrainedFor) -> nn.Module:
    """The network itself, which knows as ``trained_for`` what it was trained for."""
    network.trained_for = trained_for  # type: ignore[assignment]
    return network


def check_trained(
    denoiser: Any, process: SpectralProcess, prediction: str | None, shape: Sequence[int]
) -> None:
    """Compare a denoiser that knows what it was trained for; any other passes.

    Args:
        denoiser: a network, or any function.
        process, prediction: that it is to be used with.
        shape: (..., C, H, W) of the images it is to be used for.

    Raises:
        ValueError: as ``TrainedFor.check``.
    """
    known = getattr(denoiser, "trained_for", None)
    if isinstance(known, TrainedFor):
        known.check(process, prediction, shape[-3:])
