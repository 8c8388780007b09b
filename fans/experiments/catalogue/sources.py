"""Images of the book's experiments."""

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
