"""The study at the scale of the sources: their models and their instructions, from the Hugging Face hub.

Both models are read without a processor, whose video part would want torchvision: an image processor and a
tokenizer are enough. A batch has the first question about each picture, and its answer, whose words are the
labels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fans._validation import require
from fans.adapters.training import Draw

__all__ = [
    "MODELS",
    "Instructions",
    "Reader",
    "drawing",
    "load_instructions",
    "load_model",
    "loss",
    "reader",
]

MODELS: Mapping[str, str] = {
    "qwen2.5-vl-7b": "Qwen/Qwen2.5-VL-7B-Instruct",
    "llama-3.2-11b-vision": "meta-llama/Llama-3.2-11B-Vision-Instruct",
}
IGNORED = -100


@dataclass(frozen=True)
class Instructions:
    """Which instructions: LLaVA-Instruct with its pictures, and as many as the sources used.

    Attributes:
        dataset: on the hub, with columns ``messages`` and ``images``.
        subset: of the dataset.
        count: of examples, the first ones.
    """

    dataset: str = "BUAADreamer/llava-en-zh-300k"
    subset: str = "en"
    count: int = 30_000


@dataclass(frozen=True)
class Reader:
    """How a model reads pictures with a question and its answer.

    Attributes:
        tokenizer: of the model.
        images: turns a list of pictures into what the model's vision part takes, with the number of visual
            tokens that each needs in the text.
        before: text before the visual tokens, each of which is `token`, and `after` them before the question.
        token: one visual token in the text.
        after: see `before`.
        between: text between question and answer.
        end: text after the answer.
        extras: further inputs from the words (B, L).
    """

    tokenizer: Any
    images: Callable[[Sequence[Any]], tuple[dict[str, Tensor], list[int]]]
    before: str
    token: str
    after: str
    between: str
    end: str
    extras: Callable[[Tensor], dict[str, Tensor]]

    def batch(
        self, pictures: Sequence[Any], questions: Sequence[str], answers: Sequence[str]
    ) -> dict[str, Tensor]:
        """Inputs and labels of a model, padded to the longest."""
        inputs, counts = self.images(pictures)
        prompts = [
            self._words(f"{self.before}{self.token * n}{self.after}{question}{self.between}")
            for n, question in zip(counts, questions, strict=True)
        ]
        replies = [self._words(f"{answer}{self.end}") for answer in answers]
        length = max(len(p) + len(a) for p, a in zip(prompts, replies, strict=True))
        words = torch.full((len(prompts), length), self.tokenizer.pad_token_id)
        labels, mask = torch.full_like(words, IGNORED), torch.zeros_like(words)
        for row, (prompt, reply) in enumerate(zip(prompts, replies, strict=True)):
            end = len(prompt) + len(reply)
            words[row, :end] = torch.tensor([*prompt, *reply])
            labels[row, len(prompt) : end] = torch.tensor(reply)
            mask[row, :end] = 1
        return {"input_ids": words, "attention_mask": mask, "labels": labels, **inputs, **self.extras(words)}

    def _words(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return found

    def visual(self, words: Tensor) -> Tensor:
        """Which of the words (B, L) are visual tokens."""
        token: int = self.tokenizer.convert_tokens_to_ids(self.token)
        return words == token


def reader(architecture: str, tokenizer: Any, image_processor: Any) -> Reader:
    """The reader of a model, by transformers' name of its architecture.

    Raises:
        ValueError: neither ``qwen2_5_vl`` nor ``mllama``.
    """
    if architecture == "qwen2_5_vl":
        return _qwen(tokenizer, image_processor)
    if architecture == "mllama":
        return _mllama(tokenizer, image_processor)
    raise ValueError(f"architecture={architecture!r}: must be one of qwen2_5_vl, mllama")


def _qwen(tokenizer: Any, image_processor: Any) -> Reader:
    def images(pictures: Sequence[Any]) -> tuple[dict[str, Tensor], list[int]]:
        found = dict(image_processor(images=list(pictures), return_tensors="pt"))
        return found, (found["image_grid_thw"].prod(1) // image_processor.merge_size**2).tolist()

    pad = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    return Reader(
        tokenizer,
        images,
        before="<|im_start|>user\n<|vision_start|>",
        token="<|image_pad|>",
        after="<|vision_end|>",
        between="<|im_end|>\n<|im_start|>assistant\n",
        end="<|im_end|>",
        extras=lambda words: {"mm_token_type_ids": (words == pad).long()},
    )


def _mllama(tokenizer: Any, image_processor: Any) -> Reader:
    def images(pictures: Sequence[Any]) -> tuple[dict[str, Tensor], list[int]]:
        found = image_processor(images=[[picture] for picture in pictures], return_tensors="pt")
        kept = {name: found[name] for name in ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")}
        return kept, [1] * len(pictures)

    image = tokenizer.convert_tokens_to_ids("<|image|>")

    def extras(words: Tensor) -> dict[str, Tensor]:
        # Words from the picture on look at all of its tiles, (B, L, pictures, tiles).
        seen = (words == image).cumsum(1).clamp(max=1)
        return {
            "cross_attention_mask": seen[..., None, None].expand(-1, -1, 1, image_processor.max_image_tiles)
        }

    return Reader(
        tokenizer,
        images,
        before="<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
        token="<|image|>",
        after="",
        between="<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        end="<|eot_id|>",
        extras=extras,
    )


def load_model(name: str, *, device: str = "cuda") -> tuple[Any, Reader]:
    """A model of ``MODELS`` in bfloat16, frozen, and its reader; needs the hub.

    Activations are computed twice instead of being kept, so that one GPU of 80 GB is enough.

    Raises:
        ValueError: no such model.
    """
    hf = require("transformers", package="transformers", name="load_model", extra="adapters")
    if name not in MODELS:
        raise ValueError(f"name={name!r}: must be one of {', '.join(MODELS)}")
    model = hf.AutoModelForImageTextToText.from_pretrained(MODELS[name], dtype=torch.bfloat16)
    tokenizer = hf.AutoTokenizer.from_pretrained(MODELS[name])
    images = hf.AutoImageProcessor.from_pretrained(MODELS[name])
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model.to(device).train().requires_grad_(False), reader(model.config.model_type, tokenizer, images)


def load_instructions(which: Instructions) -> Any:
    """Rows with ``images`` and ``messages``; needs the hub."""
    datasets = require("datasets", package="datasets", name="load_instructions", extra="adapters")
    return datasets.load_dataset(which.dataset, which.subset, split=f"train[:{which.count}]")


def _first_exchange(row: Mapping[str, Any]) -> tuple[Any, str, str]:
    """Picture, question and answer of a row of LLaVA-Instruct.

    >>> said = [{"role": "user", "content": "<image>What is it?"}, {"role": "assistant", "content": "A cat."}]
    >>> _first_exchange({"images": [None], "messages": said})
    (None, 'What is it?', 'A cat.')
    """
    question, answer = (message["content"] for message in row["messages"][:2])
    return row["images"][0], question.replace("<image>", "").strip(), answer


def drawing(model: Any, read: Reader, rows: Sequence[Mapping[str, Any]], *, batch: int) -> Draw:
    """The loss of a random batch of instructions, for ``adapt``; `rows` as of ``load_instructions``."""
    device = next(model.parameters()).device

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        which = torch.randint(len(rows), (batch,), generator=generator).tolist()
        chosen = [_first_exchange(rows[i]) for i in which]
        given = {name: part.to(device) for name, part in read.batch(*zip(*chosen, strict=True)).items()}
        return model(**given).loss, read.visual(given["input_ids"])

    return draw


@torch.no_grad()
def loss(model: Any, read: Reader, rows: Sequence[Mapping[str, Any]], *, batch: int) -> float:
    """Mean loss of batches of instructions, in their order."""
    device, found = next(model.parameters()).device, list[float]()
    for first in range(0, len(rows), batch):
        few = [_first_exchange(rows[i]) for i in range(first, min(first + batch, len(rows)))]
        given = {name: part.to(device) for name, part in read.batch(*zip(*few, strict=True)).items()}
        found.append(model(**given).loss.item())
    return sum(found) / len(found)
