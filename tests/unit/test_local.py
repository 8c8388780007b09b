"""The local score machine against loops, against the exact denoiser of a set, and in what it makes."""

import doctest
from typing import Any

import pytest
import torch
from torch import Tensor

from fans import diffusion
from fans.diffusion import local, sampling
from fans.diffusion.local import LocalDenoiser

SIZE = (6, 6)
WHITE = diffusion.white(size=SIZE)


def some(count: int, channels: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, *SIZE, generator=generator, dtype=torch.float64)


def by_loops(x: Tensor, images: Tensor, k: int, a: float, s: float) -> Tensor:
    """Pixel by pixel and patch by patch, with weights that are summed as they stand."""
    offsets = range(-(k // 2), (k - 1) // 2 + 1)
    found = torch.zeros_like(x)
    places = [(n, i, j) for n in range(len(images)) for i in range(SIZE[0]) for j in range(SIZE[1])]
    for b in range(len(x)):
        for row in range(SIZE[0]):
            for column in range(SIZE[1]):
                weights, centres = [], []
                for n, i, j in places:
                    away = sum(
                        (
                            x[b, :, (row + u) % 6, (column + v) % 6]
                            - a * images[n, :, (i + u) % 6, (j + v) % 6]
                        )
                        .square()
                        .sum()
                        for u in offsets
                        for v in offsets
                    )
                    weights.append(torch.exp(-away / (2 * s**2)))
                    centres.append(images[n, :, i, j])
                w = torch.stack(weights)
                found[b, :, row, column] = (w[:, None] * torch.stack(centres)).sum(0) / w.sum()
    return found


@pytest.mark.parametrize(("k", "channels"), [(1, 1), (3, 2)])
def test_it_is_what_loops_compute(k: int, channels: int) -> None:
    x, images, t = some(1, channels, seed=1), some(1, channels), 600
    a, s = float(WHITE.signal(t)), float(WHITE.noise(t))
    found = LocalDenoiser(WHITE, images, patch=k)(x, t)
    torch.testing.assert_close(found, by_loops(x, images, k, a, s), rtol=1e-9, atol=1e-12)
    assert (found - LocalDenoiser(WHITE, images, patch=5)(x, t)).abs().max() > 1e-3, "patches matter"


def test_patches_of_the_whole_image_give_the_exact_denoiser_of_a_set_and_its_shifts() -> None:
    x, images, t = some(2, seed=1), some(3), 600
    a, s = float(WHITE.signal(t)), float(WHITE.noise(t))
    shifts = torch.cat([images.roll((i, j), (2, 3)) for i in range(6) for j in range(6)])
    away = (x[:, None] - a * shifts[None]).square().sum((2, 3, 4))
    weights = (-away / (2 * s**2)).softmax(1)
    wanted = torch.tensordot(weights, shifts, 1)
    torch.testing.assert_close(LocalDenoiser(WHITE, images, patch=6)(x, t), wanted, rtol=1e-9, atol=1e-12)


def test_it_treats_all_places_alike() -> None:
    machine, x = LocalDenoiser(WHITE, some(2), patch=3), some(1, seed=1)
    moved = machine(x.roll((1, 2), (2, 3)), 500)
    torch.testing.assert_close(moved, machine(x, 500).roll((1, 2), (2, 3)), rtol=1e-9, atol=1e-12)


def test_small_patches_make_new_images_and_whole_ones_remember() -> None:
    def distance(patch: int) -> float:
        """Of samples from the nearest shift of an image of the set."""
        images = some(2)
        x = sampling.sample(
            WHITE,
            LocalDenoiser(WHITE, images, patch=patch),
            (6, 1, *SIZE),
            generator=torch.Generator().manual_seed(0),
            steps=40,
            dtype=torch.float64,
        )
        shifts = torch.cat([images.roll((i, j), (2, 3)) for i in range(6) for j in range(6)])
        return float((x[:, None] - shifts).square().mean((2, 3, 4)).amin(1).max())

    assert distance(6) < 1e-6
    assert distance(3) > 0.1


def test_bad_patches_get_one_clear_message() -> None:
    with pytest.raises(ValueError, match="patch=4: must be odd, or 6, the side of the images"):
        LocalDenoiser(WHITE, some(1), patch=4)
    coloured = diffusion.power_law(0.5, size=SIZE)
    with pytest.raises(ValueError, match="without colour"):
        LocalDenoiser(coloured, some(1), patch=3)


def test_examples_in_docstrings() -> None:
    result: Any = doctest.testmod(local)
    assert result.attempted and not result.failed
