"""Speed of the processes and the sampler against torch's own FFTs and against diffusers.

Candidates take turns within a round, and what is reported is the ratio of times within each round, median and
quartiles: other load on the machine then hits both alike. Agreement is checked before anything is timed.

    OMP_NUM_THREADS=1 python benchmarks/process.py [--rounds 31] [--out results.json]
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import quantiles
from time import perf_counter

import diffusers
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from fans import diffusion
from fans.diffusion.samplers import SamplerName
from fans.diffusion.sampling import sample

Candidate = Callable[[], Tensor]
SHAPE = (64, 3, 64, 64)
STEPS = 10


def noise_pair() -> tuple[Candidate, Candidate]:
    """Drawing shaped noise, and its three unavoidable parts: randn, one rfft2, one irfft2."""
    f = diffusion.radius(SHAPE[-2:])
    f[0, 0] = f[f > 0].min()
    shaped = diffusion.equal_snr(f**-2, size=SHAPE[-2:])

    def parts(generator: torch.Generator) -> Tensor:
        white = torch.randn(SHAPE, generator=generator)
        return torch.fft.irfft2(torch.fft.rfft2(white, norm="ortho"), s=SHAPE[-2:], norm="ortho")

    check_noise(shaped)
    generator = torch.Generator().manual_seed(0)
    return partial(shaped.draw, SHAPE, 1000, generator), partial(parts, generator)


def check_noise(shaped: diffusion.SpectralProcess) -> None:
    """The drawn noise has the stated spectrum, within 6 standard errors at every coefficient."""
    drawn = shaped.draw((1000, *SHAPE[-2:]), 1000, torch.Generator().manual_seed(1))
    power = torch.fft.rfft2(drawn, norm="ortho").abs().square().mean(0)
    excess = (power / shaped.noise(1000) ** 2 - 1).abs().max().item()
    if excess > 6 * (2 / 1000) ** 0.5:
        raise SystemExit(f"shaped noise misses its spectrum by {excess:.0%}: nothing was timed")


def sampler_pair(method: SamplerName, shape: tuple[int, ...]) -> tuple[Candidate, Candidate]:
    """A run of the white process, and of the scheduler of diffusers, with a constant prediction."""
    scheduler = {"ddim": DDIMScheduler, "ancestral": DDPMScheduler}[method](
        clip_sample=False, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(STEPS)
    white = diffusion.white(size=(shape[-2], shape[-1]), schedule="linear")
    x_T, predicted = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))

    def theirs(seed: int = 1) -> Tensor:
        x, generator = x_T, torch.Generator().manual_seed(seed)
        for t in scheduler.timesteps:
            x = scheduler.step(predicted, t, x, generator=generator).prev_sample
        return x

    def ours(seed: int = 1) -> Tensor:
        return sample(
            white,
            lambda x, t: predicted,
            shape,
            generator=torch.Generator().manual_seed(seed),
            steps=STEPS,
            sampler=method,
            prediction="epsilon",
            start=x_T,
        )

    error = float((ours() - theirs()).abs().max() / theirs().abs().max())
    if error > 1e-4:
        raise SystemExit(
            f"{method}: differs from diffusers by {error:.1e} of the largest value: nothing was timed"
        )
    return ours, theirs


def ratios(ours: Candidate, theirs: Candidate, rounds: int) -> dict[str, float]:
    """Time of ours over theirs within each round: quartiles; and the median time of ours in milliseconds."""
    times: list[tuple[float, float]] = []
    for i in range(rounds + 3):
        order = (ours, theirs) if i % 2 else (theirs, ours)
        spent = {}
        for candidate in order:
            start = perf_counter()
            candidate()
            spent[candidate] = perf_counter() - start
        if i >= 3:  # the first rounds warm up
            times.append((spent[ours], spent[theirs]))
    low, median, high = quantiles([a / b for a, b in times], n=4)
    milliseconds = quantiles([1000 * a for a, _ in times], n=4)[1]
    return {"lower": low, "median": median, "upper": high, "milliseconds": milliseconds}


def main() -> None:
    """Run all comparisons, print a table and write it as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--out", type=Path, help="write the figures there, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pairs: dict[str, tuple[float, Callable[[], tuple[Candidate, Candidate]]]] = {
        "shaped noise / (randn + rfft2 + irfft2)": (1.2, noise_pair),
        "white ddim / diffusers, 64x3x64x64": (1.0, partial(sampler_pair, "ddim", SHAPE)),
        "white ancestral / diffusers, 64x3x64x64": (1.0, partial(sampler_pair, "ancestral", SHAPE)),
        "white ddim / diffusers, 16x3x32x32": (1.0, partial(sampler_pair, "ddim", (16, 3, 32, 32))),
        "white ancestral / diffusers, 16x3x32x32": (1.0, partial(sampler_pair, "ancestral", (16, 3, 32, 32))),
    }
    results = {}
    for name, (bar, build) in pairs.items():
        found = ratios(*build(), options.rounds)
        results[name] = found | {"bar": bar}
        print("{:42} {median:.2f} [{lower:.2f}, {upper:.2f}]  bar {bar}".format(name, **results[name]))
    machine = {
        "cpu": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
    }
    print(machine)
    if options.out:
        options.out.write_text(json.dumps({"machine": machine, "ratios": results}, indent=1) + "\n")
    if any(found["median"] > found["bar"] for found in results.values()):
        sys.exit("a bar was missed" + (": the machine is busy, try again" if machine["load"] > 1 else ""))


if __name__ == "__main__":
    main()
