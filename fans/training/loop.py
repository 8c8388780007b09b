"""The training loop, whatever is trained, and what it saves and takes over.

Networks are trained together, each in its turn of a step, down a loss of its own. Networks, rates and losses
come from a subclass: ``Trainer``, ``Distiller``, ``Fitting`` or ``Adversarial``.
"""

import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from copy import deepcopy
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from fans.diffusion.denoisers import unwrapped
from fans.training import checkpoints, checks
from fans.training.checks import Images
from fans.training.config import LoopConfig
from fans.training.interruption import EXIT_CODE, Wish, wishes
from fans.training.sharing import agreed, average_gradients, share
from fans.training.state import Record, State, take
from fans.training.streams import seed_layers, seeds_kept

Terms = Mapping[str, Tensor]  # of a loss, which is their sum
Which = Literal["ema", "model"]


class Loop(State, ABC):
    """A training run, resumed from its folder if that holds a checkpoint.

    Several may run side by side in threads, exactly as alone, if they are built one after the other and
    their networks draw no random numbers: initial weights and dropout use torch's global generator.

    Attributes:
        step: number of finished updates.
        history: records of the log: step, mean of each term of the losses since the record before, last norms
            of gradients, learning rate, what ``notes`` adds, and seconds of training so far.
    """

    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)  # of Adam

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        images: Images,
        config: LoopConfig,
        *,
        rates: Mapping[str, float] | None = None,
        made_from: Mapping[str, str] | None = None,
        facts: Mapping[str, Any] | None = None,
        folder: Path | str | None = None,
        accelerator: Accelerator | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            networks: by name, trained in place; the first is averaged and published.
            images: (N, C, H, W), or a sequence of (C, H, W), floating point, from -1 to 1.
            config: everything else.
            rates: learning rates of networks that have not the configuration's.
            made_from: hashes of what a checkpoint can only be continued with, besides networks and images.
            facts: plain values that its state holds too.
            folder: for checkpoints and ``log.jsonl``; nothing is written without one.
            accelerator: chooses device and processes; without one, ``accelerate launch`` does.

        Raises:
            ValueError: arguments that do not fit each other, or a checkpoint of another run.
        """
        self.accelerator = accelerator or Accelerator(mixed_precision="no")  # bf16 is ours, see forward
        self.images, self.folder = images, Path(folder) if folder is not None else None
        checks.check_training_images(images, config)
        checks.check_processes(config, self.accelerator)
        self._norms = dict[str, Tensor]()
        self._facts, self._rates = dict(facts or {}), dict(rates or {})
        self._fingerprint = checks.fingerprint(images, networks) | dict(made_from or {})
        for network in networks.values():
            network.to(self.accelerator.device)
            if config.channels_last:
                network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            share(self.accelerator, [*network.parameters(), *network.buffers()])
        super().__init__(networks, config, betas=self.betas)
        if self.folder is not None and (found := checkpoints.newest(self.folder)) is not None:
            checkpoint = checkpoints.load(found)
            checks.check_same_run(checkpoint, config, self._fingerprint)
            self.restore(checkpoint)
        self._start_log()
        self.forwards = {
            name: torch.compile(network) if config.compile else network for name, network in networks.items()
        }

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        device: torch.device = self.accelerator.device
        return device

    # What a subclass says

    @abstractmethod
    def losses(self) -> Mapping[str, Callable[[int], Terms]]:
        """For each network, in the order of their turns, the loss of a part of this process's batch.

        What is drawn depends on the seed, ``self.step`` and ``self.share(part)`` alone.
        """

    def notes(self) -> Record:
        """What a record holds besides."""
        return {}

    # What it calls

    def share(self, part: int, *, batch: int | None = None) -> range:
        """Which images of the run are those of a part of this process, in a batch: that of the step."""
        workers, total = self.accelerator.num_processes, self.config.batch
        size = total // (self.config.accumulation * workers)
        first = (part * workers + self.accelerator.process_index) * size
        first += total * (self.step if batch is None else batch)
        return range(first, first + size)

    def forward(self, name: str, *inputs: Tensor) -> Tensor:
        """What a network returns in training, in single precision."""
        with self.autocast():
            return unwrapped(self.forwards[name](*map(self.laid_out, inputs))).float()

    def laid_out(self, x: Tensor) -> Tensor:
        channels_last = self.config.channels_last and x.ndim == 4
        return x.contiguous(memory_format=torch.channels_last) if channels_last else x

    def autocast(self) -> torch.autocast:
        """Our own: that of accelerate is a setting of the whole Python process."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

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
            FloatingPointError: a loss or a gradient is not finite; the last checkpoint remains.
            ValueError: something of the networks cannot be saved; before the first step.
            SystemExit: SIGTERM or SIGHUP came, and the run is saved (``fans.training.interruption``).
        """
        last = self.config.steps if until is None else min(until, self.config.steps)
        main = self.accelerator.is_main_process
        for network in self.networks.values():
            network.train()
        bar = tqdm(total=last, initial=self.step, disable=not (progress and main), unit="step")
        with bar, seeds_kept(self.device), wishes(heard=self.folder is not None) as wish:
            if self.folder and main and self.step == 0 < last:
                checkpoints.rehearse(self.folder, self.tensors(), self._plain({}))
            while self.step < last:
                started = time.perf_counter()
                self._update()
                self.elapsed += time.perf_counter() - started
                bar.update()
                if self.step % self.config.log_every == 0 or self.step == self.config.steps:
                    record = self._record()
                    bar.set_postfix(loss=f"{record['loss']:.4g}")
                    if on_record and main:
                        on_record(record)
                if self.folder:
                    self._keep(last, wish)
        return self.history

    def _keep(self, last: int, wish: Wish) -> None:
        """Save if it is time; end if a signal asks for it."""
        end = agreed(self.accelerator, bool(wish.signal))
        if end or self.step % self.config.save_every == 0 or self.step == last:
            self._save()
        if end:
            if self.accelerator.is_main_process:
                name = wish.signal or "a signal to another process"
                print(f"{name}: saved at step {self.step}; the same call goes on from there", file=sys.stderr)
            raise SystemExit(EXIT_CODE)

    def _update(self) -> None:
        """One step: each network down its loss, then the average."""
        seed_layers(self.config.seed, self.step, self.accelerator.process_index)
        for name, loss in self.losses().items():
            share(self.accelerator, self.networks[name].buffers())
            self._descend(name, loss)
        self.ema.step(list(self.trained[self.first].values()))
        self.step += 1

    def _descend(self, name: str, loss: Callable[[int], Terms]) -> None:
        """Gradients of all parts of the batch, clipping, Adam."""
        config, own, optimizer = self.config, list(self.trained[name].values()), self.optimizers[name]
        inputs = own if len(self.networks) > 1 else None  # a loss may pass through the others
        for part in range(config.accumulation):
            terms = loss(part)
            value, *rest = terms.values()
            for term in rest:
                value = value + term
            (value / config.accumulation).backward(inputs=inputs)  # type: ignore[no-untyped-call]
            for key, term in terms.items():
                self.sums[key] = self.sums.get(key, 0.0) + term.detach() / config.accumulation
        average_gradients(self.accelerator, own)
        if config.clip or self._judged(self.step + 1):
            on_cpu = self.device.type == "cpu"  # elsewhere the fast path is the default
            limit = config.clip or float("inf")
            self._norms[name] = nn.utils.clip_grad_norm_(own, limit, foreach=True if on_cpu else None)
        optimizer.param_groups[0]["lr"] = config.learning_rate(self.step, self._rates.get(name))
        optimizer.step()
        optimizer.zero_grad()

    def _judged(self, step: int) -> bool:
        """Whether the norms of the gradients are looked at after a step."""
        config = self.config
        return step == config.steps or not (step % config.log_every and step % config.save_every)

    # What it leaves

    def averaged(self, which: Which = "ema") -> nn.Module:
        """A copy of the first network for use, with the averaged or the current weights."""
        copy = deepcopy(self.networks[self.first]).eval().requires_grad_(False)
        if which == "ema":
            take(copy, self.averages())
        return copy

    def weights(self) -> dict[str, Tensor]:
        """Tensors of ``averaged()``."""
        return self.averaged().state_dict()

    def _means(self, steps: int) -> Record:
        """Mean over processes of all terms, summed up since the last record, over a number of steps."""
        sums = self.accelerator.reduce(torch.stack(list(self.sums.values())), "mean").tolist()
        found = {name: total / steps for name, total in zip(self.sums, sums, strict=True)}
        norms = {name: float(norm) for name, norm in self._norms.items()}
        if not all(map(isfinite, (*found.values(), *norms.values()))):
            told = ", ".join(f"{name} is {value}" for name, value in found.items())
            slopes = ", ".join(map(str, norms.values()))
            raise FloatingPointError(
                f"{told}, norm of the gradient {slopes} at step {self.step}: lower rate={self.config.rate},"
                " raise warmup, or clip; this state is not saved"
            )
        return found

    def _record(self) -> Record:
        """Append a record to the history and the log, and start new means."""
        means = self._means(self.step - int(self.history[-1]["step"] if self.history else 0))
        for name, total in self.sums.items():
            self.sums[name] = torch.zeros_like(total)
        norms = {
            "gradient" if name == self.first else f"gradient {name}": float(norm)
            for name, norm in self._norms.items()
        }
        rate, seconds = self.config.learning_rate(self.step - 1), round(self.elapsed, 3)
        found = {"step": self.step, **means, **norms, "rate": rate, **self.notes(), "seconds": seconds}
        self.history.append(found)
        if self.folder and self.accelerator.is_main_process:
            with open(self.folder / "log.jsonl", "a") as file:
                file.write(json.dumps(found) + "\n")
        return found

    def _save(self) -> None:
        """Write a checkpoint from the main process; the others wait."""
        pending = self._means(1)
        if self.folder and self.accelerator.is_main_process:
            state = self._plain(pending)
            checkpoints.save(self.folder, self.step, self.tensors(), state, keep=self.config.keep)
        self.accelerator.wait_for_everyone()

    def _plain(self, pending: Record) -> dict[str, Any]:
        """The state of a checkpoint but its tensors."""
        made_with = {
            "torch": torch.__version__,
            "device": str(self.device),
            "processes": self.accelerator.num_processes,
        }
        fixed = {"fingerprint": self._fingerprint, **self._facts, "made_with": made_with}
        return self.numbers(pending) | fixed

    def _start_log(self) -> None:
        """Keep the records up to this step: those after it come again."""
        if self.folder and self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            lines = "".join(json.dumps(record) + "\n" for record in self.history)
            checkpoints.write(self.folder / "log.jsonl", lines.encode())
