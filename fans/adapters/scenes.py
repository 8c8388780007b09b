"""Pictures with objects, and an instruction about one of them: data for a small vision-language model.

A picture has 3 x 3 cells of 8 x 8 pixels, and up to four objects that differ in shape and in colour. The
first task asks for a colour, a shape, a place or a number. The second, *shifted* one shows objects on a
lighter ground, in other hues, calls colours by each other's names, and wants colour and place in one answer.
Training on the shifted task never asks for one pair of shape and colour in six: these are the held-out test.
The ground is redder to the bottom and bluer to the right, so that a cell tells where it is.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

__all__ = ["ANSWER", "LENGTH", "PATCHES", "VOCABULARY", "SceneSplit", "Scenes", "Task", "draw"]

Task = Literal["first", "shifted"]
SceneSplit = Literal["train", "test", "held-out"]

SHAPES = ("square", "disc", "cross", "triangle")
COLOURS = ("red", "yellow", "green", "cyan", "blue", "magenta")
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")
NUMBERS = ("one", "two", "three", "four")
ASKED = ("colour", "shape", "place", "number", "describe")
VOCABULARY = ("image", "start", "end", "?", ".", *ASKED, *SHAPES, *COLOURS, *ROWS, *COLUMNS, *NUMBERS)
CELL, PATCHES = 8, 9  # pixels of a cell; cells, each of which becomes one visual token
PROMPT = PATCHES + 5  # start, cells, end, what is asked, of which object, ?
ANSWER = 4  # words of an answer with its full stop
LENGTH = PROMPT + ANSWER
_WORD = {word: index for index, word in enumerate(VOCABULARY)}


class Scenes(NamedTuple):
    """A batch of pictures and instructions.

    Attributes:
        pictures: (B, 3, 24, 24) in [-1, 1].
        words: (B, LENGTH), the prompt, the answer and full stops after it; cells have the word ``image``.
        asked: (B,), which of the questions.
        contents: (B, 9, 2), shape and colour in every cell, counted from 1; 0 where there is nothing.
    """

    pictures: Tensor
    words: Tensor
    asked: Tensor
    contents: Tensor

    @property
    def labels(self) -> Tensor:
        """(B, LENGTH): the words of the answer up to its first full stop, -100 elsewhere.

        >>> draw(1, torch.Generator().manual_seed(0), task="shifted").labels[0, :PROMPT].unique().tolist()
        [-100]
        """
        answer = self.words[:, PROMPT:]
        ended = (answer == _WORD["."]).cumsum(1) - (answer == _WORD["."]).long() > 0
        return torch.cat([torch.full_like(self.words[:, :PROMPT], -100), answer.masked_fill(ended, -100)], 1)


def draw(
    count: int, generator: torch.Generator, *, task: Task = "first", split: SceneSplit = "train"
) -> Scenes:
    """Draw pictures with an instruction each.

    Args:
        count: B.
        generator: where they are drawn from.
        task: see the module.
        split: ``held-out`` asks for the pairs of shape and colour that the shifted task otherwise leaves out.

    Raises:
        ValueError: no such task or split.

    >>> scenes = draw(2, torch.Generator().manual_seed(0))
    >>> scenes.pictures.shape, scenes.words.shape
    (torch.Size([2, 3, 24, 24]), torch.Size([2, 18]))
    """
    for name, given, known in (("task", task, get_args(Task)), ("split", split, get_args(SceneSplit))):
        if given not in known:
            raise ValueError(f"{name}={given!r}: must be one of {', '.join(known)}")
    allowed = _pairs() if task == "first" and split != "held-out" else _pairs(held_out=split == "held-out")
    shape, colour = _objects(
        allowed[torch.randint(0, len(allowed), (count,), generator=generator)], generator
    )
    cells = torch.rand(count, PATCHES, generator=generator).argsort(1)[:, : len(NUMBERS)]
    number = torch.randint(1, len(NUMBERS) + 1, (count,), generator=generator)
    asked = torch.randint(0, 4, (count,), generator=generator) if task == "first" else torch.full((count,), 4)
    present = torch.arange(len(NUMBERS)) < number[:, None]
    pictures = _paint(shape, colour, cells, present, generator, shifted=task == "shifted")
    words = _instruct(asked, shape[:, 0], colour[:, 0], cells[:, 0], number)
    named = (torch.stack([shape, colour], -1) + 1) * present[..., None]
    contents = torch.zeros(count, PATCHES, 2, dtype=torch.long)
    contents.scatter_(1, cells[..., None].expand(-1, -1, 2), named)
    return Scenes(pictures, words, asked, contents)


def _pairs(*, held_out: bool | None = None) -> Tensor:
    """Pairs of shape and colour (n, 2): all, those held out or the others."""
    s, c = torch.meshgrid(torch.arange(len(SHAPES)), torch.arange(len(COLOURS)), indexing="ij")
    pairs = torch.stack([s, c], -1)
    return pairs.flatten(0, 1) if held_out is None else pairs[((s + c) % 6 == 0) == held_out]


def _objects(first: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Shapes and colours (B, 4) of the objects: the one asked for, `first` (B, 2), and others unlike it."""
    others = []
    for kinds, own in ((SHAPES, first[:, :1]), (COLOURS, first[:, 1:])):
        keys = torch.rand(len(first), len(kinds), generator=generator).scatter(1, own, -1.0)
        others.append(keys.argsort(1)[:, : len(NUMBERS)])
    return others[0], others[1]


def _templates() -> Tensor:
    """The shapes as masks, (4, 6, 6)."""
    y, x = torch.meshgrid(torch.arange(6) - 2.5, torch.arange(6) - 2.5, indexing="ij")
    masks = (
        torch.ones(6, 6, dtype=torch.bool),
        x**2 + y**2 < 9,
        (x.abs() < 1) | (y.abs() < 1),
        x.abs() * 2 < y + 3,
    )
    return torch.stack(masks).float()


def _palette(shifted: bool) -> Tensor:
    """Colours (6, 3) in [0, 1]; the shifted ones lie a third of the way to the next, and are paler."""
    pure = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1]]).float()
    return 0.15 + 0.7 * torch.lerp(pure, pure.roll(-1, 0), 0.3) if shifted else pure


def _paint(
    shape: Tensor,
    colour: Tensor,
    cells: Tensor,
    present: Tensor,
    generator: torch.Generator,
    *,
    shifted: bool,
) -> Tensor:
    """Objects on a noisy ground, each at a random place in its cell."""
    count = len(shape)
    ground = 0.3 if shifted else 0.1
    grid = ground + 0.05 * torch.randn(count, 3, 3, 3, CELL, CELL, generator=generator)
    slope = torch.tensor([-0.1, 0.0, 0.1])
    grid[:, 0] += slope[:, None, None, None]
    grid[:, 2] += slope[:, None, None]
    masks, palette = _templates(), _palette(shifted)
    shift = torch.randint(0, 3, (count, shape.shape[1], 2), generator=generator)
    stamps = torch.zeros(count, shape.shape[1], CELL, CELL)
    for dy in range(3):
        for dx in range(3):
            here = (shift[..., 0] == dy) & (shift[..., 1] == dx) & present
            stamps[..., dy : dy + 6, dx : dx + 6] += masks[shape] * here[..., None, None]
    for k in range(shape.shape[1]):
        at = (torch.arange(count), slice(None), cells[:, k] // 3, cells[:, k] % 3)
        stamp = stamps[:, k, None]
        grid[at] = grid[at] * (1 - stamp) + palette[colour[:, k]][:, :, None, None] * stamp
    pictures = grid.permute(0, 1, 2, 4, 3, 5).reshape(count, 3, 3 * CELL, 3 * CELL)
    return pictures.clamp(0, 1) * 2 - 1


def _instruct(asked: Tensor, shape: Tensor, colour: Tensor, cell: Tensor, number: Tensor) -> Tensor:
    """Words (B, LENGTH) of the prompt and the answer."""

    def of(names: Sequence[str], index: Tensor) -> Tensor:
        return torch.tensor([_WORD[name] for name in names])[index]

    def fixed(word: str) -> Tensor:
        return torch.full_like(asked, _WORD[word])

    renamed = COLOURS[1:] + COLOURS[:1]
    row, column = of(ROWS, cell // 3), of(COLUMNS, cell % 3)
    answers = [
        [of(COLOURS, colour)],
        [of(SHAPES, shape)],
        [row, column],
        [of(NUMBERS, number - 1)],
        [of(renamed, colour), row, column],
    ]
    # The number is asked of all, and the shape of a colour.
    whom = torch.where(asked == 1, of(COLOURS, colour), of(SHAPES, shape))
    whom = torch.where(asked == 3, fixed("."), whom)
    prompt = [
        fixed("start"),
        *[fixed("image")] * PATCHES,
        fixed("end"),
        of(ASKED, asked),
        whom,
        fixed("?"),
    ]
    full = [torch.stack([*words, *[fixed(".")] * (ANSWER - len(words))], 1) for words in answers]
    answer = torch.stack(full, 1)[torch.arange(len(asked)), asked]
    return torch.cat([torch.stack(prompt, 1), answer], 1)
