"""Small vision-language models, their tasks and trainings, and the kinds of experiments made of them."""

import copy
import math

import numpy as np
import pytest
import torch
import transformers as hf

from fans import adapters
from fans.adapters import attach, models, pretraining, scenes, task, training
from fans.experiments import registry
from fans.experiments.kinds.adapters import AdapterArm, Adapting, HubAdapting, Pretraining

BOTH = ("qwen2.5-vl", "idefics3")


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module", params=BOTH)
def model(request):
    return models.build(request.param).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def base():
    """A model that has learned a little, so that its layers differ from random ones."""
    return pretraining.pretrain("qwen2.5-vl", steps=20, batch=8)[0]


@pytest.fixture(scope="module")
def given(base):
    return task.examples(base, scenes.draw(32, stream(), task="shifted"))


def asked(drawn):
    """Pairs of shape and colour of the object that is asked for, from the pictures' contents."""
    where = drawn.words[:, scenes.PROMPT + 1 : scenes.PROMPT + 3]
    names = [scenes.VOCABULARY[i] for i in where.flatten().tolist()]
    cells = [
        3 * scenes.ROWS.index(row) + scenes.COLUMNS.index(column)
        for row, column in zip(names[::2], names[1::2], strict=True)
    ]
    return [tuple(drawn.contents[i, cell].tolist()) for i, cell in enumerate(cells)]


def test_training_on_the_shifted_task_leaves_the_held_out_pairs_out():
    trained = set(asked(scenes.draw(2000, stream(), task="shifted")))
    tested = set(asked(scenes.draw(2000, stream(1), task="shifted", split="test")))
    held_out = set(asked(scenes.draw(500, stream(2), task="shifted", split="held-out")))
    assert trained == tested and not trained & held_out
    assert len(trained) == 20 and len(held_out) == 4


def test_answers_are_those_of_the_pictures():
    drawn = scenes.draw(500, stream(), task="shifted")
    words = [[scenes.VOCABULARY[i] for i in row] for row in drawn.words.tolist()]
    for (shape, colour), row in zip(asked(drawn), words, strict=True):
        assert row[scenes.PROMPT - 2] == scenes.SHAPES[shape - 1]
        # Colours are called by the name of the next.
        assert row[scenes.PROMPT] == scenes.COLOURS[colour % 6]
    # The object is there: its cell is far from the ground, an empty one is not.
    cells = drawn.pictures.unfold(2, 8, 8).unfold(3, 8, 8).flatten(2, 3)
    spread = cells.permute(0, 2, 1, 3, 4).flatten(2).std(2)
    assert spread[drawn.contents[..., 0] > 0].min() > spread[drawn.contents[..., 0] == 0].max()


def test_pictures_are_cut_as_by_the_image_processor():
    picture = (scenes.draw(3, stream()).pictures + 1) / 2
    processor = hf.Qwen2VLImageProcessorPil(
        patch_size=4,
        merge_size=2,
        do_rescale=False,
        do_resize=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    theirs = processor(images=[p.permute(1, 2, 0).numpy() for p in picture], return_tensors="pt")
    torch.testing.assert_close(
        models._flat_patches(picture * 2 - 1), theirs["pixel_values"], atol=1e-6, rtol=0
    )


def test_places_are_those_of_the_model():
    qwen, words = models.build("qwen2.5-vl"), scenes.draw(2, stream()).words
    theirs, _ = qwen.model.get_rope_index(
        words, mm_token_type_ids=(words == 0).int(), image_grid_thw=torch.tensor([[1, 6, 6]] * 2)
    )
    assert torch.equal(models._places(words.shape[1]).expand(3, 2, -1), theirs)


@pytest.mark.parametrize("gain", [1.0, 3.0])
def test_visual_tokens_have_the_variance_asked_for(model, gain):
    drawn = scenes.draw(4, stream())
    visual = models.see(model, drawn.pictures)
    seen = []
    hook = (
        models.text_model(model)
        .layers[0]
        .register_forward_pre_hook(
            lambda _, args, kwargs: seen.append((*args, *kwargs.values())[0]), with_kwargs=True
        )
    )
    with torch.no_grad():
        models.speak(model, drawn.words, visual, gain)
    hook.remove()
    power = seen[0][:, 1 : 1 + scenes.PATCHES].square().mean((1, 2))
    words = model.get_input_embeddings().weight.square().mean()
    torch.testing.assert_close(power, (gain * words).expand(4), rtol=1e-4, atol=0)


@pytest.mark.parametrize("method", adapters.METHODS)
def test_adapted_models_begin_as_the_base_unless_quantised(base, given, method):
    changed, draw = copy.deepcopy(base), task.drawing(base, given, batch=16)
    inputs = attach.inputs_of(models.text_model(base), lambda: draw(stream()))
    made = attach.attach(models.text_model(changed), method, rank=4, generator=stream(), inputs=inputs)
    before, after = (models.speak(m, given.words, given.visual).detach() for m in (base, changed))
    off = float((after - before).norm() / before.norm())
    # Rounding of six layers against an error of 5 % or more in every weight.
    assert off > 1e-3 if method in adapters.QUANTISED else off < 1e-4
    trained = sum(p.numel() for p in changed.parameters() if p.requires_grad)
    assert (
        trained
        == sum(a.trainable for a in made.values())
        == 4 * sum(sum(a.base.shape) for a in made.values())
    )


@pytest.mark.parametrize("method", ["lora", "pissa", "full"])
def test_logged_norms_are_the_closed_forms_and_split_by_token(base, given, method):
    how = training.Adaptation(method, rank=4, steps=1)

    def run(mask):
        model = copy.deepcopy(base)
        draw = task.drawing(model, given, batch=16)

        def masked(generator):
            loss, visual = draw(generator)
            return loss, visual if mask is None else torch.full_like(visual, mask)

        return training.adapt(models.text_model(model), how, masked)[0]

    split, every, none = run(None), run(True), run(False)
    assert math.isclose(every["visual"], every["norm"], rel_tol=1e-4) and every["text"] < 1e-4 * every["norm"]
    assert math.isclose(none["text"], none["norm"], rel_tol=1e-4) and none["visual"] == 0
    assert abs(split["visual"] - split["text"]) <= split["norm"] <= split["visual"] + split["text"]
    if method == "full":
        return
    whole = copy.deepcopy(base)
    layers = attach.linear_layers(models.text_model(whole))
    for layer in layers.values():
        layer.weight.requires_grad_(True)
    task.drawing(whole, given, batch=16)(stream(training.SEED))[0].backward()
    generator, squares = stream(training.START), {"A": 0.0, "B": 0.0}
    for layer in layers.values():
        start = adapters.initialise(layer.weight, method, rank=4, generator=generator)
        found = adapters.first_gradient(start, layer.weight.grad)
        squares["A"] += found.norm_A**2
        squares["B"] += found.norm_B**2
    for side, square in squares.items():
        assert math.isclose(split[side], math.sqrt(square), rel_tol=1e-4, abs_tol=1e-6)


def test_adaptation_learns_and_is_reproduced(base, given):
    how = training.Adaptation("pissa", rank=4, rate=5e-3, steps=12)

    def history():
        model = copy.deepcopy(base)
        return training.adapt(models.text_model(model), how, task.drawing(model, given, batch=16))

    first, second = history(), history()
    assert first == second
    assert first[-1]["loss"] < 0.8 * first[0]["loss"]


def test_rates_rise_and_fall():
    how = training.Adaptation("lora", rate=1.0, steps=100)
    rates = [how.rate_at(step) for step in range(100)]
    assert rates[9] == rates[10] == 1.0 and rates[0] == 0.1 and rates[-1] < 1e-3
    assert (np.diff(rates[:10]) > 0).all() and (np.diff(rates[10:]) < 0).all()


def test_unknown_names_are_told(base):
    with pytest.raises(ValueError, match=r"must be one of qwen2.5-vl, idefics3"):
        models.build("llava")
    with pytest.raises(ValueError, match="must be one of train, test, held-out"):
        scenes.draw(1, stream(), split="validation")
    with pytest.raises(ValueError, match="no linear layers named k"):
        attach.attach(base, "lora", rank=2, targets=("k",))


@pytest.mark.parametrize(
    "name", [n for s in ("cpu", "gpu") for n in registry.names(s) if n.startswith(("adapters", "base"))]
)
def test_experiments_run_in_their_smoke_form(name):
    experiment = registry.get(name, "smoke")
    arm = experiment.arms[-1]
    run = registry.run_of(experiment, arm, 0, arm.grid[0] if arm.grid else arm.options, None)
    images = run.images()
    course = run.trainer(images, None, steps=2)
    course.run(until=0)
    assert course.step == 0 and not course.history
    with pytest.raises(ValueError, match="no step to stop at but 2"):
        course.run(until=1)
    assert len(course.run()) == course.step == 2
    rows, shown = run.judge(course, images, 2)
    assert all(np.isfinite(row.value) for row in rows) and shown.shape[1:] == (3, 24, 24)
    if isinstance(experiment, Adapting):
        assert {"loss test", "accuracy held-out", "trainable"} <= {row.measure for row in rows}
        assert set(run.recorded) <= set(course.history[0])
        assert run.criterion()[0] == "loss validation" and run.distance(course, images)[0] > 0


def test_arms_of_one_rank_train_equally_many_numbers():
    experiment = registry.get("adapters-qwen2.5-vl", "smoke")
    counts = set()
    for arm in experiment.arms[::5]:
        run = registry.run_of(experiment, arm, 0, {"rate": 1e-3}, None)
        course = run.trainer(run.images(), None, steps=1)
        course.run()
        rows = run.judge(course, run.images(), 1)[0]
        counts.add((arm.method == "full", next(r.value for r in rows if r.measure == "trainable")))
    assert len(counts) == 2 and max(counts)[1] > 5 * min(counts)[1]


def test_a_rate_at_which_training_fails_is_never_chosen():
    experiment = Adapting("x", arms=(AdapterArm("lora", "lora"),)).smoke()
    run = registry.run_of(experiment, experiment.arms[0], 0, {"rate": 1e30}, None)
    course = run.trainer(run.images(), None, steps=2)
    course.run()
    assert run.distance(course, run.images()) == (math.inf, 0.0)


def test_sizes_of_the_sources_are_configured():
    for name, model in (
        ("adapters-qwen2.5-vl-7b", "qwen2.5-vl-7b"),
        ("adapters-llama-3.2-11b-vision", "llama-3.2-11b-vision"),
    ):
        found = registry.get(name, "gpu")
        assert isinstance(found, HubAdapting) and found.model == model
        assert found.budgets[-1] * found.batch * found.accumulate == found.data.count == 30_000
        assert {arm.rank for arm in found.arms} == {8} and found.seeds == 5
    assert isinstance(registry.get("base-idefics3"), Pretraining)
