"""What a training run has come to: networks, their optimisers, averages, and the numbers of its records."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from fans.training.checkpoints import Checkpoint
from fans.training.config import LoopConfig

Record = dict[str, float]


class State:
    """All that changes in a run, as tensors and numbers of a checkpoint and back.

    A checkpoint has the tensors of each network ``NAME``, those of Adam as ``NAME optimizer``, and the
    averages of the first network's parameters as ``ema``.

    Attributes:
        networks: by name.
        config: numbers of the run.
        trained: for each network, its parameters that need a gradient; tied ones have one name.
        optimizers: for each network.
        first: name of the network that is averaged.
        ema: its averages.
        step: number of finished updates.
        history: records.
        sums: of each term of the losses since the last record.
        elapsed: seconds of training.
    """

    def __init__(
        self, networks: Mapping[str, nn.Module], config: LoopConfig, *, betas: tuple[float, float]
    ) -> None:
        self.networks, self.config = dict(networks), config
        self.step, self.history = 0, list[Record]()
        self.sums, self.elapsed = dict[str, Tensor](), 0.0
        self.trained = {
            name: {key: p for key, p in network.named_parameters() if p.requires_grad}
            for name, network in networks.items()
        }
        if empty := [name for name, own in self.trained.items() if not own]:
            raise ValueError(f"network {empty[0]!r} has no parameter that requires a gradient: unfreeze some")
        self.optimizers = {name: self._adam(name, betas) for name in networks}
        self.first = next(iter(networks))
        self.ema = EMAModel(list(self.trained[self.first].values()), decay=config.ema, foreach=True)

    def _adam(self, name: str, betas: tuple[float, float]) -> torch.optim.Optimizer:
        own, config = list(self.trained[name].values()), self.config
        fused = not any(parameter.is_complex() for parameter in own)
        return torch.optim.AdamW(own, config.rate, betas, weight_decay=config.weight_decay, fused=fused)

    def averages(self) -> dict[str, Tensor]:
        """Averaged parameters of the first network."""
        return dict(zip(self.trained[self.first], self.ema.shadow_params, strict=True))

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Tensors of a checkpoint."""
        found = {"ema": self.averages()}
        for name, network in self.networks.items():
            slots = self.optimizers[name].state
            found[name] = network.state_dict()
            found[f"{name} optimizer"] = {
                f"{key}/{slot}": value
                for key, parameter in self.trained[name].items()
                for slot, value in slots[parameter].items()
            }
        return found

    def numbers(self, pending: Record) -> dict[str, Any]:
        """Numbers of a checkpoint; ``pending`` are the sums, as means over processes."""
        return {
            "step": self.step,
            "ema_updates": self.ema.optimization_step,
            "sums": pending,
            "seconds": self.elapsed,
            "config": asdict(self.config),
            "history": self.history,
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take over everything that was saved."""
        tensors, numbers = checkpoint.tensors, checkpoint.state
        for name, network in self.networks.items():
            network.load_state_dict(tensors[name])
            for path, value in tensors[f"{name} optimizer"].items():
                key, _, slot = path.rpartition("/")
                parameter = self.trained[name][key]
                kept = value.to(parameter.device)
                if slot != "step":  # in its memory format, as Adam assumes
                    kept = torch.zeros_like(parameter, requires_grad=False).copy_(value)
                self.optimizers[name].state[parameter][slot] = kept
        for name, average in self.averages().items():
            average.copy_(tensors["ema"][name])
        self.ema.optimization_step = numbers["ema_updates"]
        self.step, self.history, self.elapsed = numbers["step"], numbers["history"], numbers["seconds"]
        device = next(iter(self.trained[self.first].values())).device
        self.sums = {name: torch.tensor(value, device=device) for name, value in numbers["sums"].items()}


@torch.no_grad()
def take(network: nn.Module, averages: Mapping[str, Tensor]) -> None:
    """Put averaged parameters in the place of a network's own; tied ones have one name, and remain tied."""
    own = dict(network.named_parameters())
    for name, average in averages.items():
        own[name].copy_(average)
