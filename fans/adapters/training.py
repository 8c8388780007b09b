"""Adaptation of a language model, with the norm of the gradient by factor and by modality."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fans._validation import require
from fans.adapters.attach import attach, inputs_of, linear_layers
from fans.adapters.initialisation import Method

__all__ = ["Adaptation", "Draw", "adapt"]

SEED = 7000  # of the order of the data, which all methods share, plus that of the run
START = 17_000  # of initialisation and calibration, likewise
CALIBRATION = 8  # batches whose activations EVA and CorDA see
SPLIT_EVERY = 10  # steps from one gradient that is split by modality to the next

# Draws a batch and gives its loss, and which of its tokens (B, L) are of a picture.
Draw = Callable[[torch.Generator], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Adaptation:
    """How a model is adapted.

    Attributes:
        method: of ``initialise``, or ``full`` for the whole matrices.
        rank: r.
        rate: of learning, at its largest.
        seed: of initialisation and order of the data.
        steps: of training.
        riemannian: gradients are multiplied by (B'B + d)^-1 and (AA' + d)^-1 before Adam's step.
        warmup: share of the steps in which the rate rises; then it falls as a cosine.
        clip: largest norm of the gradient, as trainers have it by default.
        accumulate: batches in a step.
    """

    method: Method | Literal["full"]
    rank: int = 8
    rate: float = 1e-3
    seed: int = 0
    steps: int = 200
    riemannian: bool = False
    warmup: float = 0.1
    clip: float = 1.0
    accumulate: int = 1

    def rate_at(self, step: int) -> float:
        """Rate of the step, counted from 0."""
        warm = max(1, round(self.warmup * self.steps))
        if step < warm:
            return self.rate * (step + 1) / warm
        return self.rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))


def adapt(language: Any, how: Adaptation, draw: Draw) -> list[dict[str, float]]:
    """Adapt the language part of a model, in place; whatever else the loss passes through must be frozen.

    Args:
        language: whose linear layers are adapted.
        how: by which method.
        draw: gives the loss of a batch; other batches calibrate the methods that look at activations.

    Returns:
        A record of every step, with the ``loss`` and norms of the gradient before clipping, of everything
        (``norm``) and of the factors (``A``, ``B``), every few steps also of its parts from tokens of the
        picture and of the text (``visual``, ``text``).
    """
    _prepare(language, how, draw)
    parameters = [p for p in language.parameters() if p.requires_grad]
    factors = {side: _parameters_of(language, f"lora_{side}") for side in "AB"}
    optimizer = _optimizer(language, parameters, how)
    order, history = torch.Generator().manual_seed(SEED + how.seed), []
    for step in range(how.steps):
        optimizer.param_groups[0]["lr"] = how.rate_at(step)
        optimizer.zero_grad()
        row: dict[str, float] = {"step": step + 1, "loss": 0.0}
        with _split(language, row, active=step % SPLIT_EVERY == 0 and how.accumulate == 1) as seen:
            for _ in range(how.accumulate):
                loss, seen["visual"] = draw(order)
                (loss / how.accumulate).backward()  # type: ignore[no-untyped-call]
                row["loss"] += loss.item() / how.accumulate
        row |= {"norm": _norm(parameters)}
        row |= {side: _norm(of) for side, of in factors.items()}
        nn.utils.clip_grad_norm_(parameters, how.clip)
        optimizer.step()
        history.append(row)
    return history


def _prepare(language: Any, how: Adaptation, draw: Draw) -> None:
    """Freeze everything but what is adapted."""
    language.requires_grad_(False)
    if how.method == "full":
        for layer in linear_layers(language).values():
            layer.weight.requires_grad_(True)
        return
    generator = torch.Generator().manual_seed(START + how.seed)
    inputs = None
    if how.method in ("eva", "corda"):
        calibration = torch.Generator().manual_seed(START + how.seed)
        inputs = inputs_of(language, lambda: [draw(calibration) for _ in range(CALIBRATION)])
    attach(language, how.method, rank=how.rank, generator=generator, inputs=inputs)


def _optimizer(language: Any, parameters: list[nn.Parameter], how: Adaptation) -> torch.optim.Optimizer:
    options: dict[str, Any] = {"lr": how.rate, "weight_decay": 0.0}
    if not how.riemannian:
        return torch.optim.AdamW(parameters, **options)
    peft = require("peft.optimizers", package="peft", name="a Riemannian optimiser", extra="adapters")
    optimizer: torch.optim.Optimizer = peft.create_riemannian_optimizer(
        language, torch.optim.AdamW, **options
    )
    return optimizer


def _parameters_of(model: Any, part: str) -> list[nn.Parameter]:
    return [p for name, p in model.named_parameters() if part in name]


def _norm(parameters: list[nn.Parameter]) -> float:
    return math.sqrt(sum(float(p.grad.square().sum()) for p in parameters if p.grad is not None))


@contextmanager
def _split(language: Any, row: dict[str, float], *, active: bool) -> Iterator[dict[str, Tensor]]:
    """Add to `row` the norms of the parts of the gradient from visual tokens and from all others.

    The mask of visual tokens has to be in what is yielded before the gradient is computed.
    """
    seen: dict[str, Tensor] = {}
    totals = {"visual": 0.0, "text": 0.0}
    hooks = []

    def hear(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x = inputs[0].detach()

        def back(g: Tensor) -> None:
            whole = torch.einsum("blm,bln->mn", g, x)
            # A layer that sees as many tokens as there are not in the text sees those of the picture alone.
            alone = seen["visual"].shape != g.shape[:2]
            visual = whole if alone else torch.einsum("blm,bln->mn", g * seen["visual"][..., None], x)
            totals["visual"] += float(visual.square().sum())
            totals["text"] += float((whole - visual).square().sum())

        output.register_hook(back)  # type: ignore[no-untyped-call]

    if active:
        trained = [m for m in language.modules() if isinstance(m, nn.Linear) and m.weight.requires_grad]
        hooks = [layer.register_forward_hook(hear) for layer in trained]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
    if active:
        row |= {name: math.sqrt(total) for name, total in totals.items()}
