"""Grids for pipelines, against closed forms, the scan of schedulers that take them, and each other."""

from itertools import pairwise

import diffusers
import pytest
import torch

from fans import hub
from fans.hub import grids
from fans.hub.prepare import Prepared

POWER_LAW = torch.linspace(1 / 64, 0.5, 32, dtype=torch.float64) ** -2.0
POWER_LAW = POWER_LAW / POWER_LAW.mean() / 4
SIGMA_MAX = 157.0
TABLE = grids.sigma_table(diffusers.DDIMScheduler())
LOW = float(TABLE[0])


def listed(steps):
    return {
        "uniform": grids.uniform_in_time(TABLE, steps),
        "karras": grids.karras(SIGMA_MAX, LOW, steps),
        "log SNR": grids.log_snr(SIGMA_MAX, LOW, steps),
        "beta": grids.beta(TABLE, steps),
        "tangent": grids.tangent(SIGMA_MAX, float(POWER_LAW.sqrt().log().mean().exp()), steps),
        "equal angle": grids.equal_angle_levels(POWER_LAW, SIGMA_MAX, steps),
    }


@pytest.mark.parametrize("steps", [1, 2, 5, 50])
def test_grids_fall_to_zero(steps):
    for name, grid in listed(steps).items():
        assert len(grid) == steps + 1 and grid[-1] == 0, name
        assert (grid.diff() < 0).all(), name
        assert grid[0] == pytest.approx(SIGMA_MAX, rel=0.01), name


@pytest.mark.parametrize("steps", [2, 10])
@pytest.mark.parametrize("power", [0.01, 1.0, 50.0])
def test_the_tangent_law_reaches_the_bound_for_one_variance(power, steps):
    """And so do equal angles and the numerical optimum, which are then the same grid."""
    bound = -float(grids.least_loss([power], SIGMA_MAX, steps))
    tangent = grids.tangent(SIGMA_MAX, power**0.5, steps)
    assert float(grids.loss(tangent, [power])) == pytest.approx(bound, rel=1e-9)
    for other in (
        grids.equal_angle_levels([power], SIGMA_MAX, steps),
        grids.optimal([power], SIGMA_MAX, steps),
    ):
        assert float(grids.loss(other, [power])) == pytest.approx(bound, rel=1e-3)
        torch.testing.assert_close(other, tangent, rtol=0.05, atol=1e-6)


@pytest.mark.parametrize("steps", [2, 10])
def test_no_grid_beats_the_bound_at_any_frequency(steps):
    bound = grids.least_loss(POWER_LAW, SIGMA_MAX, steps)
    for grid in [*listed(steps).values(), grids.optimal(POWER_LAW, SIGMA_MAX, steps)]:
        ratio = grids.gain(grid, POWER_LAW).square() * (POWER_LAW + grid[0] ** 2) / POWER_LAW
        reached = grids.least_loss(POWER_LAW, float(grid[0]), steps)
        assert (10 * torch.log10(ratio) <= reached + 1e-9).all()
    assert (bound < 0).all()


@pytest.mark.parametrize("solver", ["ddim", "heun", "dpm2m"])
@pytest.mark.parametrize("criterion", ["worst", "rms", "wasserstein", "kl"])
def test_the_optimum_is_never_worse_under_its_own_criterion(criterion, solver):
    others = list(listed(8).values())
    best = grids.optimal(POWER_LAW, SIGMA_MAX, 8, criterion=criterion, solver=solver, start=others)
    values = [float(grids.loss(grid, POWER_LAW, criterion=criterion, solver=solver)) for grid in others]
    assert float(grids.loss(best, POWER_LAW, criterion=criterion, solver=solver)) <= min(values)


def test_ten_steps_come_within_twice_the_bound():
    """For 1/f^2 data, in dB at the worst frequency."""
    best = grids.optimal(POWER_LAW, SIGMA_MAX, 10)
    bound = -float(grids.least_loss(POWER_LAW, SIGMA_MAX, 10).min())
    assert bound < float(grids.loss(best, POWER_LAW)) < 2 * bound


@pytest.mark.parametrize(
    "name", ["EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler", "MiniMaxH3Scheduler"]
)
def test_a_grid_written_out_for_a_pipeline_is_the_grid(name):
    """The scan of the scheduler with the noise levels given has the gain of the recursion."""
    grid = grids.equal_angle_levels(POWER_LAW, SIGMA_MAX, 10)
    options = {"shift": 1.0} if name == "MiniMaxH3Scheduler" else {}
    sigmas = grids.to_sigmas(grid, getattr(diffusers.schedulers, name)())
    result = hub.scan(name, POWER_LAW, sigmas=sigmas, **options)
    scale = 1.0 if name == "EulerDiscreteScheduler" else 1 + float(grid[0])  # a flow's state is (1 - s) x
    torch.testing.assert_close(
        result.gain,
        grids.gain(grid, POWER_LAW) * scale,
        rtol=1e-4,
        atol=0,  # float32 levels
    )
    assert result.calls == result.steps == 10


def test_second_order_gains_are_those_of_diffusers():
    for name, scheduler in (("heun", "HeunDiscreteScheduler"), ("dpm2m", "DPMSolverMultistepScheduler")):
        result = hub.scan(scheduler, POWER_LAW, 8, use_karras_sigmas=True)
        table = Prepared(scheduler, 8, {"use_karras_sigmas": True}).scheduler.sigmas
        levels = torch.unique(table.double()).flip(0)
        scale = 1.0 if name == "heun" else (1 + levels[0] ** 2).sqrt()  # its state is x / sqrt(1 + s^2)
        gain = grids.gain(levels, POWER_LAW, solver=name) * scale
        torch.testing.assert_close(result.gain, gain, rtol=2e-3, atol=1e-7)  # float32 levels


def test_timesteps_are_distinct_and_nearest():
    scheduler = diffusers.DDIMScheduler()
    for steps in (10, 400):
        found = grids.to_timesteps(grids.equal_angle_levels(POWER_LAW, SIGMA_MAX, steps), scheduler)
        assert len(found) == steps and all(a > b for a, b in pairwise(found))
    exact = torch.cat([TABLE[[999, 500, 20]], torch.zeros(1)])
    assert grids.to_timesteps(exact, scheduler) == [999, 500, 20]
    with pytest.raises(ValueError, match="take fewer"):
        grids.to_timesteps(grids.log_snr(10.0, 1.0, 2000), scheduler)
    with pytest.raises(ValueError, match="use to_timesteps"):
        grids.to_sigmas(TABLE, scheduler)


def test_a_grid_for_euler_without_the_zero_leaves_noise():
    """The scheduler does not append it; nothing warns."""
    grid = grids.log_snr(SIGMA_MAX, 0.2, 10)
    assert hub.scan("EulerDiscreteScheduler", POWER_LAW, sigmas=grid[:-1].tolist()).error[-1] > 3
