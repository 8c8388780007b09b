"""The exact spectrum of every scheduler of diffusers, against sampling, closed forms and autograd."""

import time
from itertools import pairwise

import diffusers
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fans import diffusion, hub
from fans.diffusion import wiener
from fans.diffusion.grids import uniform
from fans.hub.conventions import CONVENTIONS, NetworkCall
from fans.hub.impulses import noise_from
from fans.hub.prepare import Prepared
from fans.hub.scan import response
from fans.spectrum import multiplicity

SIZE = (16, 16)
PLANE = diffusion.radius(SIZE).clamp(min=1 / 16) ** -2.0 / 100
TWICE = torch.tensor(multiplicity(SIZE))
BANDS = (diffusion.radius(SIZE) * 12).long().clamp(max=5)
LINE = torch.logspace(1, -4, 24, dtype=torch.float64)  # power of data over five decades
# Brownian trees of torchsde take seconds to grow
SLOW = {"CosineDPMSolverMultistepScheduler", "DPMSolverSDEScheduler"}


def steps_of(name, steps):
    """The number of steps nearest to the wanted one that the scheduler accepts."""
    return 2 if name == "ConsistencyDecoderScheduler" else steps


def band_scores(images, power):
    """Standard scores of the mean power in each band against the prediction."""
    ratio = torch.fft.rfft2(images, norm="ortho").abs() ** 2 / power * TWICE
    scores = []
    for band in BANDS.unique():
        per_image = ratio[:, band == BANDS].sum(1) / TWICE[band == BANDS].sum()
        scores.append((per_image.mean() - 1) / (per_image.std() / len(images) ** 0.5))
    return torch.stack(scores)


def test_every_scheduler_is_scanned_or_named_with_a_reason():
    scanned, named = set(CONVENTIONS), hub.unscanned()
    assert set(hub.schedulers()) <= scanned | set(named)
    assert not scanned & set(named), "a scheduler that should be scanned cannot be built here"
    assert all(len(reason) > 10 and "not known" not in reason for reason in named.values())
    assert len(scanned) >= 40
    public = [
        getattr(diffusers.schedulers, name)
        for name in dir(diffusers.schedulers)
        if name != "ScoreSdeVpScheduler"
    ]
    classes = {c.__name__ for c in public if isinstance(c, type) and issubclass(c, diffusers.SchedulerMixin)}
    assert classes - {"SchedulerMixin"} <= scanned | set(named)


@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("name", sorted(CONVENTIONS))
def test_sampling_with_the_unmodified_scheduler_has_the_predicted_power(name, steps):
    """Within four standard errors in each of six bands; 516 scores, of which chance puts 0.03 beyond four."""
    steps = steps_of(name, steps)
    predicted = hub.scan(name, PLANE, steps)
    images = hub.simulate(name, PLANE, steps, size=SIZE, count=40 if name in SLOW else 200, seed=steps)
    assert band_scores(images, predicted.power).abs().max() < 4


class Mutated(diffusers.DDIMScheduler):
    """DDIM whose noise estimate is 2 % too small."""

    def step(self, model_output, *args, **kwargs):
        return super().step(0.98 * model_output, *args, **kwargs)


class MutatedNoise(diffusers.DDPMScheduler):
    """DDPM that adds noise 2 % too strong."""

    def _get_variance(self, *args, **kwargs):
        return 1.02**2 * super()._get_variance(*args, **kwargs)


@pytest.mark.parametrize("mutated, original", [(Mutated, "DDIMScheduler"), (MutatedNoise, "DDPMScheduler")])
def test_a_coefficient_off_by_two_per_cent_is_caught(mutated, original):
    predicted = hub.scan(original, PLANE, 20)
    wrong = hub.simulate(mutated, PLANE, 20, size=SIZE, count=2000)
    assert band_scores(wrong, predicted.power).abs().max() > 4
    assert band_scores(wrong, hub.scan(mutated, PLANE, 20).power).abs().max() < 4


def cosine_product(states):
    """DDIM's law along the levels of a sampler."""
    theta = [torch.atan2(torch.tensor(s), a * LINE.sqrt()) for a, s in states]
    return torch.stack([torch.cos(t - s) ** 2 for t, s in pairwise(theta)]).prod(0)


FIRST_ORDER = [
    ("DDIMScheduler", {}),
    ("DDIMParallelScheduler", {"timestep_spacing": "trailing"}),
    ("CogVideoXDDIMScheduler", {"prediction_type": "v_prediction"}),
    ("RePaintScheduler", {}),
    ("EulerDiscreteScheduler", {}),
    ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
    ("LMSDiscreteScheduler", {"order": 1}),
    ("EDMEulerScheduler", {}),
    ("EDMDPMSolverMultistepScheduler", {"solver_order": 1}),
    ("DPMSolverMultistepScheduler", {"solver_order": 1}),
    ("DPMSolverMultistepScheduler", {"solver_order": 1, "final_sigmas_type": "sigma_min"}),
    ("DPMSolverSinglestepScheduler", {"solver_order": 1, "use_exponential_sigmas": True}),
    ("DEISMultistepScheduler", {"solver_order": 1}),
    ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
    ("FlowMapEulerDiscreteScheduler", {}),
    ("LTXEulerAncestralRFScheduler", {"eta": 0.0}),
    ("MiniMaxH3Scheduler", {}),
]


@pytest.mark.parametrize("name, options", FIRST_ORDER)
def test_first_order_samplers_obey_the_cosine_law(name, options):
    """An independent closed form; it needs the levels of the calls and the last one, and nothing else."""
    prepared, states = Prepared(name, 10, options), []
    prepared.run(torch.zeros(1, 1, 1, 1, dtype=torch.float64), lambda x, state: states.append(state[:2]) or x)
    states = list(dict.fromkeys(states))
    result = hub.scan(name, LINE, 10, **options)
    sigma = float(getattr(prepared.scheduler, "sigmas", [0.0])[-1])  # some end before the noise is gone
    last = (1 / (1 + sigma**2) ** 0.5, sigma / (1 + sigma**2) ** 0.5)
    expected = cosine_product([*states, last]) * (last[0] ** 2 * LINE + last[1] ** 2)
    # float32 coefficients; differences of neighbouring levels lose three of their seven digits
    torch.testing.assert_close(result.gain**2 * result.marginal, expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    "name, sampler, options",
    [
        ("DDIMScheduler", "ddim", {}),
        ("DDIMParallelScheduler", "ddim", {}),
        ("EulerDiscreteScheduler", "ddim", {}),
        ("LMSDiscreteScheduler", "ddim", {"order": 1}),
        ("DDPMScheduler", "ancestral", {}),
        ("DDPMParallelScheduler", "ancestral", {}),
        ("EulerAncestralDiscreteScheduler", "ancestral", {}),
        ("DPMSolverMultistepScheduler", "dpmpp_2m", {}),
        ("UniPCMultistepScheduler", "unipc", {}),
    ],
)
def test_the_same_method_among_our_own_samplers_has_the_same_spectrum(name, sampler, options):
    """With spacing ``trailing`` both step over our uniform grid of the same betas."""
    theirs = hub.scan(name, PLANE, 20, timestep_spacing="trailing", **options)
    ours = hub.scan(diffusion.white(size=SIZE, schedule="linear"), PLANE, 20, sampler=sampler)
    assert theirs.calls == ours.calls
    torch.testing.assert_close(theirs.power, ours.power, rtol=2e-4, atol=0)  # their table is float32


def test_a_process_of_our_own_is_scanned_by_the_oracle():
    process = diffusion.equal_snr(PLANE, size=SIZE)
    for sampler in ("ddim", "ancestral", "heun", "unipc", "exact"):
        result = hub.scan(process, PLANE, 10, sampler=sampler)
        expected = wiener.sampled_spectrum(
            process, PLANE, timesteps=uniform(process, 10), sampler=sampler, start="prior"
        )
        torch.testing.assert_close(result.power, expected)
        torch.testing.assert_close(result.power, (result.gain * result.start) ** 2 + result.added)
    assert result.worst < 1e-6  # the exact sampler


AUTOGRAD = [
    ("PNDMScheduler", {}),
    ("HeunDiscreteScheduler", {}),
    ("UniPCMultistepScheduler", {}),
    ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    ("DEISMultistepScheduler", {"solver_order": 3}),
    ("KDPM2AncestralDiscreteScheduler", {}),
    ("SASolverScheduler", {}),
    ("EulerAncestralDiscreteScheduler", {}),
    ("DDPMScheduler", {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}),
    ("TCDScheduler", {}),
    ("CMStochasticIterativeScheduler", {}),
    ("IPNDMScheduler", {}),
    ("EulerDiscreteScheduler", {"s_churn": 5.0}),
]


class Recorded:
    """Noise that autograd can follow back to each draw."""

    def __init__(self):
        self.generator, self.noises = torch.Generator().manual_seed(0), []

    def draw(self, shape):
        noise = torch.randn(shape, generator=self.generator, dtype=torch.float64).requires_grad_()
        self.noises.append(noise)
        return noise


@pytest.mark.parametrize("name, options", AUTOGRAD)
def test_the_jacobian_by_autograd_gives_the_same_power(name, options, monkeypatch):
    """A second method: at a random state, with random noise, no impulse and no linearity assumed."""
    prepared, hook = Prepared(name, 8, options), Recorded()
    x = torch.randn(1, 1, 1, len(LINE), dtype=torch.float64, generator=hook.generator) * prepared.start
    x.requires_grad_()
    monkeypatch.setattr(torch, "no_grad", torch.enable_grad)
    with noise_from(prepared.scheduler, hook):
        out = prepared.run(x, lambda x, state: (response(state, LINE) * x).to(x.dtype))
    inputs = [x, *hook.noises]
    # frequencies do not mix, so the gradient of the sum holds the diagonal of the Jacobian
    slopes = torch.autograd.grad(out.sum(), inputs, allow_unused=True)
    variance = [prepared.start**2, *[1.0] * len(hook.noises)]
    power = sum(v * g.flatten() ** 2 for v, g in zip(variance, slopes, strict=True) if g is not None)
    result = hub.scan(name, LINE, 8, **options)
    torch.testing.assert_close(result.power, power, rtol=1e-4, atol=1e-12)  # some compute in float32


@pytest.mark.parametrize(
    "name, options",
    [
        ("DDIMScheduler", {"timestep_spacing": "trailing"}),
        ("PNDMScheduler", {}),
        ("HeunDiscreteScheduler", {}),
        ("UniPCMultistepScheduler", {}),
        ("FlowMatchEulerDiscreteScheduler", {}),
        ("EDMEulerScheduler", {}),
        ("IPNDMScheduler", {}),
        ("DDPMScheduler", {}),
        ("LTXEulerAncestralRFScheduler", {}),
    ],
)
def test_with_many_steps_the_data_come_back(name, options):
    """A wrong convention would leave an error that no number of steps removes."""
    strong = torch.tensor([1.0, 0.1], dtype=torch.float64)
    few, many = (hub.scan(name, strong, steps, **options).worst for steps in (20, 500))
    assert many < 0.2 and many < few / 3


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_the_prediction_type_does_not_matter_to_an_exact_network(prediction):
    for name in ("DDIMScheduler", "DPMSolverMultistepScheduler", "DDPMScheduler"):
        reference = hub.scan(name, LINE, 10)
        result = hub.scan(name, LINE, 10, prediction_type=prediction)
        # x0 - a x cancels at low noise levels, in float32 tables
        torch.testing.assert_close(result.power, reference.power, rtol=5e-3, atol=1e-9)


@given(
    level=st.floats(0.01, 50),
    power=st.floats(1e-3, 1e3),
    prediction=st.sampled_from(["epsilon", "v", "flow"]),
)
@settings(max_examples=50, deadline=None)
def test_network_outputs_are_consistent(level, power, prediction):
    """x = a x0_hat + s eps_hat for every level, whatever is predicted."""
    a, s = (1.0, level) if prediction != "flow" else (1 / (1 + level), level / (1 + level))
    C = torch.tensor([power], dtype=torch.float64)
    for network in ("denoiser", "consistency"):
        x_0, eps = (response(NetworkCall(a, s, *cd), C, network) for cd in ((1.0, 0.0), (0.0, 1.0)))
        torch.testing.assert_close(a * x_0 + s * eps, torch.ones_like(C))


def test_a_consistency_model_needs_one_step():
    """It goes to the end of the flow at once; a denoiser's estimate is too smooth."""
    for name in ("LCMScheduler", "FlowMatchLCMScheduler", "CMStochasticIterativeScheduler"):
        exact = hub.scan(name, [1.0, 0.1], 1, network="consistency")
        assert exact.worst < 0.2 and hub.scan(name, [1.0, 0.1], 1).worst > 10


def test_draws_are_put_back_and_the_instance_is_left_alone():
    import diffusers.schedulers.scheduling_ddpm as module

    original, scheduler = module.randn_tensor, diffusers.DDPMScheduler()
    before = scheduler.timesteps.clone()
    hub.scan(scheduler, [1.0], 5)
    with pytest.raises(InterruptedError), noise_from(scheduler, None):
        raise InterruptedError
    assert module.randn_tensor is original
    assert torch.equal(scheduler.timesteps, before) and scheduler.num_inference_steps is None
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    hub.simulate("DDPMScheduler", PLANE, 2, size=SIZE, count=1)
    assert torch.equal(torch.rand(1), wanted)


def test_shapes_configurations_and_zero_power():
    scheduler = diffusers.DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    result = hub.scan(scheduler, PLANE, 10)
    assert result.power.shape == PLANE.shape
    by_name = hub.scan(
        "DDIMScheduler", PLANE, 10, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012
    )
    torch.testing.assert_close(result.power, by_name.power)
    silent = hub.scan("DDIMScheduler", [1.0, 0.0], 10)
    assert silent.error[1].isnan() and silent.rms == pytest.approx(silent.error[0].abs().item())


@pytest.mark.parametrize(
    "arguments, options, message",
    [
        (("DDIMInverseScheduler", [1.0], 5), {}, "image to noise"),
        (("VQDiffusionScheduler", [1.0], 5), {}, "tokens"),
        (("DDIMScheduler", [1.0], 5), {"karras": True}, "allowed are .*timestep_spacing"),
        (("DDIMScheduler", [1.0], 5), {"thresholding": True}, "not linear"),
        (("DDIMScheduler", [1.0]), {}, "how many steps"),
        (("DDIMScheduler", [-1.0], 5), {}, "power"),
        (("DDIMScheduler", [1.0], 5), {"network": "oracle"}, "consistency"),
    ],
)
def test_messages(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        hub.scan(*arguments, **options)


@pytest.mark.parametrize(
    "name, bar",
    [("DDIMScheduler", 1), ("UniPCMultistepScheduler", 1), ("DDPMScheduler", 10), ("SASolverScheduler", 10)],
)
def test_a_scan_is_quick(name, bar):
    """50 steps, 512 frequencies: one second, ten with noise, and three times that on a busy machine."""
    spectrum = np.logspace(0, -5, 512)
    hub.scan(name, spectrum[:1], 2)
    start = time.perf_counter()
    hub.scan(name, spectrum, 50)
    assert time.perf_counter() - start < 3 * bar


def test_recommendation_spends_the_calls_and_sorts():
    best = hub.recommend(LINE, 12, family="flow")
    assert len(best) > 12 and all(s.calls <= 12 for s in best)
    assert [s.rms for s in best] == sorted(s.rms for s in best)
    first = best[0]
    again = hub.scan(first.name, LINE, first.steps, **first.options)
    assert again.rms == pytest.approx(first.rms, rel=1e-6)
    assert hub.steps_for("PNDMScheduler", 20) < 20
    with pytest.raises(ValueError, match="vp, flow, edm"):
        hub.recommend(LINE, 12, family="ve")


def test_output_filter_and_last_step_give_the_spectrum_of_the_data():
    result = hub.scan("EulerDiscreteScheduler", PLANE, 10)
    images = hub.simulate("EulerDiscreteScheduler", PLANE, 10, size=SIZE, count=400)
    assert band_scores(images, PLANE).abs().max() > 4
    assert band_scores(hub.corrected(images, result), PLANE).abs().max() < 4
    prepared, levels = Prepared("EulerDiscreteScheduler", 10, {}), []
    weight = {}

    def network(x, state):
        levels.append(state.s)
        size = weight.get(len(levels), torch.ones_like(PLANE))
        return torch.fft.irfft2(size * response(state, PLANE) * torch.fft.rfft2(x), s=SIZE).to(x.dtype)

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 1, *SIZE, generator=generator, dtype=torch.float64) * prepared.start
    weight[10] = hub.last_step(result, float(prepared.scheduler.sigmas[9]))
    assert band_scores(prepared.run(x, network)[:, 0].double(), PLANE).abs().max() < 4
    assert float(hub.output_filter(result, most=1.2).max()) <= 1.2


def test_ddim_misses_its_levels_unless_the_steps_divide_the_timesteps():
    """It steps back by the whole part of T / K: with 400 of 1000 not to where it looks next."""
    off, fine = (
        hub.scan("DDIMScheduler", [1.0, 0.1], steps, timestep_spacing="trailing").worst
        for steps in (400, 500)
    )
    euler = hub.scan("EulerDiscreteScheduler", [1.0, 0.1], 400, timestep_spacing="trailing").worst
    assert off > 10 * fine and euler < 2 * fine
