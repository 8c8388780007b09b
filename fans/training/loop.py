"""The training loop, and what it saves and takes over."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from tqdm import tqdm

from fans.diffusion import SpectralProcess, Spectrum, losses
from fans.training import checkpoints, checks
from fans.training.checks import Images
from fans.training.config import TrainingConfig
from fans.training.streams import noise, order, seed_layers, timesteps

Record = dict[str, float]


class Trainer:
    """A training run, resumed from its folder if that holds a checkpoint.

    Several may run side by side in threads, exactly as alone, if they are built one after the other and
    their networks draw no random numbers: initial weights and dropout use torch's global generator.

    Attributes:
        step: number of finished updates.
        history: records of the log: step, mean loss and last norm of the gradient since the record before,
            learning rate, seconds of training so far.
    """

    def __init__(
        self,
        network: nn.Module,
        images: Images,
        process: SpectralProcess,
        config: TrainingConfig,
        *,
        folder: Path | str | None = None,
        spectrum: Spectrum | None = None,
        weight: Tensor | None = None,
        accelerator: Accelerator | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            network: called with images and timesteps; trained in place.
            images: (N, C, H, W), or a sequence of (C, H, W) of float32.
            process: noising process.
            config: everything else.
            folder: for checkpoints and ``log.jsonl``; nothing is written without one.
            spectrum: power of the data per coefficient, for the losses and importances that need it.
            weight: table of ``loss="custom"``, as ``fans.diffusion.losses.weights`` gives.
            accelerator: chooses device and processes; without one, ``accelerate launch`` does.

        Raises:
            ValueError: arguments that do not fit each other, or a checkpoint of another run.
        """
        self.accelerator = accelerator or Accelerator(mixed_precision="no")  # bf16 is ours, see _loss
        self.network, self.images, self.process, self.config = network, images, process, config
        self.folder = Path(folder) if folder is not None else None
        self.step, self.history = 0, list[Record]()
        self._elapsed, self._norm = 0.0, torch.zeros(())
        checks.check_fit(network, images, process, config, self.accelerator)
        table = checks.loss_table(process, config, spectrum, weight)
        self._fingerprint = self._made_from(table)
        kind = config.prediction
        self._probability = losses.timestep_probability(process, table, config.importance, kind, spectrum)
        self._weight = (table * losses.correction(self._probability)[:, None, None]).float()
        device = self.accelerator.device
        network.to(device)
        if config.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._names = {name: p for name, p in network.named_parameters() if p.requires_grad}
        self._parameters = list(self._names.values())
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=config.rate, weight_decay=config.weight_decay, fused=True
        )
        self._ema = EMAModel(self._parameters, decay=config.ema, foreach=True)
        self._sum = torch.zeros((), device=device)
        if self.folder is not None and (found := checkpoints.newest(self.folder)) is not None:
            self._restore(checkpoints.load(found))
        self._start_log()
        forward = torch.compile(network) if config.compile else network
        self._forward = self.accelerator.prepare_model(forward)

    def _made_from(self, table: Tensor) -> dict[str, str]:
        """Hashes of what a checkpoint can only be continued with."""
        return checks.fingerprint(self.images, self.process, table)

    # The loop

    def run(
        self,
        *,
        until: int | None = None,
        progress: bool = False,
        on_record: Callable[[Record], None] | None = None,
    ) -> list[Record]:
        """Train to the last step, or to step ``until``.

        Args:
            until: last step of this call, e.g. for a limited time; the folder then holds its checkpoint.
            progress: show a bar.
            on_record: called with each record, in the main process only; for TensorBoard,
                ``lambda record: writer.add_scalar("loss", record["loss"], record["step"])``.

        Returns:
            The history.

        Raises:
            FloatingPointError: the loss or the gradient is not finite; the last checkpoint remains.
        """
        last = self.config.steps if until is None else min(until, self.config.steps)
        main = self.accelerator.is_main_process
        self.network.train()
        bar = tqdm(total=last, initial=self.step, disable=not (progress and main), unit="step")
        with bar, _global_seeds_kept(self.accelerator.device):
            while self.step < last:
                started = time.perf_counter()
                self._update()
                self._elapsed += time.perf_counter() - started
                bar.update()
                if self.step % self.config.log_every == 0:
                    record = self._record()
                    bar.set_postfix(loss=f"{record['loss']:.4g}")
                    if on_record and main:
                        on_record(record)
                if self.folder and (self.step % self.config.save_every == 0 or self.step == last):
                    self._save()
        return self.history

    def _update(self) -> None:
        """One step: gradients of all parts of the batch, clipping, Adam, average."""
        seed_layers(self.config.seed, self.step, self.accelerator.process_index)
        parts = self.config.accumulation
        for part in range(parts):
            last = part == parts - 1
            with nullcontext() if last else self.accelerator.no_sync(self._forward):
                loss = self._loss(part) / parts
                loss.backward()  # type: ignore[no-untyped-call]
            self._sum += loss.detach()
        on_cpu = self.accelerator.device.type == "cpu"  # elsewhere the fast path is the default
        limit = self.config.clip or float("inf")
        self._norm = nn.utils.clip_grad_norm_(self._parameters, limit, foreach=True if on_cpu else None)
        self._optimizer.param_groups[0]["lr"] = self.config.learning_rate(self.step)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._ema.step(self._parameters)
        self.step += 1

    def _loss(self, part: int) -> Tensor:
        """Mean loss of one part of this process's share of the batch."""
        x_0, epsilon, t = self.draw(self.step, part)
        x_t, target = losses.noised(self.process, x_0, epsilon, t, self.config.prediction)
        if self.config.channels_last:
            x_t = x_t.contiguous(memory_format=torch.channels_last)
        return self._error(x_0, x_t, target, t)

    def _error(self, x_0: Tensor, x_t: Tensor, target: Tensor, t: Tensor) -> Tensor:
        """Mean loss for images, noisy images, what to predict, and timesteps on the CPU."""
        with self._autocast():
            prediction = self._forward(x_t, t.to(x_t.device))
        return losses.weighted_error(prediction.float() - target, self._weight[t]).mean()

    def _autocast(self) -> torch.autocast:
        """Our own: that of accelerate is a setting of the whole Python process."""
        device, half = self.accelerator.device, self.config.precision == "bf16"
        return torch.autocast(device.type, torch.bfloat16, enabled=half)

    def draw(self, step: int, part: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Images, white noise and timesteps (on the CPU) of this process at a step."""
        config, workers = self.config, self.accelerator.num_processes
        size = config.batch // (config.accumulation * workers)
        first = (part * workers + self.accelerator.process_index) * size
        numbers = range(step * config.batch + first, step * config.batch + first + size)
        index = order(config.seed, len(self.images), numbers)
        images = self.images
        few = images[index] if isinstance(images, Tensor) else torch.stack([images[int(i)] for i in index])
        x_0 = few.to(self.accelerator.device, torch.float32)
        epsilon = noise(config.seed, x_0.shape, numbers.start, device=x_0.device)
        t = timesteps(config.seed, step, config.batch, self._probability)[first : first + size]
        return x_0, epsilon, t

    def denoiser(self, which: Literal["ema", "model"] = "ema") -> nn.Module:
        """A copy of the network for sampling, with the averaged or the current weights."""
        copy = deepcopy(self.network).eval().requires_grad_(False)
        if which == "ema":
            copy.load_state_dict(self.network.state_dict() | self._averaged())
        return copy

    def weights(self) -> dict[str, Tensor]:
        """Tensors of ``denoiser()``."""
        return self.denoiser().state_dict()

    def _averaged(self) -> dict[str, Tensor]:
        return dict(zip(self._names, self._ema.shadow_params, strict=True))

    # Records and checkpoints

    def _record(self) -> Record:
        """Append a record to the history and the log, and start a new mean."""
        loss = float(self.accelerator.reduce(self._sum, "mean")) / self.config.log_every
        self._check_finite(loss)
        self._sum.zero_()
        self.history.append(
            {
                "step": self.step,
                "loss": loss,
                "gradient": float(self._norm),
                "rate": self.config.learning_rate(self.step - 1),
                "seconds": round(self._elapsed, 3),
            }
        )
        if self.folder and self.accelerator.is_main_process:
            with open(self.folder / "log.jsonl", "a") as file:
                file.write(json.dumps(self.history[-1]) + "\n")
        return self.history[-1]

    def _check_finite(self, loss: float) -> None:
        if not (isfinite(loss) and isfinite(float(self._norm))):
            raise FloatingPointError(
                f"loss {loss}, norm of the gradient {float(self._norm)} at step {self.step}: lower rate="
                f"{self.config.rate}, raise warmup, or clip; this state is not saved"
            )

    def _save(self) -> None:
        """Write a checkpoint from the main process; the others wait."""
        pending = float(self.accelerator.reduce(self._sum, "mean"))
        self._check_finite(pending)
        if self.folder and self.accelerator.is_main_process:
            optimizer = {
                f"{name}/{key}": value
                for name, parameter in self._names.items()
                for key, value in self._optimizer.state[parameter].items()
            }
            state = {
                "step": self.step,
                "ema_updates": self._ema.optimization_step,
                "pending_loss": pending,
                "seconds": self._elapsed,
                "config": asdict(self.config),
                "fingerprint": self._fingerprint,
                "history": self.history,
                "made_with": {
                    "torch": torch.__version__,
                    "device": str(self.accelerator.device),
                    "processes": self.accelerator.num_processes,
                },
            }
            tensors = {"model": self.network.state_dict(), "ema": self._averaged(), "optimizer": optimizer}
            checkpoints.save(self.folder, self.step, tensors, state, keep=self.config.keep)
        self.accelerator.wait_for_everyone()

    def _restore(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Take over everything that was saved, if it is a checkpoint of this run."""
        tensors, state = checkpoint.tensors, checkpoint.state
        checks.check_same_run(checkpoint, self.config, self._fingerprint)
        self.network.load_state_dict(tensors["model"])
        for name, parameter in self._names.items():
            slots = self._optimizer.state[parameter]
            for key in ("exp_avg", "exp_avg_sq"):  # in the memory format of the parameter, as Adam assumes
                slots[key] = torch.zeros_like(parameter).copy_(tensors["optimizer"][f"{name}/{key}"])
            slots["step"] = tensors["optimizer"][f"{name}/step"].to(parameter.device)
        for name, average in self._averaged().items():
            average.copy_(tensors["ema"][name])
        self._ema.optimization_step = state["ema_updates"]
        self.step, self.history = state["step"], state["history"]
        self._elapsed = state["seconds"]
        self._sum.fill_(state["pending_loss"])

    def _start_log(self) -> None:
        """Keep the records up to this step: those after it come again."""
        if self.folder and self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            lines = "".join(json.dumps(record) + "\n" for record in self.history)
            checkpoints.write(self.folder / "log.jsonl", lines.encode())


def load_denoiser(
    folder: Path | str, network: nn.Module, *, which: Literal["ema", "model"] = "ema"
) -> nn.Module:
    """Load the newest whole checkpoint of a run into a network, ready for sampling.

    Args:
        folder: of the run.
        network: of the same sizes; changed in place.
        which: averaged weights, or those of the last step.

    Raises:
        FileNotFoundError: no whole checkpoint in the folder.
    """
    found = checkpoints.newest(Path(folder))
    if found is None:
        raise FileNotFoundError(f"{folder}: no whole checkpoint there; train with this folder first")
    tensors = checkpoints.load(found).tensors
    network.load_state_dict(tensors["model"] | tensors[which])
    return network.eval().requires_grad_(False)


@contextmanager
def _global_seeds_kept(device: torch.device) -> Iterator[None]:
    """The loop seeds torch's global generators at each step; leave the caller's as they were."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        yield
