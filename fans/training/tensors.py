"""Named tensors as the bytes of a safetensors file, in which tied ones are stored once.

>>> weight = torch.ones(2)
>>> found = unpacked(packed("model", {"first": weight, "second": weight}))
>>> found["first"] is found["second"]
True
"""

import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

_TIED = "tied"  # in the metadata of a file: other names of its tensors, as JSON


def packed(label: str, group: Mapping[str, Tensor]) -> bytes:
    """A safetensors file. Of tensors that are one and the same it holds one, and the names of the others.

    Args:
        label: of the group, for messages.
        group: tensors by name; complex ones are stored as they are.

    Raises:
        ValueError: something that is no dense tensor, or of a type that the format does not know; names it.
    """
    kept, names, tied = dict[str, Tensor](), dict[Any, str](), dict[str, str]()
    storages = set[int]()
    for name, value in group.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized:
            kind = f"{value.layout} tensor" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"{label}: {name!r} is a {kind}: only dense tensors can be saved")
        place = (value.device, value.data_ptr(), value.dtype, value.shape, value.stride())
        if value.numel() and place in names:
            tied[name] = names[place]
            continue
        plain = value.detach().cpu().contiguous()
        if (storage := plain.untyped_storage().data_ptr()) in storages:
            plain = plain.clone()  # another part of a storage, which the format refuses to store twice
        names[place], kept[name] = name, plain
        storages.add(storage)
    try:
        return save(kept, {_TIED: json.dumps(tied, sort_keys=True)} if tied else None)
    except (KeyError, SafetensorError) as error:
        kinds = ", ".join(sorted({str(value.dtype) for value in kept.values()}))
        raise ValueError(f"{label}: one of {kinds} cannot be saved: {error}") from error


def unpacked(data: bytes) -> dict[str, Tensor]:
    """The tensors of such a file by all their names; tied ones are one tensor again.

    Raises:
        SafetensorError: it is none.
    """
    found: dict[str, Tensor] = load(data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    tied = json.loads(header.get("__metadata__", {}).get(_TIED, "{}"))
    return found | {name: found[other] for name, other in tied.items()}
