"""Initialisations of adapters against peft's own modules, and closed forms against autograd."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.config import CordaConfig, EvaConfig
from peft.tuners.lora.corda import preprocess_corda
from peft.tuners.lora.eva import initialize_lora_eva_weights
from torch import nn

from fans import adapters
from fans.adapters import METHODS, Adapter, initialise

M, N, R = 24, 16, 4
# Single precision: products of tens of numbers of order one.
CLOSE = {"atol": 1e-6, "rtol": 1e-5}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def W():
    return normal(M, N)


def inputs(count=200):
    """Activations whose principal axes are well apart."""
    return normal(count, N, seed=1) * 0.5 ** torch.arange(N) + 0.3


class Net(nn.Module):
    """One linear layer, called as a language model is."""

    def __init__(self, W):
        super().__init__()
        self.layer = nn.Linear(W.shape[1], W.shape[0], bias=False)
        self.layer.weight.data = W.clone()

    def forward(self, x):
        return self.layer(x)


def peft_layer(W, name, *, alpha=R, **options):
    config = LoraConfig(r=R, lora_alpha=alpha, target_modules=["layer"], init_lora_weights=name, **options)
    return get_peft_model(Net(W), config)


def parts(model):
    layer = model.base_model.model.layer
    return (
        layer.base_layer.weight.data,
        layer.lora_A["default"].weight.data,
        layer.lora_B["default"].weight.data,
        layer.scaling["default"],
    )


def after_the_layers():
    """The stream where peft draws from: the default one, after its two layers have drawn their weights."""
    torch.manual_seed(0)
    nn.Linear(N, R, bias=False), nn.Linear(R, M, bias=False)
    generator = torch.Generator()
    generator.set_state(torch.get_rng_state())
    return generator


def same(ours: Adapter, theirs):
    base, A, B, scaling = theirs
    torch.testing.assert_close(ours.base, base, **CLOSE)
    torch.testing.assert_close(ours.A, A, **CLOSE)
    torch.testing.assert_close(ours.B, B, **CLOSE)
    assert ours.scaling == scaling


@pytest.mark.parametrize("alpha", [R, 2 * R])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("lora", True),
        ("gaussian", "gaussian"),
        ("pissa", "pissa"),
        ("pissa_fast", "pissa_niter_16"),
        ("olora", "olora"),
    ],
)
def test_initialisations_are_those_of_peft(W, ours, theirs, alpha):
    generator = after_the_layers()
    with torch.random.fork_rng(devices=[]):
        net = Net(W)
        torch.manual_seed(0)
        config = LoraConfig(r=R, lora_alpha=alpha, target_modules=["layer"], init_lora_weights=theirs)
        theirs_made = parts(get_peft_model(net, config))
    same(initialise(W, ours, rank=R, alpha=alpha, generator=generator), theirs_made)


@pytest.mark.filterwarnings("ignore:lora with eva initialization used with low_cpu_mem_usage")
def test_eva_is_that_of_peft(W):
    X = inputs()
    model = peft_layer(W, "eva", eva_config=EvaConfig(rho=1.0))
    initialize_lora_eva_weights(
        model,
        [{"x": X}],
        prepare_model_inputs_fn=None,
        prepare_layer_inputs_fn=lambda layer_input, *_: layer_input[0],
        show_progress_bar=False,
    )
    base, A, B, scaling = parts(model)
    ours = initialise(W, "eva", rank=R, inputs=X)
    # An axis has no sign, and peft's comes from a randomised decomposition with four power iterations, whose
    # error falls with the ratio of the singular values, here (1/2)^(2 * 4 * 4) at the most.
    signs = (ours.A * A).sum(1).sign()
    same(Adapter(ours.base, ours.A * signs[:, None], ours.B, ours.scaling), (base, A, B, scaling))


@pytest.mark.parametrize("alpha", [R, 2 * R])
def test_corda_is_that_of_peft(W, alpha):
    X, net = inputs(), Net(W)
    options = {"init_lora_weights": "corda", "corda_config": CordaConfig(corda_method="ipm")}
    config = LoraConfig(r=R, lora_alpha=alpha, target_modules=["layer"], **options)
    preprocess_corda(net, config, run_model=lambda: net(X[None]))
    theirs = parts(get_peft_model(net, config))
    ours = initialise(W, "corda", rank=R, alpha=alpha, inputs=X)
    # The inverse of the second moment multiplies rounding by its condition, about 100 with the damping.
    for found, expected in zip(
        (ours.base, ours.update), (theirs[0], theirs[3] * theirs[2] @ theirs[1]), strict=True
    ):
        torch.testing.assert_close(found, expected, atol=1e-6 * 100, rtol=0)
    assert ours.scaling == theirs[3]


@pytest.mark.parametrize("alpha", [R, 2 * R, 1.0])
@pytest.mark.parametrize("method", METHODS)
def test_first_forward_pass_is_the_base_models_unless_quantised(W, method, alpha):
    made = initialise(
        W, method, rank=R, alpha=alpha, generator=torch.Generator().manual_seed(0), inputs=inputs()
    )
    off = (made.weight - W).norm() / W.norm()
    # Four bits leave an error of about 0.09 on normal weights, of which rank 4 of 16 repairs a part;
    # rounding leaves 1e-6.
    assert (off > 0.03) == (method in adapters.QUANTISED)
    assert method in adapters.QUANTISED or off < 1e-5
    assert made.trainable == R * (M + N)


@pytest.mark.parametrize("alpha", [R, 2 * R])
@pytest.mark.parametrize("method", METHODS)
def test_gradients_of_the_factors_are_the_closed_forms(W, method, alpha):
    made = initialise(
        W, method, rank=R, alpha=alpha, generator=torch.Generator().manual_seed(0), inputs=inputs()
    )
    A, B = (factor.clone().requires_grad_() for factor in (made.A, made.B))
    weight = made.base + made.scaling * B @ A
    weight.retain_grad()
    (normal(50, N, seed=2) @ weight.T - normal(50, M, seed=3)).square().mean().backward()
    found = adapters.first_gradient(made, weight.grad)
    torch.testing.assert_close(found.A, A.grad, **CLOSE)
    torch.testing.assert_close(found.B, B.grad, **CLOSE)
    assert math.isclose(found.norm, math.hypot(A.grad.norm(), B.grad.norm()), rel_tol=1e-5)
    # The loss falls by the rate of the closed form; the product of both changes, which is even, cancels.
    step = adapters.first_step(made, weight.grad, rate=0.01) - adapters.first_step(
        made, weight.grad, rate=-0.01
    )
    falls = -float((step * weight.grad).sum()) / 0.02 / float(weight.grad.norm()) ** 2
    assert math.isclose(falls, found.rate, rel_tol=1e-3, abs_tol=1e-4)


def test_first_step_of_adam_is_that_of_the_optimiser(W):
    made, G = initialise(W, "pissa", rank=R), normal(M, N, seed=2)
    A, B = nn.Parameter(made.A.clone()), nn.Parameter(made.B.clone())
    optimizer = torch.optim.Adam([A, B], lr=1e-2)
    ((made.base + B @ A) * G).sum().backward()
    optimizer.step()
    change = (made.base + B @ A - made.weight).detach()
    # Adam divides by |g| + 1e-8 where we take the sign: a hundredth of a step for gradients of 1e-6.
    torch.testing.assert_close(
        change, adapters.first_step(made, G, rate=1e-2, signs=True), atol=1e-5, rtol=1e-3
    )


def test_pissa_takes_the_strongest_directions_and_leaves_the_rest(W):
    found = adapters.spectra(W, initialise(W, "pissa", rank=R))
    torch.testing.assert_close(found.update[:R], found.weight[:R], **CLOSE)
    torch.testing.assert_close(found.base[: N - R], found.weight[R:], atol=1e-5, rtol=1e-5)
    energy = found.weight.square()
    assert math.isclose(found.captured, float(energy[:R].sum() / energy.sum()), rel_tol=1e-5)
    assert math.isclose(found.captured + found.residual, 1, rel_tol=1e-5)
    # No initialisation of this rank captures more, and a random one not nearly as much.
    others = [adapters.spectra(W, initialise(W, m, rank=R, inputs=inputs())).captured for m in METHODS]
    assert max(others) <= found.captured * (1 + 1e-5)


def test_pissa_learns_along_its_singular_values_and_lora_evenly(W):
    S = torch.linalg.svdvals(W)
    left, right = adapters.rates(initialise(W, "pissa", rank=R, alpha=2 * R), W)
    expected = torch.where(torch.arange(N) < R, 2 * S, torch.zeros(N))
    torch.testing.assert_close(left, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(right, expected, atol=1e-5, rtol=1e-5)
    many = [
        torch.stack(
            adapters.rates(initialise(W, "gaussian", rank=R, generator=torch.Generator().manual_seed(k)), W)
        )
        for k in range(400)
    ]
    left, right = torch.stack(many).mean(0)
    assert not left.any()
    # r numbers of variance 1/r^2: mean 1/r = 1/4, deviation of the mean of 400 chi squares about 0.009.
    torch.testing.assert_close(right, torch.full((N,), 1 / R), atol=0.045, rtol=0)


def test_rates_add_up_to_the_first_fall_of_the_loss(W):
    made = initialise(W, "corda", rank=R, inputs=inputs())
    U, _, Vh = torch.linalg.svd(W)
    left, right = adapters.rates(made, W)
    for i, j in ((0, 0), (3, 1), (7, 12)):
        G = torch.outer(U[:, i], Vh[j])
        found = adapters.first_gradient(made, G)
        assert math.isclose(found.rate, float(left[i] + right[j]), rel_tol=1e-4, abs_tol=1e-5)


def test_nf4_has_the_published_levels():
    # Appendix E of Dettmers et al., 2023, as they print them.
    published = [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
        -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
        0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
        0.7229568362236023, 1.0,
    ]  # fmt: skip
    torch.testing.assert_close(adapters.nf4_levels(), torch.tensor(published), atol=1e-6, rtol=0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 200), st.sampled_from([1e-20, 1e-3, 1.0, 1e6]), st.integers(0, 99))
def test_nf4_takes_the_nearest_level_and_keeps_the_largest_weight(count, scale, seed):
    w = normal(count, seed=seed) * scale
    q = adapters.nf4(w)
    for part, found in zip(w.split(64), q.split(64), strict=True):
        largest = part.abs().max()
        nearest = (part[:, None] - largest * adapters.nf4_levels()).abs().min(1).values
        torch.testing.assert_close((found - part).abs(), nearest, atol=1e-6 * scale, rtol=1e-5)
        assert found.abs().max() == largest
    assert torch.equal(adapters.nf4(torch.zeros(3)), torch.zeros(3))


def test_loftq_error_falls_with_iterations_where_rank_one_of_many_cannot():
    W = normal(64, 96)

    def error(iterations, rank=16):
        Q, A, B = adapters.loftq(W, rank, iterations=iterations)
        return adapters.quantisation_error(W, Q + B @ A)

    plain = adapters.quantisation_error(W, adapters.nf4(W))
    assert plain > 1.1 * error(1) > 1.1 * 1.05 * error(5)  # of which 1.28 and 1.15 are measured
    # One iteration leaves the part of the error that rank r does not reach, exactly.
    tail = torch.linalg.svdvals(W - adapters.nf4(W))[16:].square().sum().sqrt() / W.norm()
    assert math.isclose(error(1), float(tail), rel_tol=1e-4)


def test_loftq_with_twice_the_scaling_gains_nothing():
    """What peft computes where alpha is twice the rank: it leaves the scaling out of LoftQ's factors."""
    W = normal(64, 96)
    Q, A, B = adapters.loftq(W, 16)
    doubled = adapters.quantisation_error(W, Q + 2 * B @ A)
    assert math.isclose(doubled, adapters.quantisation_error(W, Q), rel_tol=1e-4)


def test_qpissa_quantises_what_pissa_leaves(W):
    pissa, qpissa = (initialise(W, method, rank=R) for method in ("pissa", "qpissa"))
    assert torch.equal(pissa.A, qpissa.A)
    assert torch.equal(adapters.nf4(pissa.base), qpissa.base)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "pisa"}, "unknown method 'pisa'"),
        ({"rank": 0}, "rank must be at least 1"),
        ({"rank": 17}, "rank must be at most 16"),
        ({"method": "eva"}, "eva needs inputs of the layer"),
        ({"inputs": torch.zeros(3, 5)}, r"inputs have shape \(3, 5\): give \(N, 16\)"),
    ],
)
def test_messages_say_what_is_allowed(W, changes, message):
    with pytest.raises(ValueError, match=message):
        initialise(W, **{"method": "lora", "rank": 2} | changes)


def test_a_matrix_is_needed():
    with pytest.raises(ValueError, match="give a matrix"):
        initialise(torch.zeros(3), "lora", rank=1)
