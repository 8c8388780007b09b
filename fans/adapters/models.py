"""Small vision-language models from transformers' own classes, with a door for their visual tokens.

Both are read in two steps: `see` turns pictures into visual tokens, `speak` turns words with these tokens in
their places into logits. A model whose vision part is frozen sees every picture once.
"""

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from fans._validation import require
from fans.adapters.scenes import PATCHES, VOCABULARY

__all__ = ["Architecture", "build", "see", "speak", "text_model"]

Architecture = Literal["qwen2.5-vl", "idefics3"]
_TEXT = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
    "initializer_range": 0.08,  # the usual 0.02 learns slowly at this width
}
_WIDTH, _DEPTH, _HEADS, _PATCH, _MERGE, _SIDE = 64, 2, 4, 4, 2, 6  # vision; patches and how many make a token


def build(architecture: Architecture, *, seed: int = 0) -> Any:
    """A model with random weights, about 0.6 million of them.

    Raises:
        ValueError: no such architecture.
    """
    hf = require("transformers", package="transformers", name="build", extra="adapters")
    if architecture not in get_args(Architecture):
        known = ", ".join(get_args(Architecture))
        raise ValueError(f"architecture={architecture!r}: must be one of {known}")
    torch.manual_seed(seed)
    if architecture == "idefics3":
        vision: dict[str, Any] = {
            "hidden_size": _WIDTH,
            "intermediate_size": 4 * _WIDTH,
            "num_hidden_layers": _DEPTH,
            "num_attention_heads": _HEADS,
            "image_size": _SIDE * _PATCH,
            "patch_size": _PATCH,
            "initializer_range": 0.08,
        }
        config = hf.Idefics3Config(
            vision_config=vision,
            text_config={"model_type": "llama", **_TEXT},
            scale_factor=_MERGE,
            image_token_id=0,
            tie_word_embeddings=False,
        )
        return hf.Idefics3ForConditionalGeneration(config)
    vision = {
        "hidden_size": _WIDTH,
        "intermediate_size": 4 * _WIDTH,
        "out_hidden_size": _TEXT["hidden_size"],
        "depth": _DEPTH,
        "num_heads": _HEADS,
        "patch_size": _PATCH,
        "spatial_merge_size": _MERGE,
        "temporal_patch_size": 2,
        "initializer_range": 0.08,
        "window_size": _SIDE * _PATCH,
        "fullatt_block_indexes": list(range(_DEPTH)),
    }
    rope = {"rope_type": "default", "mrope_section": [4, 4, 4], "rope_theta": 10_000.0}
    special = {
        "image_token_id": 0,
        "vision_start_token_id": 1,
        "vision_end_token_id": 2,
        "video_token_id": -1,
    }
    config = hf.Qwen2_5_VLConfig(
        vision_config=vision, text_config={**_TEXT, "rope_parameters": rope}, **special
    )
    return hf.Qwen2_5_VLForConditionalGeneration(config)


def text_model(model: Any) -> Any:
    """The language part of a model, behind its words' embedding."""
    inner = model.model
    return inner.language_model if hasattr(inner, "language_model") else inner.text_model


def see(model: Any, pictures: Tensor) -> Tensor:
    """Visual tokens (B, 9, D) of pictures (B, 3, 24, 24)."""
    count = len(pictures)
    if hasattr(model.model, "language_model"):
        grid = torch.tensor([[1, _SIDE, _SIDE]]).expand(count, -1)
        tokens = model.model.visual(_flat_patches(pictures), grid_thw=grid).pooler_output
    else:
        tokens = torch.stack(list(model.model.get_image_features(pictures[:, None]).pooler_output))
    shown: Tensor = tokens.reshape(count, PATCHES, -1)
    return shown


def _flat_patches(pictures: Tensor) -> Tensor:
    """Patches (B 36, 3 2 4 4) in the order in which 2 x 2 of them are merged, shown at two times."""
    count, half = len(pictures), _SIDE // _MERGE
    x = pictures.reshape(count, 3, half, _MERGE, _PATCH, half, _MERGE, _PATCH)
    x = x.permute(0, 2, 5, 3, 6, 1, 4, 7)  # (B, row, column, row in token, column in token, 3, y, x)
    x = x.reshape(count * _SIDE**2, 3, 1, _PATCH, _PATCH).expand(-1, -1, 2, -1, -1)
    return x.reshape(count * _SIDE**2, -1)


def speak(model: Any, words: Tensor, visual: Tensor, gain: Tensor | float = 1.0) -> Tensor:
    """Logits (B, L, V) of the next word, with `visual` (B, 9, D) in the places of the cells.

    The mean square of a picture's visual tokens is brought to `gain`, a number or (B, 1, 1), times that of
    the words' embeddings, so that the ratio of the two modalities is what is asked for.
    """
    table = model.get_input_embeddings()
    ratio = table.weight.detach().square().mean() / visual.detach().square().mean((1, 2), keepdim=True)
    embedded = table(words).clone()
    embedded[:, 1 : 1 + PATCHES] = visual * (ratio * gain) ** 0.5
    places = (
        _places(words.shape[1]) if hasattr(model.model, "language_model") else torch.arange(words.shape[1])
    )
    hidden = text_model(model)(
        inputs_embeds=embedded,
        position_ids=places.expand(*places.shape[:-2], len(words), -1),
        use_cache=False,
    )
    logits: Tensor = model.lm_head(hidden.last_hidden_state)
    return logits


def _places(length: int) -> Tensor:
    """Qwen's three coordinates (time, row, column) of every token, (3, 1, L)."""
    cell = torch.arange(PATCHES)
    start, after = torch.zeros(3, 1), torch.arange(length - PATCHES - 1) + 4
    image = torch.stack([torch.zeros(PATCHES), cell // 3, cell % 3]) + 1
    return torch.cat([start, image, after.expand(3, -1)], 1).long()[:, None]
