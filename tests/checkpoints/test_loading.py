"""One door for every kind of model; runs that trained adapters; the best checkpoint and which ones are kept."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from llmjp_jax.checkpoints import (
    CheckpointConfig,
    Checkpoints,
    base_of,
    best_step,
    load_hf,
    load_model,
    load_run,
    merged,
    resolved_step,
    save_hf,
    save_peft,
    save_run,
    saved_steps,
    vocabulary_path,
)
from llmjp_jax.errors import UserError
from llmjp_jax.models import (
    Decoder,
    LoraConfig,
    ModelConfig,
    abstract_decoder,
    adapters_of,
    assemble,
    disassemble,
    join,
    without_adapters,
)
from llmjp_jax.parallel import MeshConfig, make_mesh

MODEL = ModelConfig(
    vocab_size=64, layers=2, embed=16, heads=2, mlp=24, max_length=16, position="rope", norm="rmsnorm",
    activation="swiglu", bias=False, tied_embeddings=False,
)  # fmt: skip
LORA = LoraConfig(rank=2, alpha=4, dropout=0.1, targets=("query", "down", "head"))
ADAPTED = dataclasses.replace(MODEL, lora=LORA)


@pytest.fixture
def base(tmp_path):
    save_hf(Decoder(MODEL), MODEL, tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def run(base, tmp_path):
    """A run's directory as training leaves it: adapters at steps 2 and 4 over the Hugging Face model `base`."""
    return write_run(tmp_path / "run", base, None, {2: 0.1, 4: 0.2})


def write_run(directory, base, base_step, spread):
    checkpoints = Checkpoints(directory, CheckpointConfig(keep_best=True))
    for step, size in spread.items():
        checkpoints.save(step, adapters(size), {"count": np.zeros(())}, validation_loss=size)
    checkpoints.close()
    record = {"model": dataclasses.asdict(ADAPTED), "base": {"path": str(base), "step": base_step}}
    (directory / "run.json").write_text(json.dumps(record))
    return directory


def adapters(size):
    return jax.tree.map(
        lambda leaf: size * jax.random.normal(jax.random.key(leaf.size), leaf.shape),
        adapters_of(disassemble(Decoder(ADAPTED))),
    )


def same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def whole(base, size):
    return join(disassemble(load_hf(base)[1]), adapters(size))


# Runs of adapters


def test_a_run_of_adapters_loads_with_the_model_under_them(run, base):
    config, decoder = load_model(run)
    assert config == ADAPTED
    same(disassemble(decoder), whole(base, 0.2))
    same(disassemble(load_run(run, step=2)[1]), whole(base, 0.1))
    same(disassemble(load_model(run, step="best")[1]), whole(base, 0.1))
    assert base_of(run) == base
    stored = sum(file.stat().st_size for file in (run / "checkpoints" / "4").rglob("*"))
    assert stored < 4 * sum(leaf.size for leaf in jax.tree.leaves(disassemble(decoder))) + 60_000


def test_it_lies_on_a_mesh_as_its_layout_says(run, base):
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2), jax.devices())
    config, decoder = load_model(run, mesh=mesh, dtype="bfloat16")
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(disassemble(decoder))} == {"bfloat16"}
    a = decoder.blocks.attention.query.lora.a[...]
    assert a.shape == (2, 16, 2) and a.sharding.shard_shape(a.shape) == (2, 8, 2)
    _, decoder = merged(*load_model(run, mesh=mesh))
    expected = disassemble(merged(*load_model(run))[1])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), disassemble(decoder), expected)  # fmt: skip


def test_a_run_over_a_run_over_a_run_keeps_the_lowest_model_and_its_own_adapters(
    run, base, tmp_path
):
    save_run(load_hf(base)[1], MODEL, tmp_path / "first")
    second = write_run(tmp_path / "second", tmp_path / "first", 0, {1: 0.3})
    third = write_run(tmp_path / "third", second, 1, {5: 0.4})
    same(disassemble(load_model(third)[1]), whole(base, 0.4))


def test_an_adapter_over_an_adapted_run_merges_what_is_under_it(run, base, tmp_path):
    config, decoder = load_model(run)
    save_peft(decoder, config, tmp_path / "adapter", str(run))
    config, decoder = load_model(tmp_path / "adapter")
    plain, under = merged(*load_model(run))
    assert config == dataclasses.replace(plain, lora=LORA)
    same(without_adapters(disassemble(decoder)), disassemble(under))


def test_a_missing_or_other_base_is_one_sentence_that_names_both(run, base, tmp_path):
    base.rename(tmp_path / "moved")
    with pytest.raises(UserError, match=f"{run} holds adapters alone, .* not at {base}; put it back"):  # fmt: skip
        load_model(run)
    same(disassemble(load_model(run, base=tmp_path / "moved")[1]), whole(tmp_path / "moved", 0.2))
    other = dataclasses.replace(MODEL, layers=1)
    save_hf(Decoder(other), other, base)
    with pytest.raises(UserError, match=f"{base} holds another model than .* {run}"):
        load_model(run)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"base": None}))
    with pytest.raises(UserError, match="run.json has adapters and names no model under them"):
        load_model(run)


def test_what_is_no_model_or_takes_no_step_or_base_is_one_sentence(base, run, tmp_path):
    (tmp_path / "empty").mkdir()
    for path, options, words in [
        (tmp_path / "nowhere", {}, "nowhere is not a folder"),
        (tmp_path / "empty", {}, "neither run.json .* nor config.json .* nor adapter_config.json"),
        (base, {"step": 3}, "is no run and has no step 3"),
        (base, {"step": "best"}, "is no run and has no step 'best'"),
        (base, {"base": base}, "takes no base"),
        (run, {"step": 3}, "has no checkpoint of step 3; it has 2, 4"),
        (run, {"step": "last"}, "step = 'last' must be a whole number, 'best'"),
    ]:
        with pytest.raises(UserError, match=words):
            load_model(path, **options)
    with pytest.raises(UserError, match="holds a whole model and no adapters"):
        base_of(base)
    with pytest.raises(UserError, match="save_run writes whole models; merge the adapters"):
        save_run(load_model(run)[1], ADAPTED, tmp_path / "copy")


def test_merging_uses_no_second_copy_of_what_it_does_not_change(run):
    config, decoder = load_model(run)
    norm, query = decoder.final_norm.scale[...], decoder.blocks.attention.query.kernel[...]
    _, decoder = merged(config, decoder)
    assert norm.is_deleted() and query.is_deleted()
    np.testing.assert_array_equal(decoder.final_norm.scale[...], np.ones(MODEL.embed))


def test_the_vocabulary_is_that_of_the_folder_else_of_the_model_under_an_adapter(
    run, base, tmp_path
):
    config, decoder = load_model(run)
    save_peft(decoder, config, tmp_path / "adapter", str(base))
    (base / "tokenizer.json").write_text("{}")
    assert vocabulary_path(tmp_path / "adapter") == base / "tokenizer.json"
    (tmp_path / "adapter" / "tokenizer.json").write_text("{}")
    assert vocabulary_path(tmp_path / "adapter") == tmp_path / "adapter" / "tokenizer.json"
    with pytest.raises(UserError, match="has no tokenizer.model, and the vocabulary"):
        vocabulary_path(run)


# Which checkpoints are kept


def save(directory, losses, **config):
    checkpoints = Checkpoints(directory, CheckpointConfig(**config))
    for step, loss in losses.items():
        checkpoints.save(step, {"a": np.full(2, step)}, {"m": np.zeros(2)}, validation_loss=loss)
    checkpoints.close()
    return saved_steps(directory)


def test_the_best_is_kept_beside_the_newest_and_across_restarts(tmp_path):
    options = {"keep": 2, "keep_best": True}
    assert save(tmp_path, {1: 3.0, 2: 1.0, 3: 2.0, 4: 2.5, 5: 2.0}, **options) == [2, 4, 5]
    assert best_step(tmp_path) == 2
    assert save(tmp_path, {6: 1.5, 7: 1.6}, **options) == [2, 6, 7]
    assert save(tmp_path, {8: 0.5, 9: 0.9, 10: 0.8, 11: 0.7}, **options) == [8, 10, 11]
    assert best_step(tmp_path) == resolved_step_of_a_run(tmp_path) == 8


def resolved_step_of_a_run(directory):
    (directory / "run.json").write_text("{}")
    return resolved_step(directory, "best")


def test_of_equal_losses_the_newest_is_the_best(tmp_path):
    assert save(tmp_path, {1: 1.0, 2: 1.0, 3: 2.0, 4: 2.0}, keep=1, keep_best=True) == [2, 4]
    assert best_step(tmp_path) == 2


def test_a_loss_that_is_no_number_is_never_the_best_and_periods_are_kept(tmp_path):
    losses = {1: 2.0, 2: float("nan"), 3: 1.0, 4: None, 5: float("inf"), 6: 3.0}
    assert save(tmp_path, losses, keep=1, keep_period=4, keep_best=True) == [3, 4, 6]
    assert best_step(tmp_path) == 3


def test_without_keep_best_nothing_is_the_best(tmp_path):
    assert save(tmp_path, {1: 1.0, 2: 2.0, 3: 3.0}, keep=2) == [2, 3]
    with pytest.raises(UserError, match="no checkpoint of .* has a validation loss"):
        best_step(tmp_path)
    with pytest.raises(UserError, match="CheckpointConfig.keep_best = 'yes' must be True or False"):
        CheckpointConfig(keep_best="yes")


def test_a_best_checkpoint_loads_like_any_other(base, run):
    assert saved_steps(run) == [2, 4] and best_step(run) == 2
    shutil.rmtree(run / "checkpoints" / "2")
    assert best_step(run) == 4
    same(disassemble(load_model(run, step="best")[1]), whole(base, 0.2))
    assert assemble(abstract_decoder(ADAPTED)[0], whole(base, 0.2)).config == load_model(run)[1].config  # fmt: skip
