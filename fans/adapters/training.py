"""Adaptation of a small vision-language model, with the norm of the gradient by factor and by modality."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fans.adapters.attach import attach, inputs_of, linear_layers
from fans.adapters.initialisation import Method
from fans.adapters.models import see, speak, text_model
from fans.adapters.scenes import PATCHES, Scenes

__all__ = ["Adaptation", "Examples", "adapt", "examples", "measure"]

SEED = 7000  # of initialisation and order of the data, plus that of the run
CALIBRATION = 128  # examples whose activations EVA and CorDA see
_PICTURE = slice(1, 1 + PATCHES)
SPLIT_EVERY = 5  # steps from one gradient that is split by modality to the next


class Examples(NamedTuple):
    """Instructions whose pictures have been seen.

    Attributes:
        visual: tokens (N, 9, D).
        words: (N, L).
        labels: (N, L), -100 where nothing is asked.
    """

    visual: Tensor
    words: Tensor
    labels: Tensor

    def take(self, which: Tensor) -> "Examples":
        """Some of them."""
        return Examples(*(part[which] for part in self))


@torch.no_grad()
def examples(model: Any, scenes: Scenes) -> Examples:
    """Show all pictures to a model once."""
    return Examples(
        torch.cat([see(model, part) for part in torch.split(scenes.pictures, 256)]),
        scenes.words,
        scenes.labels,
    )


@dataclass(frozen=True)
class Adaptation:
    """How a model is adapted.

    Attributes:
        method: of ``initialise``, or ``full`` for the whole matrices.
        rank: r.
        rate: of learning, at its largest.
        seed: of initialisation and order of the data.
        steps: of training.
        batch: examples a step.
        gain: variance of the visual tokens, in units of what it is.
        riemannian: gradients are multiplied by (B'B + d)^-1 and (AA' + d)^-1 before Adam's step.
        warmup: share of the steps in which the rate rises; then it falls as a cosine.
        clip: largest norm of the gradient, as trainers have it by default.
    """

    method: Method | Literal["full"]
    rank: int = 8
    rate: float = 1e-3
    seed: int = 0
    steps: int = 200
    batch: int = 16
    gain: float = 1.0
    riemannian: bool = False
    warmup: float = 0.1
    clip: float = 1.0

    def rate_at(self, step: int) -> float:
        """Rate of the step, counted from 0."""
        warm = max(1, round(self.warmup * self.steps))
        if step < warm:
            return self.rate * (step + 1) / warm
        return self.rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))


def _loss(model: Any, batch: Examples, gain: float) -> Tensor:
    logits = speak(model, batch.words, batch.visual * gain**0.5)
    return cross_entropy(logits[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten(), ignore_index=-100)


@torch.no_grad()
def measure(model: Any, given: Examples, *, gain: float = 1.0) -> dict[str, float]:
    """Loss, and the share of answers that are right in every word."""
    logits = speak(model, given.words, given.visual * gain**0.5)[:, :-1]
    labels = given.labels[:, 1:]
    right = ((logits.argmax(-1) == labels) | (labels < 0)).all(1)
    loss = cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
    return {"loss": float(loss), "accuracy": float(right.float().mean())}


def adapt(model: Any, how: Adaptation, train: Examples) -> list[dict[str, float]]:
    """Adapt the language part of a model, in place.

    Returns:
        For every step: ``loss``; norms of the gradient before clipping, of everything (``norm``) and of the
        factors (``A``, ``B``); and every few steps its parts from tokens of the picture and of the text
        (``visual``, ``text``).
    """
    generator = torch.Generator().manual_seed(SEED + how.seed)
    language = text_model(model)
    _prepare(model, language, how, train, generator)
    parameters = [p for p in language.parameters() if p.requires_grad]
    factors = {side: _parameters_of(language, f"lora_{side}") for side in "AB"}
    optimizer = _optimizer(language, parameters, how)
    history = []
    for step in range(how.steps):
        optimizer.param_groups[0]["lr"] = how.rate_at(step)
        batch = train.take(torch.randint(len(train.words), (how.batch,), generator=generator))
        optimizer.zero_grad()
        row: dict[str, float] = {}
        with _split(language, row, active=step % SPLIT_EVERY == 0):
            loss = _loss(model, batch, how.gain)
            loss.backward()  # type: ignore[no-untyped-call]
        row |= {"step": step, "loss": loss.item(), "norm": _norm(parameters)}
        row |= {side: _norm(of) for side, of in factors.items()}
        nn.utils.clip_grad_norm_(parameters, how.clip)
        optimizer.step()
        history.append(row)
    return history


def _prepare(model: Any, language: Any, how: Adaptation, train: Examples, generator: torch.Generator) -> None:
    """Freeze everything but what is adapted."""
    model.requires_grad_(False)
    if how.method == "full":
        for layer in linear_layers(language).values():
            layer.weight.requires_grad_(True)
        return
    inputs = None
    if how.method in ("eva", "corda"):
        few = train.take(torch.randperm(len(train.words), generator=generator)[:CALIBRATION])
        inputs = inputs_of(language, lambda: _loss(model, few, how.gain))
    attach(language, how.method, rank=how.rank, generator=generator, inputs=inputs)


def _optimizer(language: Any, parameters: list[nn.Parameter], how: Adaptation) -> torch.optim.Optimizer:
    options: dict[str, Any] = {"lr": how.rate, "weight_decay": 0.0}
    if not how.riemannian:
        return torch.optim.AdamW(parameters, **options)
    from peft.optimizers import create_riemannian_optimizer

    optimizer: torch.optim.Optimizer = create_riemannian_optimizer(language, torch.optim.AdamW, **options)
    return optimizer


def _parameters_of(model: Any, part: str) -> list[nn.Parameter]:
    return [p for name, p in model.named_parameters() if part in name]


def _norm(parameters: list[nn.Parameter]) -> float:
    return math.sqrt(sum(float(p.grad.square().sum()) for p in parameters if p.grad is not None))


@contextmanager
def _split(language: Any, row: dict[str, float], *, active: bool) -> Iterator[None]:
    """Add to `row` the norms of the two parts of the gradient: from visual tokens, and from all others."""
    totals = {"visual": 0.0, "text": 0.0}
    hooks = []

    def hear(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x = inputs[0].detach()

        def back(g: Tensor) -> None:
            whole = torch.einsum("blm,bln->mn", g, x)
            visual = torch.einsum("blm,bln->mn", g[:, _PICTURE], x[:, _PICTURE])
            totals["visual"] += float(visual.square().sum())
            totals["text"] += float((whole - visual).square().sum())

        output.register_hook(back)  # type: ignore[no-untyped-call]

    if active:
        trained = [m for m in language.modules() if isinstance(m, nn.Linear) and m.weight.requires_grad]
        hooks = [layer.register_forward_hook(hear) for layer in trained]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    if active:
        row |= {name: math.sqrt(total) for name, total in totals.items()}
