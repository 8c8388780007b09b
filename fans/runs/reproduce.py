"""From an experiment's name to its folder of results."""

import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from fans import checkpoints
from fans.runs import registry, results
from fans.runs.config import Experiment, Options, Scale
from fans.runs.results import Result, StaleError
from fans.runs.train import Measure, Run, choose, train


def reproduce(
    name: str,
    *,
    scale: Scale = "cpu",
    folder: Path | str | None = None,
    workers: int = 1,
    force: bool = False,
    report: Callable[[str], None] = print,
) -> Result:
    """Train what is missing of an experiment, judge it, and write its folder.

    Runs that were finished before, or begun, are taken over from ``.NAME.runs`` beside the results. Results
    that are there and not stale are left as they are.

    Args:
        name: of the experiment.
        scale: ``cpu`` for the book's, ``gpu`` for the published sizes, ``smoke`` for seconds.
        folder: of all results.
        workers: runs at the same time, one CPU thread each.
        force: train anew.
        report: told of each finished run.

    Raises:
        ValueError: no such experiment at this scale.
    """
    experiment, parent = registry.get(name, scale), results.home(folder)
    if not force and _fresh(name, scale, parent):
        report(f"{name}: results are up to date")
        return results.load(name, folder=parent)
    work = _workplace(experiment, parent / f".{name}.runs", anew=force)
    started = time.perf_counter()
    grids = {arm.name: choose(experiment, arm, work) for arm in experiment.arms if arm.grid}
    runs = [(run, work / run.folder) for run in _runs(experiment, grids)]
    _train_all([pair for pair in runs if not (pair[1] / "curve.json").exists()], workers, report)
    seconds = time.perf_counter() - started
    results.publish(experiment, scale, runs, grids, parent / name, seconds)
    shutil.rmtree(work)
    return results.load(name, folder=parent)


def _fresh(name: str, scale: Scale, parent: Path) -> bool:
    try:
        results.check(name, folder=parent)
    except StaleError:
        return False
    return bool(results.load(name, folder=parent).manifest["scale"] == scale)


def _workplace(experiment: Experiment, work: Path, *, anew: bool) -> Path:
    """The folder of the runs, emptied if they belong to another configuration."""
    config = json.dumps(experiment.plain(), indent=1).encode()
    kept = work / "config.json"
    if anew or (work.exists() and (not kept.exists() or kept.read_bytes() != config)):
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    checkpoints.write(kept, config)
    return work


def _runs(experiment: Experiment, grids: dict[str, tuple[Options, list[Measure]]]) -> list[Run]:
    """All arms with all seeds, seed by seed."""
    return [
        Run(experiment, arm, seed, grids[arm.name][0] if arm.name in grids else arm.options)
        for seed in range(experiment.seeds)
        for arm in experiment.arms
    ]


def _train_all(runs: list[tuple[Run, Path]], workers: int, report: Callable[[str], None]) -> None:
    if workers == 1:
        for run, folder in runs:
            train(run, folder)
            report(f"{run.experiment.name}: {folder.name}")
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [(folder.name, pool.submit(partial(train, run, folder))) for run, folder in runs]
        for label, job in jobs:
            job.result()
            report(f"{runs[0][0].experiment.name}: {label}")
