"""Images of the book's experiments."""

from typing import Any

from fans.experiments.config import Data

SOURCES = {
    "pltb": Data("pltb", options={"normalise": False}),
    "egm": Data("egm"),
    "rings": Data("rings"),
    "photographs": Data("photographs"),
    "grass": Data("grass"),
    "stars": Data("stars"),
}
CELEBA = Data("hub:flwrlabs/celeba", 64, 3, 162_770)
# Of the networks behind the published results, which take the time before their norms (`fans.networks.unet`).
TRAINED: dict[str, Any] = {"time_scale_shift": "default"}
