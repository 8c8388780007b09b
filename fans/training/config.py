"""The numbers of a training run."""

from dataclasses import dataclass, fields
from math import cos, pi
from typing import Literal, get_args

from fans.config import Config
from fans.diffusion import Prediction
from fans.diffusion.losses import Importance, Loss


@dataclass(frozen=True)
class LoopConfig(Config):
    """Numbers that all training runs have; the defaults are those of test beds.

    Attributes:
        steps: updates of the weights.
        batch: images per update, shared by all processes.
        seed: of everything that is drawn.
        rate: learning rate of Adam.
        warmup: updates during which the rate rises to its value.
        decay: what the rate does then: stay, or fall to 0 along half a cosine. Only a run whose rate stays
            can be resumed with more steps.
        weight_decay: decoupled (AdamW).
        clip: largest norm of the gradient; 0 does not clip.
        ema: decay of the average of the first network's weights per update, reached after a warm-up; 0 is
            none.
        accumulation: parts into which the batch of a process is split, to save memory.
        precision: ``bf16`` runs the networks, not the losses, in bfloat16 where that is safe.
        channels_last: memory format, faster on most GPUs.
        compile: ``torch.compile`` the networks; takes a minute, pays in long runs only.
        check_range: refuse images far outside [-1, 1].
        log_every: updates per record of the log, which holds their mean losses; there is one of the last
            update too.
        save_every: updates per checkpoint.
        keep: number of checkpoints to keep.
    """

    steps: int = 1000
    batch: int = 10
    seed: int = 0
    rate: float = 1e-3
    warmup: int = 0
    decay: Literal["constant", "cosine"] = "constant"
    weight_decay: float = 0.0
    clip: float = 0.0
    ema: float = 0.0
    accumulation: int = 1
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False
    compile: bool = False
    check_range: bool = True
    log_every: int = 10
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

    def learning_rate(self, step: int, rate: float | None = None) -> float:
        """Rate of update ``step``, counted from 0; of a network with another ``rate`` if that is given."""
        rise = min(1.0, (step + 1) / (self.warmup + 1))
        fall = (1 + cos(pi * step / self.steps)) / 2 if self.decay == "cosine" else 1.0
        return (self.rate if rate is None else rate) * rise * fall


@dataclass(frozen=True)
class TrainingConfig(LoopConfig):
    """All numbers of the training of a denoiser but the sizes of the network.

    Attributes:
        prediction: what the network predicts (``SpectralProcess.mixture``).
        loss: a table of ``fans.diffusion.losses.weights``, or ``custom`` for a table of your own.
        importance: how timesteps are drawn (``fans.diffusion.losses.timestep_probability``).

    All others are those of ``LoopConfig``, with the defaults of a denoiser.

    >>> TrainingConfig.from_json('{"step": 5}')
    Traceback (most recent call last):
    ...
    ValueError: unknown 'step': keys are steps, batch, seed, rate, ...
    """

    batch: int = 32
    rate: float = 2e-3
    decay: Literal["constant", "cosine"] = "cosine"
    clip: float = 1.0
    ema: float = 0.995
    log_every: int = 50
    prediction: Prediction = "v_prediction"
    loss: Literal[Loss, "custom"] = "flat"
    importance: Importance = "uniform"
