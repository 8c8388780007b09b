"""The numbers of a training run."""

from dataclasses import dataclass, fields
from math import cos, pi
from typing import Literal, get_args

from fans.config import Config
from fans.diffusion import Prediction
from fans.diffusion.losses import Importance, Loss


@dataclass(frozen=True)
class TrainingConfig(Config):
    """All numbers of a training run but the sizes of the network.

    Attributes:
        steps: updates of the weights.
        batch: images per update, shared by all processes.
        seed: of data order, noise, timesteps and dropout.
        prediction: what the network predicts (``SpectralProcess.mixture``).
        loss: a table of ``fans.diffusion.losses.weights``, or ``custom`` for a table of your own.
        importance: how timesteps are drawn (``fans.diffusion.losses.timestep_probability``).
        rate: learning rate of Adam.
        warmup: updates during which the rate rises to its value.
        decay: what the rate does then: stay, or fall to 0 along half a cosine.
        weight_decay: decoupled (AdamW).
        clip: largest norm of the gradient; 0 does not clip.
        ema: decay of the average of the weights per update, reached after a warm-up.
        accumulation: parts into which the batch of a process is split, to save memory.
        precision: ``bf16`` runs the network, not the loss, in bfloat16 where that is safe.
        channels_last: memory format, faster on most GPUs.
        compile: ``torch.compile`` the network; takes a minute, pays in long runs only.
        log_every: updates per record of the log, which holds their mean loss.
        save_every: updates per checkpoint.
        keep: number of checkpoints to keep.

    >>> TrainingConfig.from_json('{"step": 5}')
    Traceback (most recent call last):
    ...
    ValueError: unknown 'step': keys are steps, batch, seed, prediction, ...
    """

    steps: int = 1000
    batch: int = 32
    seed: int = 0
    prediction: Prediction = "v_prediction"
    loss: Literal[Loss, "custom"] = "flat"
    importance: Importance = "uniform"
    rate: float = 2e-3
    warmup: int = 0
    decay: Literal["constant", "cosine"] = "cosine"
    weight_decay: float = 0.0
    clip: float = 1.0
    ema: float = 0.995
    accumulation: int = 1
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False
    compile: bool = False
    log_every: int = 50
    save_every: int = 1000
    keep: int = 2

    def __post_init__(self) -> None:
        self.check_types()
        choices = {field.name: get_args(field.type) for field in fields(self)}
        for name, allowed in choices.items():
            if allowed and getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r}: must be one of {', '.join(allowed)}")
        for name in ("steps", "batch", "accumulation", "log_every", "save_every", "keep", "rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)}: must be positive")
        for name in ("seed", "warmup", "weight_decay", "clip", "ema"):
            if getattr(self, name) < 0 or (name == "ema" and self.ema >= 1):
                raise ValueError(f"{name}={getattr(self, name)}: must not be negative; ema must be below 1")

    def learning_rate(self, step: int) -> float:
        """Rate of update ``step``, counted from 0."""
        rise = min(1.0, (step + 1) / (self.warmup + 1))
        fall = (1 + cos(pi * step / self.steps)) / 2 if self.decay == "cosine" else 1.0
        return self.rate * rise * fall
