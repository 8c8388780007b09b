"""What trainings of the test beds share: networks with their optimisers, records, averages and checkpoints.

A subclass says what a step does. As in ``fans.training.Trainer``, a step depends on (seed, step) alone, and
a run that was killed and resumed from its folder ends in the weights of one that was not; exactly so on the
same device with the same number of threads.
"""

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from safetensors.torch import save
from torch import Tensor, nn

from fans.config import Config
from fans.training import checkpoints
from fans.training.checks import check_same_run
from fans.training.loop import Record

BETAS = (0.0, 0.99)  # of Adam, as in Karras et al. 2018


@dataclass(frozen=True)
class CourseConfig(Config):
    """Numbers that all trainings of the test beds have.

    Attributes:
        steps: updates.
        batch: images per update.
        seed: of everything that is drawn.
        rate: learning rate of Adam, whose betas are 0 and 0.99.
        ema: decay of the average of the first network's weights per update, reached after a warm-up; 0 is
            none.
        log_every: updates per record.
        save_every: updates per checkpoint.
        keep: number of checkpoints to keep.
    """

    steps: int = 1000
    batch: int = 10
    seed: int = 0
    rate: float = 1e-3
    ema: float = 0.0
    log_every: int = 10
    save_every: int = 1000
    keep: int = 2

    def __post_init__(self) -> None:
        self.check_types()
        for name in ("steps", "batch", "rate", "log_every", "save_every", "keep"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)}: must be positive")
        if self.seed < 0 or not 0 <= self.ema < 1:
            raise ValueError(f"seed={self.seed}, ema={self.ema}: must not be negative; ema must be below 1")


class Course(ABC):
    """Networks that are trained together in one process, resumed from a folder that holds a checkpoint.

    Attributes:
        step: number of finished updates.
        history: records: step, mean of each loss since the record before, what `notes` adds, and seconds of
            training so far.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        rates: Mapping[str, float],
        images: Tensor,
        config: CourseConfig,
        *,
        folder: Path | str | None = None,
        accelerator: Any = None,
    ) -> None:
        """Prepare a run.

        Args:
            networks: by name, trained in place; the first is averaged and published.
            rates: learning rate of each.
            images: (N, C, H, W), floating point.
            config: everything else.
            folder: for checkpoints; nothing is written without one.
            accelerator: chooses the device.

        Raises:
            ValueError: no images, several processes, or a checkpoint of another run.
        """
        self.accelerator = accelerator or Accelerator(mixed_precision="no")
        if self.accelerator.num_processes > 1:
            raise ValueError(
                f"{self.accelerator.num_processes} processes: test beds train in one; start without"
                " `accelerate launch`, and more seeds or arms side by side instead"
            )
        if images.ndim != 4 or not len(images) or not images.is_floating_point():
            raise ValueError(
                f"images {tuple(images.shape)} of {images.dtype}: must be (N, C, H, W), floating point, N > 0"
            )
        self.config, self.folder = config, Path(folder) if folder is not None else None
        self.step, self.history = 0, list[Record]()
        self.networks = {name: network.to(self.device) for name, network in networks.items()}
        self.images = images.to(self.device)
        self._elapsed, self._sums = 0.0, dict[str, float]()
        self._inputs = {"images": hashlib.sha256(save({"images": images.contiguous()})).hexdigest()[:16]}
        self._optimizers = {
            name: torch.optim.Adam(network.parameters(), lr=rates[name], betas=BETAS, fused=True)
            for name, network in self.networks.items()
        }
        self._first = next(iter(self.networks.values()))
        self._ema = EMAModel(list(self._first.parameters()), decay=config.ema, foreach=True)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            if (found := checkpoints.newest(self.folder)) is not None:
                self._restore(checkpoints.load(found))

    @property
    def device(self) -> torch.device:
        """Where networks and images are."""
        device: torch.device = self.accelerator.device
        return device

    @abstractmethod
    def update(self) -> dict[str, float]:
        """Do one step, with draws that depend on the seed and ``self.step`` alone; its losses."""

    def notes(self) -> Record:
        """What a record holds besides the losses."""
        return {}

    def run(self, *, until: int | None = None) -> list[Record]:
        """Train to the last step, or to step ``until``; the folder then holds its checkpoint.

        Raises:
            FloatingPointError: a loss is not finite; the last checkpoint remains.
        """
        last = self.config.steps if until is None else min(until, self.config.steps)
        while self.step < last:
            started = time.perf_counter()
            self._add(self.update())
            self._ema.step(list(self._first.parameters()))
            self.step += 1
            self._elapsed += time.perf_counter() - started
            if self.step % self.config.log_every == 0:
                self._record()
            if self.folder and (self.step % self.config.save_every == 0 or self.step == last):
                self._save(self.folder)
        return self.history

    def descend(self, name: str, loss: Tensor) -> float:
        """One step of a network's optimiser down a loss, whose value is returned."""
        self._optimizers[name].zero_grad()
        loss.backward(inputs=list(self.networks[name].parameters()))  # type: ignore[no-untyped-call]
        self._optimizers[name].step()
        return float(loss.detach())

    def averaged(self) -> nn.Module:
        """A copy of the first network with the averaged weights."""
        copy = deepcopy(self._first).eval().requires_grad_(False)
        self._ema.copy_to(copy.parameters())
        return copy

    def weights(self) -> dict[str, Tensor]:
        """Tensors of `averaged`."""
        return self.averaged().state_dict()

    def _add(self, losses: Mapping[str, float]) -> None:
        for name, loss in losses.items():
            if not isfinite(loss):
                raise FloatingPointError(
                    f"{name} is {loss} at step {self.step}: lower rate={self.config.rate}; this state is not"
                    " saved"
                )
            self._sums[name] = self._sums.get(name, 0.0) + loss

    def _record(self) -> None:
        means = {name: total / self.config.log_every for name, total in self._sums.items()}
        self._sums = {}
        seconds = round(self._elapsed, 3)
        self.history.append({"step": self.step, **means, **self.notes(), "seconds": seconds})

    def _save(self, folder: Path) -> None:
        optimizers = {
            f"{name} optimizer": {
                f"{parameter}/{key}": value
                for parameter, slots in self._slots(name).items()
                for key, value in slots.items()
            }
            for name in self.networks
        }
        state = {
            "step": self.step,
            "ema_updates": self._ema.optimization_step,
            "sums": self._sums,
            "seconds": self._elapsed,
            "config": asdict(self.config),
            "fingerprint": self._inputs,
            "history": self.history,
        }
        models = {name: network.state_dict() for name, network in self.networks.items()}
        averages = dict(zip(dict(self._first.named_parameters()), self._ema.shadow_params, strict=True))
        tensors = {**models, **optimizers, "ema": averages}
        checkpoints.save(folder, self.step, tensors, state, keep=self.config.keep)

    def _slots(self, name: str) -> dict[str, dict[str, Tensor]]:
        """State of a network's optimiser, by parameter; none before the first step."""
        states = self._optimizers[name].state
        parameters = self.networks[name].named_parameters()
        return {key: states[value] for key, value in parameters if states.get(value)}

    def _restore(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Take over everything that was saved, if it is a checkpoint of this run."""
        tensors, state = checkpoint.tensors, checkpoint.state
        check_same_run(checkpoint, self.config, self._inputs)
        for name, network in self.networks.items():
            network.load_state_dict(tensors[name])
            for key, parameter in network.named_parameters():
                slots = {
                    path.rpartition("/")[2]: value.to(parameter.device)
                    for path, value in tensors[f"{name} optimizer"].items()
                    if path.rpartition("/")[0] == key
                }
                self._optimizers[name].state[parameter] = slots
        for name, average in zip(dict(self._first.named_parameters()), self._ema.shadow_params, strict=True):
            average.copy_(tensors["ema"][name])
        self._ema.optimization_step = state["ema_updates"]
        self.step, self.history = state["step"], state["history"]
        self._elapsed, self._sums = state["seconds"], state["sums"]
