"""What the book's experiments have in common: images, and the networks of those that are published."""

from dataclasses import replace

from fans.experiments.config import Data
from fans.experiments.kinds.denoising import Denoising

SOURCES = {
    "pltb": Data("pltb", options={"normalise": False}),
    "egm": Data("egm"),
    "rings": Data("rings"),
    "photographs": Data("photographs"),
    "grass": Data("grass"),
    "stars": Data("stars"),
}
CELEBA = Data("hub:flwrlabs/celeba", 64, 3, 162_770)


def as_published(experiment: Denoising) -> Denoising:
    """The networks of the published results, whose norms can remove the time (``UNetConfig``)."""
    return replace(experiment, time_scale_shift="default")
