"""The shifted task, as a small model meets it: with pictures that it has seen once."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fans.adapters.models import see, speak
from fans.adapters.scenes import PATCHES, Scenes
from fans.adapters.training import Draw

__all__ = ["Examples", "drawing", "examples", "measure"]


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
    seen = [see(model, part) for part in torch.split(scenes.pictures, 256)]
    return Examples(torch.cat(seen), scenes.words, scenes.labels)


def drawing(model: Any, train: Examples, *, batch: int, gain: float = 1.0) -> Draw:
    """The loss of a random batch of examples, for ``adapt``; `gain` is that of ``speak``."""
    length = train.words.shape[1]
    visual = (torch.arange(length) >= 1) & (torch.arange(length) <= PATCHES)

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        few = train.take(torch.randint(len(train.words), (batch,), generator=generator))
        logits = speak(model, few.words, few.visual, gain)[:, :-1]
        loss = cross_entropy(logits.flatten(0, 1), few.labels[:, 1:].flatten(), ignore_index=-100)
        return loss, visual.expand(batch, -1)

    return draw


@torch.no_grad()
def measure(model: Any, given: Examples, *, gain: float = 1.0) -> dict[str, float]:
    """Loss, and the share of answers that are right in every word."""
    logits = speak(model, given.words, given.visual, gain)[:, :-1]
    labels = given.labels[:, 1:]
    right = ((logits.argmax(-1) == labels) | (labels < 0)).all(1)
    loss = cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
    return {"loss": float(loss), "accuracy": float(right.float().mean())}
