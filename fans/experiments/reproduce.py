"""From an experiment's name to its folder of results."""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from fans.experiments import registry, results, store
from fans.experiments.config import Experiment, Scale
from fans.experiments.grid import choose
from fans.experiments.machine import die_with_parent, fresh_processes, locked, on_main, processes
from fans.experiments.publish import Grids, publish
from fans.experiments.registry import run_of
from fans.experiments.results import Result
from fans.experiments.run import Run, outcome, train
from fans.experiments.store import StaleError, home
from fans.training import checkpoints

Report = Callable[[str], None]


def reproduce(
    name: str,
    *,
    scale: Scale = "cpu",
    folder: Path | str | None = None,
    workers: int = 1,
    force: bool = False,
    fid: bool = False,
    report: Report = print,
) -> Result:
    """Train what is missing of an experiment, judge it, and write its folder.

    Runs that were finished before, or begun, are taken over from ``.NAME.SCALE.runs`` beside the results, if
    the code still gives the same fingerprint. Results that are there and not stale are left as they are.

    With ``accelerate launch`` the processes share every training; the main one judges and writes.

    Args:
        name: of the experiment.
        scale: ``cpu`` for the book's, ``gpu`` for the published sizes, ``smoke`` for seconds.
        folder: of all results.
        workers: runs at the same time, one CPU thread each.
        force: train anew.
        fid: also compute the FID (``fans.metrics.features.inception``).
        report: told of each finished run.

    Raises:
        ValueError: no such experiment at this scale, or results of another scale in its place.
        BlockingIOError: another process works on the same results.
        ChildProcessError: a worker was killed.
    """
    experiment, parent = registry.get(name, scale, fid=fid), home(folder)
    place, work = parent / name, parent / f".{name}.{scale}.runs"
    accelerator = _checked(workers)
    main, started = accelerator.is_main_process, time.perf_counter()
    if not main:
        report = _silent
    with locked(parent / f".{name}.lock") if main else nullcontext():
        fingerprint = on_main(accelerator, partial(_begin, experiment, scale, place, work, force, report))
        if fingerprint is not None:
            grids, runs = _run_all(experiment, work, workers, report, accelerator)
            write = partial(publish, experiment, scale, runs, grids, place, fingerprint=fingerprint)
            on_main(accelerator, lambda: write(seconds=time.perf_counter() - started))
            on_main(accelerator, partial(shutil.rmtree, work, ignore_errors=True))
    return results.load(name, folder=parent)


def _silent(_: str) -> None:
    """The report of processes other than the main one."""


def _checked(workers: int) -> Accelerator:
    accelerator = processes()
    if workers < 1 or (workers > 1 and accelerator.num_processes > 1):
        raise ValueError(
            f"workers={workers} with {accelerator.num_processes} launched processes: must be at least 1, and"
            " 1 where `accelerate launch` starts several"
        )
    return accelerator


def _begin(
    experiment: Experiment, scale: Scale, place: Path, work: Path, force: bool, report: Report
) -> dict[str, float] | None:
    """Prepare the folder of the runs; the fingerprint of this code, or None if there is nothing to do."""
    _check_place(place, scale)
    if not force and _fresh(experiment, place):
        report(f"{experiment.name}: results are up to date")
        shutil.rmtree(work, ignore_errors=True)  # a call that was killed may have left it
        store.clean(place)
        return None
    now = results.fingerprint(experiment, place.parent)
    if work.exists() and (force or not _same_plan(work / "plan.json", experiment, now)):
        report(f"{experiment.name}: begins anew" + ("" if force else ", since configuration or code changed"))
        (work / "plan.json").unlink(missing_ok=True)  # a call killed here must not take over the rest
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    plan = {"config": experiment.plain(), "fingerprint": now}
    checkpoints.write(work / "plan.json", json.dumps(plan, indent=1).encode())
    return now


def _check_place(place: Path, scale: Scale) -> None:
    """Refuse to replace results of another scale, and what is none of ours."""
    file = place / "manifest.json"
    if place.exists() and not file.exists():
        raise ValueError(f"{place} holds no results of ours: move it away, or give another folder")
    try:
        there = json.loads(file.read_bytes())["scale"]
    except (OSError, ValueError, TypeError, KeyError):
        return  # missing or damaged
    if there != scale:
        raise ValueError(f"{place} has results of scale {there!r}: give another folder for scale {scale!r}")


def _fresh(experiment: Experiment, place: Path) -> bool:
    try:
        found = results.check(place.name, folder=place.parent)
        return set(experiment.features) <= set(found.experiment.features)
    except StaleError:
        return False


def _same_plan(file: Path, experiment: Experiment, now: dict[str, float]) -> bool:
    """Whether runs were begun with this configuration, and code that gives these numbers."""
    try:
        plan = json.loads(file.read_bytes())
        same = plan["config"] == json.loads(json.dumps(experiment.plain()))
        return bool(same and not results.differences(plan["fingerprint"], now))
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _run_all(
    experiment: Experiment, work: Path, workers: int, report: Report, accelerator: Accelerator
) -> tuple[Grids, list[tuple[Run, Path]]]:
    """Grids, then all arms with all seeds, seed by seed; those that finished before are not run again."""

    def say(text: str) -> None:
        report(f"{experiment.name}: {text}")

    gridded = [(experiment, work, arm) for arm in experiment.arms if arm.grid]
    chosen = _each(choose, gridded, workers, lambda job: say(f"grid of {job[2].name}"))
    grids = {arm.name: found for (_, _, arm), found in zip(gridded, chosen, strict=True)}
    every = [
        run_of(experiment, arm, seed, grids[arm.name][0] if arm.name in grids else arm.options, work.parent)
        for seed in range(experiment.seeds)
        for arm in experiment.arms
    ]
    runs = [(run, work / run.folder) for run in every]
    finished = on_main(accelerator, lambda: [_finished(run, folder, say) for run, folder in runs])
    left = [job for job, done in zip(runs, finished, strict=True) if not done]
    _each(train, left, workers, lambda job: say(job[1].name))
    return grids, runs


def _finished(run: Run, folder: Path, say: Report) -> bool:
    """Whether a run left everything; if a file is damaged, it is run anew."""
    try:
        outcome(run, folder)
    except FileNotFoundError:
        return False
    except ValueError as error:
        say(f"{error}; {folder.name} begins anew")
        shutil.rmtree(folder)
        return False
    return True


def _each(
    function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], workers: int, done: Callable[[Any], None]
) -> list[Any]:
    """Call a function for every job, in this process or in several; one that fails ends all."""
    if workers == 1 or len(jobs) < 2:
        return [_told(job, function(*job), done) for job in jobs]
    pool = ProcessPoolExecutor(workers, mp_context=fresh_processes(), initializer=die_with_parent)
    try:
        futures = [pool.submit(function, *job) for job in jobs]
        return [_told(job, future.result(), done) for job, future in zip(jobs, futures, strict=True)]
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a worker was killed, perhaps for lack of memory: run again to resume, with fewer workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _told(job: tuple[Any, ...], result: Any, done: Callable[[Any], None]) -> Any:
    done(job)
    return result
