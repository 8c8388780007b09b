"""Pretraining of a small vision-language model on the first task."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fans.adapters.models import Architecture, build, see, speak
from fans.adapters.scenes import COLOURS, PATCHES, SHAPES, Scenes, draw

__all__ = ["GAINS", "pretrain"]

GAINS = (1.0, 2.0, 3.0)  # variances of the visual tokens that the model comes to know
_PARTS = (len(SHAPES) + 1, len(COLOURS) + 1, PATCHES)


def pretrain(
    architecture: Architecture, *, steps: int = 4000, batch: int = 64, rate: float = 2e-3, seed: int = 0
) -> tuple[Any, list[dict[str, float]]]:
    """A model that answers questions about colours, shapes, places and numbers, and its loss by step.

    A linear reading of every visual token has to name shape, colour and place of its cell, as one of a vision
    encoder that was trained on captions can: without it the model learns several times as slowly. The
    variance of the visual tokens is multiplied by one of ``GAINS``, drawn for each example, so that none of
    them is new to the model.

    Args:
        architecture: of ``build``.
        steps: of training, with a warm-up of 100 and a cosine.
        batch: examples a step.
        rate: of learning, at its largest.
        seed: of weights and data.

    >>> model, history = pretrain("idefics3", steps=1, batch=2)
    """
    model = build(architecture, seed=seed)
    width = model.get_input_embeddings().embedding_dim
    reading = nn.Linear(width, sum(_PARTS))
    parameters = [*model.parameters(), *reading.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    generator, history = torch.Generator().manual_seed(seed), []
    for step in range(steps):
        warm = min(1.0, (step + 1) / 100)
        optimizer.param_groups[0]["lr"] = rate * warm * 0.5 * (1 + math.cos(math.pi * step / steps))
        scenes = draw(batch, generator)
        gain = torch.tensor(GAINS)[torch.randint(len(GAINS), (batch, 1, 1), generator=generator)]
        visual = see(model, scenes.pictures)
        logits = speak(model, scenes.words, visual, gain)[:, :-1]
        loss = cross_entropy(logits.flatten(0, 1), scenes.labels[:, 1:].flatten(), ignore_index=-100)
        loss = loss + _read(reading(visual), scenes)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        history.append({"step": step + 1, "loss": loss.item()})
    return model.eval().requires_grad_(False), history


def _read(read: Tensor, scenes: Scenes) -> Tensor:
    """Cross-entropy of shape, colour and place of every cell, read (B, 9, 5 + 7 + 9) from its token."""
    shape, colour, place = torch.split(read.flatten(0, 1), list(_PARTS), -1)
    where = torch.arange(PATCHES).repeat(len(scenes.pictures))
    contents = scenes.contents.flatten(0, 1)
    return (
        cross_entropy(shape, contents[:, 0])
        + cross_entropy(colour, contents[:, 1])
        + cross_entropy(place, where)
    )
