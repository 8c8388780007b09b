"""Options of a process that validation chooses from a grid."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fans.experiments.config import Options
from fans.experiments.machine import on_main, one_thread, processes
from fans.experiments.registry import run_of
from fans.experiments.run import Measure, read, slug
from fans.training import checkpoints

GRID_SEED = 100  # of the runs of a grid


def choose(experiment: Any, folder: Path, arm: Any) -> tuple[Options, list[Measure]]:
    """The options of a grid that come closest to what is held out for validation, and all distances."""
    done, accelerator = folder / f"grid-{slug(arm)}.json", processes()
    distances = on_main(accelerator, partial(_earlier, done, len(arm.grid)))
    with one_thread(unless_cuda=True):
        for options in arm.grid[len(distances) :]:
            run = run_of(
                experiment, replace(arm, options=options, grid=()), GRID_SEED, options, folder.parent
            )
            images = run.images()
            trainer = run.trainer(images, None, steps=experiment.grid_steps)
            trainer.run()
            distances.append(on_main(accelerator, partial(run.distance, trainer, images)))
            on_main(accelerator, partial(checkpoints.write, done, json.dumps(distances).encode()))
    best = arm.grid[int(np.argmin([value for value, _ in distances]))]
    return best, [_grid_row(experiment, arm, *pair) for pair in zip(arm.grid, distances, strict=True)]


def _earlier(done: Path, most: int) -> list[tuple[float, float]]:
    """Those of the first options of a grid, from an earlier call; none if their file is damaged."""
    try:
        return read(done, partial(_distances, most=most))
    except (FileNotFoundError, ValueError, TypeError):
        return []


def _distances(data: bytes, *, most: int) -> list[tuple[float, float]]:
    pairs = json.loads(data)
    if not isinstance(pairs, list) or len(pairs) > most:
        raise ValueError(f"must be a list of at most {most} pairs")
    return [(float(distance), float(floor)) for distance, floor in pairs]


def _grid_row(experiment: Any, arm: Any, options: Options, distance: tuple[float, float]) -> Measure:
    measure, steps = run_of(experiment, arm, GRID_SEED, options, None).criterion()
    return Measure(
        f"{arm.name} {' '.join(f'{key}={value:g}' for key, value in options.items())}",
        GRID_SEED,
        experiment.grid_steps,
        steps,
        measure,
        distance[0],
        floor=distance[1],
    )
