"""What must fit together for a run to start, and for a checkpoint to continue it."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from fans.config import Config
from fans.diffusion import SpectralProcess, Spectrum, losses
from fans.training.checkpoints import Checkpoint
from fans.training.config import TrainingConfig

Images = Tensor | Sequence[Tensor]
_FREE = {"log_every", "save_every", "keep"}  # what may change when a run is resumed


def check_fit(
    network: nn.Module,
    images: Images,
    process: SpectralProcess,
    config: TrainingConfig,
    accelerator: Accelerator,
) -> None:
    """Check images, network, batch and accelerator against each other.

    Raises:
        ValueError: says what does not fit.
    """
    shape = tuple(images[0].shape) if len(images) else ()
    if len(shape) != 3 or shape[1:] != process.size:
        wanted = f"(C, {process.size[0]}, {process.size[1]})"
        raise ValueError(
            f"{len(images)} images of shape {shape}: process {process.name!r} needs at least one of {wanted}"
        )
    if not images[0].is_floating_point():
        raise ValueError(f"images are {images[0].dtype}: must be floating point, from -1 to 1")
    workers = accelerator.num_processes
    if config.batch % (config.accumulation * workers):
        raise ValueError(
            f"batch={config.batch}: must be a multiple of accumulation={config.accumulation} times"
            f" {workers} processes"
        )
    returned = getattr(network, "prediction", config.prediction)
    if returned != config.prediction:
        raise ValueError(
            f"prediction={config.prediction!r}, but the network returns {returned!r}: make them equal"
        )
    if accelerator.mixed_precision != "no":
        raise ValueError(
            f"the accelerator has mixed_precision={accelerator.mixed_precision!r}: must be 'no'; choose"
            " precision='bf16' in the configuration instead"
        )


def loss_table(
    process: SpectralProcess, config: TrainingConfig, spectrum: Spectrum | None, weight: Tensor | None
) -> Tensor:
    """The weights of the loss, those given for ``custom``.

    Raises:
        ValueError: weights without ``custom`` or ``custom`` without weights.
    """
    if config.loss != "custom" and weight is None:
        return losses.weights(process, config.loss, config.prediction, spectrum=spectrum)
    if config.loss != "custom" or weight is None:
        raise ValueError(f"loss={config.loss!r}: weight= is needed by loss='custom', and by no other")
    return losses.check_weights(weight, process)


def check_same_run(checkpoint: Checkpoint, config: Config, data: dict[str, str]) -> None:
    """Check that a checkpoint has these settings and was made from these data.

    Raises:
        ValueError: names the settings that differ, with both values.
    """
    now = asdict(config) | data
    then = checkpoint.state["config"] | checkpoint.state["fingerprint"]
    keys = [key for key in now if key not in _FREE and then.get(key) != now[key]]
    if keys:
        different = "; ".join(f"{key} (was {then.get(key)!r}, now {now[key]!r})" for key in keys)
        raise ValueError(
            f"{checkpoint.path} is of another run, with other {different}: give its settings to resume it,"
            " or another folder to start anew"
        )


def fingerprint(images: Images, process: SpectralProcess, weight: Tensor) -> dict[str, str]:
    """Hashes of what a run is made from; of a sequence of images, its length and the first."""
    return {
        "images": digest([images] if isinstance(images, Tensor) else [torch.tensor(len(images)), images[0]]),
        "process": digest([process.signal_table, process.noise_table]),
        "weight": digest([weight]),
    }


def digest(tensors: list[Tensor]) -> str:
    """The beginning of a hash of types, shapes and values."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]
