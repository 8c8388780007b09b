"""What a training run checks before it starts: its arguments against each other, and against a checkpoint."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from fans.diffusion import SpectralProcess, Spectrum, losses
from fans.diffusion.denoisers import TrainedFor, described, in_words
from fans.diffusion.digests import digest
from fans.training.checkpoints import Checkpoint
from fans.training.config import LoopConfig, TrainingConfig

Images = Tensor | Sequence[Tensor]
_FREE = {"check_range", "log_every", "save_every", "keep"}  # what may change when a run is resumed
_LOOKED_AT = 64  # images that stand for a sequence
_LIBRARIES = ("torch", "diffusers", "accelerate")
_FAR = 5.0  # root mean square of images that are not what networks are made for; within [-1, 1] it is below 1


def check_training_images(images: Images, config: LoopConfig) -> None:
    """Check shape, type and range of images; of a sequence, of those that ``looked_at`` gives.

    Raises:
        ValueError: says what does not fit.
    """
    found = looked_at(images)
    shape = (len(images), *found[0].shape) if found else (0,)
    if len(shape) != 4:
        raise ValueError(f"images {shape}: must be (N, C, H, W), or a sequence of (C, H, W), with N > 0")
    for image in found:
        if not image.is_floating_point():
            raise ValueError(f"images are {image.dtype}: must be floating point, from -1 to 1")
        if image.shape != found[0].shape:
            raise ValueError(
                f"images of shapes {tuple(found[0].shape)} and {tuple(image.shape)}: must be equal"
            )
    values = torch.stack(found).float()
    rms = float(values.square().mean().sqrt())
    if config.check_range and not rms <= _FAR:
        raise ValueError(
            f"images from {float(values.min()):.4g} to {float(values.max()):.4g}, root mean square {rms:.4g}:"
            " must be finite and about -1 to 1 (x / 127.5 - 1 for 8 bits), or of variance 1;"
            " check_range=False allows others"
        )


def looked_at(images: Images) -> list[Tensor]:
    """All images if they are few, or 64 that lie equally far apart, the first and the last among them."""
    count = min(len(images), _LOOKED_AT)
    places = torch.linspace(0, len(images) - 1, count, dtype=torch.float64).round().long()
    return [images[int(i)] for i in places]


def check_processes(config: LoopConfig, accelerator: Accelerator) -> None:
    """Check that the processes can share a batch, and leave precision to the configuration.

    Raises:
        ValueError: says what does not fit.
    """
    workers = accelerator.num_processes
    if config.batch % (config.accumulation * workers):
        raise ValueError(
            f"batch={config.batch}: must be a multiple of accumulation={config.accumulation} times"
            f" {workers} processes"
        )
    if accelerator.mixed_precision != "no":
        raise ValueError(
            f"the accelerator has mixed_precision={accelerator.mixed_precision!r}: must be 'no'; choose"
            " precision='bf16' in the configuration instead"
        )


def check_fit(network: nn.Module, images: Images, process: SpectralProcess, config: TrainingConfig) -> None:
    """Check a denoiser, its images and its prediction against a process.

    Raises:
        ValueError: says what does not fit; also a prediction from which no sampler could start.
    """
    shape = tuple(images[0].shape) if len(images) else ()
    if len(shape) != 3 or shape[1:] != process.size:
        wanted = f"(C, {process.size[0]}, {process.size[1]})"
        raise ValueError(
            f"{len(images)} images of shape {shape}: process {process.name!r} needs at least one of {wanted}"
        )
    returned = getattr(network, "prediction", config.prediction)
    if returned != config.prediction:
        raise ValueError(
            f"prediction={config.prediction!r}, but the network returns {returned!r}: make them equal"
        )
    process.inversion(process.timesteps, config.prediction)


def loss_weights(
    process: SpectralProcess,
    config: TrainingConfig,
    spectrum: Spectrum | None,
    weight: Tensor | losses.Weights | None,
) -> losses.Weights:
    """The weights of the loss, those given for ``custom``.

    Raises:
        ValueError: weights without ``custom`` or ``custom`` without weights.
    """
    if config.loss != "custom" and weight is None:
        return losses.weights(process, config.loss, config.prediction, spectrum=spectrum)
    if config.loss != "custom" or weight is None:
        raise ValueError(f"loss={config.loss!r}: weight= is needed by loss='custom', and by no other")
    return losses.as_weights(weight, process)


def check_same_run(checkpoint: Checkpoint, config: LoopConfig, made_from: Mapping[str, str]) -> None:
    """Check that a checkpoint has these settings and was made from the same data.

    A run with a constant rate may go on for more steps.

    Raises:
        ValueError: names the settings that differ, with both values.
    """
    now = asdict(config) | dict(made_from)
    then = checkpoint.state["config"] | checkpoint.state["fingerprint"]
    free = _FREE | ({"steps"} if config.decay == "constant" == then.get("decay") else set())
    if config.steps < checkpoint.state["step"]:
        free -= {"steps"}
    keys = [key for key in now if key not in free and then.get(key) != now[key]]
    if keys:
        different = "; ".join(f"{key} (was {then.get(key)!r}, now {now[key]!r})" for key in keys)
        raise ValueError(
            f"{checkpoint.path} is of another run, with other {different}: give its settings to resume it,"
            " or another folder to start anew"
        )


def fingerprint(images: Images, networks: Mapping[str, nn.Module]) -> dict[str, str]:
    """Hashes of images and networks; of a sequence, of its length and those that ``looked_at`` gives."""
    found = [images] if isinstance(images, Tensor) else [len(images), *looked_at(images)]
    return {"images": digest(*found)} | {
        f"network {name}": architecture(network) for name, network in networks.items()
    }


def architecture(network: nn.Module) -> str:
    """Hash of what a network is besides its weights: classes, configurations, shapes, what is tied or frozen.

    >>> one, other = nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Sequential(nn.Linear(2, 2), nn.SiLU())
    >>> architecture(one) == architecture(other)
    False
    """
    parts = list[Any]()
    for name, module in network.named_modules():
        kind = type(module)
        parts.append((name, kind.__qualname__, module.extra_repr(), _plain(getattr(module, "config", None))))
        if kind.__module__.partition(".")[0] not in _LIBRARIES:
            code = getattr(kind.forward, "__code__", None)
            if code is not None:
                constants = [value for value in code.co_consts if isinstance(value, int | float | str)]
                parts.append((code.co_code, code.co_names, constants))
    parts += [(name, tuple(p.shape), p.dtype, p.requires_grad) for name, p in network.named_parameters()]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _plain(config: Any) -> Any:
    """A configuration as text that is equal in every process."""
    if isinstance(config, Mapping):
        return sorted((key, repr(value)) for key, value in config.items() if not str(key).startswith("_"))
    return repr(config) if hasattr(config, "__dataclass_fields__") else None


def made_from(process: SpectralProcess, weights: losses.Weights) -> dict[str, str]:
    """What the run of a denoiser is made from besides: the process, by name and hash, and the loss."""
    return {"process": in_words(described(process)), "weight": digest(weights.config)}


def trained_for(checkpoint: Checkpoint) -> TrainedFor:
    """What the denoiser of a checkpoint was trained for."""
    process, prediction, shape = checkpoint.state["trained_for"]
    return TrainedFor(process, prediction, tuple(shape))
