"""Radial spectrum of a batch against its bare FFT, the form that published code uses, and other packages.

    PYTHONPATH=tests python benchmarks/spectrum.py

Every candidate goes through the gates of `tests/yardsticks.py` before it is timed. Candidates take turns in
rounds, ratios are taken within a round, and their median and quartiles are written to spectrum.json.
"""

import argparse
import contextlib
import json
import os
import platform
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fans.spectrum import radial_spectrum
from yardsticks import GATES, Estimator, Radial, sort_and_cumsum, timings

OUTPUT = Path(__file__).with_suffix(".json")
N = 64
BATCH = (256, 3, N, N)
RINGS = 46  # of a 64 x 64 plane, corner included
OURS = "fans"
TARGETS = {"torch.fft.rfft2": "at most 1.5 times", "sort and cumsum": "at least 4 times faster"}
# Powers of the other packages are right to rounding or not at all.
TOLERANCE = 1e-6


def ours(x: np.ndarray) -> Radial:
    radial = radial_spectrum(torch.tensor(np.ascontiguousarray(x)))
    return Radial(radial.frequency.numpy(), radial.power.numpy(), radial.count.numpy())


def published(x: np.ndarray) -> Radial:
    power = sort_and_cumsum(torch.tensor(np.ascontiguousarray(x))).numpy()
    rings = np.arange(power.shape[-1])
    return Radial(rings / N, power, cells(np.floor)[: len(rings)])


def powerbox_power(x: np.ndarray) -> Radial:
    import powerbox

    edges = 2 * np.pi * (np.arange(RINGS + 1) - 0.5) / N
    found = [
        powerbox.get_power(image, boxlength=N, bins=edges, bins_upto_boxlen=False)
        for image in x.reshape(-1, N, N)
    ]
    power = np.stack([one.power for one in found]).reshape(*x.shape[:-2], -1)
    return Radial(found[0].bin_avg / (2 * np.pi), power, found[0].nsamples)


def pysteps_power(x: np.ndarray) -> Radial:
    from pysteps.utils.spectral import rapsd

    found = [rapsd(image, fft_method=np.fft, return_freq=True) for image in x.reshape(-1, N, N)]
    power = np.stack([one for one, _ in found]).reshape(*x.shape[:-2], -1)
    return Radial(found[0][1], power, cells(np.rint)[: power.shape[-1]])


def xrft_power(x: np.ndarray) -> Radial:
    import xarray
    import xrft

    pixels = {"y": np.arange(float(N)), "x": np.arange(float(N))}
    images = xarray.DataArray(x.reshape(-1, N, N), dims=("image", "y", "x"), coords=pixels)
    found = xrft.isotropic_power_spectrum(images, dim=["y", "x"], nfactor=N / (RINGS + 0.01))
    power = found.values.reshape(*x.shape[:-2], -1)
    edges = np.linspace(0, 0.5**0.5, RINGS + 1)
    return Radial(found.freq_r.values, power, np.histogram(plane(), edges)[0])


PEERS: dict[str, Estimator] = {"powerbox": powerbox_power, "pysteps": pysteps_power, "xrft": xrft_power}


def plane() -> np.ndarray:
    """Radial frequency of every coefficient."""
    return np.hypot(np.fft.fftfreq(N)[:, None], np.fft.fftfreq(N))


def cells(rounding: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Coefficients in each ring, for packages that do not say."""
    return np.bincount(rounding(plane() * N).astype(int).ravel())


def installed(peers: dict[str, Estimator]) -> dict[str, Estimator]:
    """Those that run here; a package that cannot be imported is left out and named."""
    found = {}
    for name, estimate in peers.items():
        try:
            # pysteps prints where its settings are.
            with contextlib.redirect_stdout(sys.stderr):
                estimate(np.random.default_rng(0).standard_normal((N, N)))
            found[name] = estimate
        except ImportError as error:
            print(f"without {name}: {error}")
    return found


def passed(estimate: Estimator) -> dict[str, bool]:
    """Which gates an estimator passes at 64 x 64."""
    result = {}
    for gate in GATES:
        try:
            gate(estimate, (N, N), TOLERANCE)
            result[gate.__name__] = True
        except AssertionError:
            result[gate.__name__] = False
    return result


def quartiles(values: np.ndarray) -> list[float]:
    return [round(float(q), 3) for q in np.percentile(values, (25, 50, 75))]


def compare(candidates: dict[str, Callable[[], object]], *, rounds: int, calls: int) -> dict[str, Any]:
    """Milliseconds of each candidate, and its time over ours in the same round."""
    seconds = timings(candidates, rounds=rounds, calls=calls)
    return {
        name: {
            "milliseconds": quartiles(1e3 * values),
            f"time over {OURS}": quartiles(values / seconds[OURS]),
            f"{OURS} over it": quartiles(seconds[OURS] / values),
        }
        for name, values in seconds.items()
    }


def batch(rounds: int) -> dict[str, Any]:
    x = torch.randn(BATCH, generator=torch.Generator().manual_seed(0))
    candidates: dict[str, Callable[[], object]] = {
        OURS: lambda: radial_spectrum(x),
        "torch.fft.rfft2": lambda: torch.fft.rfft2(x),
        "sort and cumsum": lambda: sort_and_cumsum(x),
    }
    return compare(candidates, rounds=rounds, calls=5)


def packages(peers: dict[str, Estimator], rounds: int) -> dict[str, Any]:
    """The same batch as NumPy array; packages without batches go through it image by image."""
    x = torch.randn(BATCH, generator=torch.Generator().manual_seed(0)).numpy()
    candidates: dict[str, Callable[[], object]] = {OURS: lambda: radial_spectrum(x)}
    candidates |= {name: lambda estimate=estimate: estimate(x) for name, estimate in peers.items()}
    return compare(candidates, rounds=rounds, calls=1)


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")]
    names = ("numpy", "scipy", "torch", "powerbox", "pysteps", "xrft")
    found = {}
    for name in names:
        with contextlib.suppress(ImportError):
            found[name] = version(name)
    return {
        "cpu": (models or [platform.machine()])[0],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": found,
    }


def table(title: str, results: dict[str, Any]) -> None:
    print(f"\n{title}\n{'':18}{'ms':>9}{'time over fans':>26}{'fans over it':>26}")
    for name, row in results.items():
        cells_ = [row["milliseconds"][1], *(row[key] for key in (f"time over {OURS}", f"{OURS} over it"))]
        low_median_high = ["{1:.2f} [{0:.2f}, {2:.2f}]".format(*q) for q in cells_[1:]]
        print(f"{name:18}{cells_[0]:9.2f}{low_median_high[0]:>26}{low_median_high[1]:>26}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=31)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of other packages
    torch.set_num_threads(1)

    peers = installed(PEERS)
    gates = {name: passed(run) for name, run in {OURS: ours, "sort and cumsum": published, **peers}.items()}
    for name, result in gates.items():
        failed = [gate for gate, right in result.items() if not right]
        print(f"{name:18}{'passes all gates' if not failed else 'fails ' + ', '.join(failed)}")
    if not all(gates[OURS].values()):
        raise SystemExit("ours must pass before it is timed")

    report: dict[str, Any] = {"machine": machine(), "batch": BATCH, "targets": TARGETS, "gates": gates}
    report["load before"] = [round(load, 2) for load in os.getloadavg()]
    for threads in options.threads:
        torch.set_num_threads(threads)
        report[f"tensors, {threads} thread(s)"] = batch(options.rounds)
        table(f"float32 tensor {BATCH}, {threads} thread(s)", report[f"tensors, {threads} thread(s)"])
    torch.set_num_threads(1)
    report["arrays, 1 thread(s)"] = packages(peers, max(5, options.rounds // 4))
    table(f"float32 array {BATCH}, 1 thread(s)", report["arrays, 1 thread(s)"])
    report["load after"] = [round(load, 2) for load in os.getloadavg()]
    print(f"\nload average before {report['load before'][0]}, after {report['load after'][0]}")
    OUTPUT.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
