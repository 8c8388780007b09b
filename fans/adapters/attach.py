"""Initialisations of `initialise`, in the layers of a whole model, as peft's own modules."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fans._validation import require
from fans.adapters.initialisation import METHODS, Adapter, Method, initialise

__all__ = ["TARGETS", "adapted_layers", "attach", "inputs_of", "linear_layers"]

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def linear_layers(model: nn.Module, targets: tuple[str, ...] = TARGETS) -> dict[str, nn.Linear]:
    """The linear layers of a model whose names end in one of `targets`."""
    return {
        name: layer
        for name, layer in model.named_modules()
        if name.rpartition(".")[2] in targets and isinstance(layer, nn.Linear)
    }


def inputs_of(
    model: nn.Module, run: Callable[[], object], targets: tuple[str, ...] = TARGETS
) -> dict[str, Tensor]:
    """Inputs (N, n) of every target layer while `run` is called, all passes together."""
    seen: dict[str, list[Tensor]] = {name: [] for name in linear_layers(model, targets)}
    with _hooked(model, seen, targets), torch.no_grad():
        run()
    return {name: torch.cat(parts) for name, parts in seen.items()}


@contextmanager
def _hooked(model: nn.Module, seen: dict[str, list[Tensor]], targets: tuple[str, ...]) -> Iterator[None]:
    def keeper(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[name].append(inputs[0].detach().flatten(0, -2))

        return keep

    hooks = [
        layer.register_forward_pre_hook(keeper(name)) for name, layer in linear_layers(model, targets).items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def attach(
    model: nn.Module,
    method: Method,
    *,
    rank: int,
    alpha: float | None = None,
    generator: torch.Generator | None = None,
    inputs: dict[str, Tensor] | None = None,
    targets: tuple[str, ...] = TARGETS,
) -> dict[str, Adapter]:
    """Put peft's adapters into the target layers of a model, in place, and initialise them.

    All other weights are frozen. Factors are of single precision, and computed in it; the base is of the
    precision that the weights have.

    Args:
        model: that is changed.
        method: of ``initialise``, as `rank`, `alpha` and `generator`.
        inputs: of every layer, by name (``inputs_of``), for ``eva`` and ``corda``.
        targets: last parts of the names of the layers.

    Returns:
        What each layer was given, by the layer's name.

    Raises:
        ValueError: no such method, or the model has no such layers.
    """
    peft = require("peft", package="peft", name="attach", extra="adapters")
    if method not in METHODS:
        raise ValueError(f"method={method!r}: must be one of {', '.join(METHODS)}")
    weights = {name: layer.weight.data for name, layer in linear_layers(model, targets).items()}
    if not weights:
        raise ValueError(
            f"the model has no linear layers named {', '.join(targets)}: give others in targets="
        )
    made = {
        name: initialise(
            W.float(),
            method,
            rank=rank,
            alpha=alpha,
            generator=generator,
            inputs=None if inputs is None else inputs[name],
        )
        for name, W in weights.items()
    }
    model.requires_grad_(False)
    config = peft.LoraConfig(
        r=rank, lora_alpha=rank if alpha is None else alpha, target_modules=list(targets)
    )
    peft.inject_adapter_in_model(config, model)
    for name, layer in adapted_layers(model).items():
        layer.base_layer.weight.data = made[name].base.to(weights[name].dtype, copy=True)
        layer.lora_A["default"].weight.data = made[name].A.clone()
        layer.lora_B["default"].weight.data = made[name].B.clone()
    return made


def adapted_layers(model: nn.Module) -> dict[str, Any]:
    """The layers of a model that peft has put adapters into."""
    lora = require("peft.tuners.lora", package="peft", name="adapted_layers", extra="adapters")
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, lora.LoraLayer)}
