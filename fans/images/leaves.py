"""Dead leaves: discs that fall on each other until nothing of the ground is seen. Edges, at every scale.

The radii have density ~ r^-3 between two stated ends, which makes the model scale invariant between them
(Lee, Mumford and Huang, 2001). Leaves are laid from the front to the back until each point is covered, which
draws from the stationary law itself (Kendall and Thoennes, 1999). Two points at distance h lie on one leaf
with probability ``g(h) / (2 g(0) - g(h))``, where g is the mean overlap of a leaf with itself moved by h
(Matheron, 1968): that is the correlation of the field.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fans._validation import known, number, whole
from fans.images.request import Request

Floats = NDArray[np.float64]

LEAVES = 64  # laid at once


def dead_leaves(
    request: Request,
    *,
    channels: int = 3,
    radii: Sequence[float] = (1.0, 32.0),
    oversampling: int = 2,
) -> NDArray[np.float32]:
    """Occluding discs with radii of density ~ r^-3 in ``radii`` (pixels) and uniform colours in [-1, 1].

    A pixel is the mean over ``oversampling`` squared points; 1 samples its centre, and edges alias.
    """
    known("channels", channels, (1, 3))
    oversampling = whole("oversampling", oversampling, low=1)
    if isinstance(radii, str) or not isinstance(radii, Sequence) or len(radii) != 2:
        raise TypeError(f"radii must be a pair like (1.0, 32.0), got {radii!r}")
    smallest = number("the smaller of radii", radii[0], low=0.25, high=1e4)
    largest = number("the larger of radii", radii[1], low=1.01 * smallest, high=1e4)

    def draw(rng: np.random.Generator) -> Floats:
        points = request.size * oversampling
        fine = _laid(rng, request.size, points, channels, smallest, largest)
        blocks = fine.reshape(channels, request.size, oversampling, request.size, oversampling)
        pixels: Floats = blocks.mean((2, 4))
        return pixels

    return request.stack(draw)


def _laid(
    rng: np.random.Generator, size: int, points: int, channels: int, smallest: float, largest: float
) -> Floats:
    """The colour seen at each point of a square grid, (channels, points^2)."""
    axis = (np.arange(points) + 0.5) * (size / points)
    y, x = (grid.ravel() for grid in np.meshgrid(axis, axis, indexing="ij"))
    seen = np.empty((channels, points**2))
    bare = np.arange(points**2)
    while bare.size:
        r = _radii(rng, size, smallest, largest)
        # Only leaves whose square meets the frame are drawn: the others of the plane are never seen.
        top, left = rng.uniform(-r, size + r, (2, LEAVES))
        colour = rng.uniform(-1, 1, (channels, LEAVES))
        under = (y[bare, None] - top) ** 2 + (x[bare, None] - left) ** 2 < r**2
        first = under.argmax(1)
        hit = under[np.arange(len(bare)), first]
        seen[:, bare[hit]] = colour[:, first[hit]]
        bare = bare[~hit]
    return seen


def _radii(rng: np.random.Generator, size: int, smallest: float, largest: float) -> Floats:
    """Radii of the leaves that meet the frame: density ~ r^-3 (size + 2 r)^2, three power laws."""
    inverse = np.array([1 / smallest, 1 / largest])
    share = np.array(
        [
            size**2 * (inverse[0] ** 2 - inverse[1] ** 2) / 2,
            4 * size * (inverse[0] - inverse[1]),
            4 * np.log(largest / smallest),
        ]
    )
    kind = rng.choice(3, LEAVES, p=share / share.sum())
    u = rng.random(LEAVES)
    by_law = [
        (inverse[0] ** 2 - u * (inverse[0] ** 2 - inverse[1] ** 2)) ** -0.5,
        1 / (inverse[0] - u * (inverse[0] - inverse[1])),
        smallest * (largest / smallest) ** u,
    ]
    radii: Floats = np.choose(kind, by_law)
    return radii
