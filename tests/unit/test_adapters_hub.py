"""The configurations at real scale, with tiny random models of the same classes."""

import json
from importlib.resources import files

import numpy as np
import pytest
import torch
import transformers as hf
import yaml
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from fans.adapters import hub
from fans.adapters.models import text_model
from fans.adapters.training import Adaptation, adapt

TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
QWEN_WORDS = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|end|>")
LLAMA_WORDS = (
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|image|>",
    "<|end|>",
)


def tokenizer(special):
    """Bytes, and the words that a model marks its turns with."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(list(special))
    return hf.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<|end|>")


def qwen():
    words = tokenizer(QWEN_WORDS)
    images = hf.Qwen2VLImageProcessorPil(patch_size=4, merge_size=2, min_pixels=64, max_pixels=1024)
    ids = dict(zip(QWEN_WORDS, words.convert_tokens_to_ids(list(QWEN_WORDS)), strict=True))
    config = hf.Qwen2_5_VLConfig(
        text_config={
            **TEXT,
            "vocab_size": len(words),
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4},
            "pad_token_id": ids["<|end|>"],
            "bos_token_id": None,
            "eos_token_id": None,
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "out_hidden_size": 16,
            "depth": 1,
            "num_heads": 2,
            "patch_size": 4,
            "fullatt_block_indexes": [0],
        },
        image_token_id=ids["<|image_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        video_token_id=-1,
    )
    return hf.Qwen2_5_VLForConditionalGeneration(config), hub.reader("qwen2_5_vl", words, images)


def llama():
    words = tokenizer(LLAMA_WORDS)
    images = hf.MllamaImageProcessorPil(size={"height": 32, "width": 32}, max_image_tiles=1)
    ids = dict(zip(LLAMA_WORDS, words.convert_tokens_to_ids(list(LLAMA_WORDS)), strict=True))
    config = hf.MllamaConfig(
        text_config={
            **TEXT,
            "vocab_size": len(words),
            "cross_attention_layers": [1],
            "pad_token_id": ids["<|end|>"],
            "bos_token_id": ids["<|begin_of_text|>"],
            "eos_token_id": ids["<|eot_id|>"],
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_global_layers": 1,
            "attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
            "max_num_tiles": 1,
            "vision_output_dim": 32,
            "intermediate_layers_indices": [0],
            "supported_aspect_ratios": [[1, 1]],
        },
        image_token_index=ids["<|image|>"],
    )
    return hf.MllamaForConditionalGeneration(config), hub.reader("mllama", words, images)


def rows(count=5):
    rng = np.random.default_rng(0)
    return [
        {
            "images": [Image.fromarray(rng.integers(0, 255, (24, 40, 3), dtype=np.uint8))],
            "messages": [
                {"role": "user", "content": "<image>What is " + "it" * i + "?"},
                {"role": "assistant", "content": "Noise" + "!" * i},
            ],
        }
        for i in range(count)
    ]


@pytest.fixture(params=[qwen, llama], ids=["qwen2.5-vl", "llama-3.2-vision"])
def made(request):
    torch.manual_seed(0)
    model, read = request.param()
    return model.eval().requires_grad_(False), read


def test_labels_are_the_answers(made):
    _, read = made
    given = read.batch(*zip(*map(hub._first_exchange, rows()), strict=True))
    said = [read.tokenizer.decode(row[row != hub.IGNORED]) for row in given["labels"]]
    assert said == ["Noise" + "!" * i + read.end for i in range(5)]
    assert (given["labels"] == hub.IGNORED)[~given["attention_mask"].bool()].all()
    assert read.visual(given["input_ids"]).sum(1).min() >= 1


@pytest.mark.parametrize("method", ["lora", "pissa", "eva", "loftq"])
def test_two_steps_of_every_arm_of_the_sources(made, method):
    model, read = made
    draw = hub.drawing(model, read, rows(), batch=2)
    before = {name: p.clone() for name, p in model.named_parameters()}
    history = adapt(text_model(model), Adaptation(method, rank=2, rate=1e-3, steps=2), draw)
    assert len(history) == 2 and all(np.isfinite(row["loss"]) for row in history)
    assert history[0]["visual"] > 0 and history[0]["text"] > 0
    # Nothing outside the language part's adapted layers has changed.
    kept = {name: p for name, p in model.named_parameters() if name in before}
    assert len(kept) > 10
    assert all(torch.equal(p, before[name]) for name, p in kept.items())


def test_adapters_in_half_precision_start_at_the_base_models_loss(made):
    model, read = made
    model = model.to(torch.bfloat16)
    draw = hub.drawing(model, read, rows(), batch=4)
    before = draw(torch.Generator().manual_seed(0))[0].item()
    adapt(text_model(model), Adaptation("pissa", rank=2, steps=0), draw)
    after = draw(torch.Generator().manual_seed(0))[0].item()
    # bfloat16 has 8 bits: the residual is rounded by at most 2^-9 of itself, logits of order 1 by as much.
    assert after == pytest.approx(before, rel=2**-7)


def test_unknown_names_are_told():
    with pytest.raises(ValueError, match="must be one of qwen2_5_vl, mllama"):
        hub.reader("llava", None, None)
    with pytest.raises(ValueError, match=r"must be one of qwen2.5-vl-7b, llama-3.2-11b-vision"):
        hub.load_model("qwen")


LLAMAFACTORY = files("fans.adapters").joinpath("llamafactory")
PUBLISHED = json.loads(LLAMAFACTORY.joinpath("arguments.json").read_text())


def unknown(configuration):
    """Arguments of a configuration that the framework does not have, and values that it does not allow."""
    names = {*PUBLISHED["arguments"], *PUBLISHED["trainer_arguments_of_its_examples"]}
    wrong = [name for name in configuration if name not in names]
    chosen = {name: configuration.get(name) for name in PUBLISHED["choices"]}
    return wrong + [
        name for name, v in chosen.items() if v is not None and v not in PUBLISHED["choices"][name]
    ]


@pytest.mark.parametrize("model", hub.MODELS)
@pytest.mark.parametrize("arm", ["full", "lora", "pissa", "qlora", "loftq"])
def test_configurations_have_the_published_arguments(model, arm):
    found = yaml.safe_load(LLAMAFACTORY.joinpath(f"{model}-{arm}.yaml").read_text())
    assert not unknown(found)
    assert found["dataset"] in PUBLISHED["datasets"]
    # The sources' run, with a number of steps that a batch can give.
    assert found["max_samples"] == hub.Instructions().count
    assert arm == "loftq" or found["model_name_or_path"] == hub.MODELS[model]
    assert arm == "full" or found["lora_alpha"] == found["lora_rank"] == 8
    assert ("pissa_iter" in found) == (arm == "pissa")
    assert ("quantization_bit" in found) == (arm in ("qlora", "loftq"))


def test_other_arguments_would_be_found():
    assert unknown({"eva_init": True, "finetuning_type": "eva", "lora_rank": 8}) == [
        "eva_init",
        "finetuning_type",
    ]
