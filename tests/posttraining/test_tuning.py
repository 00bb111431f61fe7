"""SFT, LoRA and DPO are runs like any other: they repeat, go on where they stopped, and do not depend on the mesh."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from llmjp_jax.checkpoints import CheckpointConfig, best_step, load_model, read_run, saved_steps
from llmjp_jax.errors import UserError
from llmjp_jax.inputs import ExamplesConfig, batch_at
from llmjp_jax.models import adapters_of, disassemble, without_adapters
from llmjp_jax.parallel import MeshConfig, make_mesh
from llmjp_jax.posttraining import DPO
from llmjp_jax.training import EvaluationConfig, Trainer, read_metrics, running, train
from llmjp_jax.training.data import open_data
from tests.posttraining.conftest import LENGTH, model_of
from tests.training.test_loop import same, step_losses


@pytest.fixture
def kinds(tuning_arguments, files):
    """Arguments of a run of each kind, by name."""
    pairs = ExamplesConfig(
        train_files=files["pairs"], validation_files=files["held_out_pairs"], template="v1.0"
    )
    dropout = dataclasses.replace(model_of("llama", lora=True).lora, dropout=0.1)
    lora = {"model": model_of("llama", lora=True), "initial_checkpoint_path": tuning_arguments["initial_checkpoint_path"]}  # fmt: skip
    dpo = {"objective": DPO(beta=0.5), "examples": pairs, "sequence_length": LENGTH * 2}
    return {
        "sft": tuning_arguments,
        "sft_padded": tuning_arguments
        | {"examples": dataclasses.replace(tuning_arguments["examples"], packing=False)},
        "lora": tuning_arguments
        | lora
        | {"model": dataclasses.replace(lora["model"], lora=dropout)},
        "dpo": tuning_arguments | dpo,
        "dpo_lora": tuning_arguments | dpo | lora | {"objective": DPO(beta=0.5, reference="base")},
    }


KINDS = ["sft", "sft_padded", "lora", "dpo", "dpo_lora"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_cut_into_pieces_equals_one_in_one_piece(kind, kinds, tmp_path, monkeypatch):
    arguments = kinds[kind]
    whole = train(**arguments)
    pieces = arguments | {"model_dir": str(tmp_path / "pieces")}
    take_step = running.Run.step
    for cut in (3, 5):

        def step_and_die(self, state, batch, step, cut=cut):
            if step > cut:
                raise KeyboardInterrupt
            return take_step(self, state, batch, step)

        monkeypatch.setattr(running.Run, "step", step_and_die)
        with pytest.raises(KeyboardInterrupt):
            train(**pieces)
    monkeypatch.setattr(running.Run, "step", take_step)
    assert same(whole.weights, train(**pieces).weights)
    assert step_losses(tmp_path / "pieces") == step_losses(arguments["model_dir"])


@pytest.mark.parametrize("kind", KINDS)
def test_losses_do_not_depend_on_the_mesh(kind, kinds, tmp_path):
    arguments = kinds[kind]
    losses = []
    for name, mesh in (
        ("one", MeshConfig(data=8)),
        ("split", MeshConfig(data=1, fsdp=2, tensor=2, context=2)),
    ):
        train(**arguments | {"model_dir": str(tmp_path / name), "mesh": mesh})
        losses.append([loss for _, loss in sorted(step_losses(tmp_path / name).items())])
    assert len(losses[0]) == 6
    np.testing.assert_allclose(losses[1], losses[0], atol=1e-5)


@pytest.mark.parametrize("kind", ["sft", "lora"])
def test_a_model_learns_its_examples(kind, kinds):
    arguments = kinds[kind] | {"total_steps": None, "epochs": 12}
    train(**arguments)
    losses = step_losses(arguments["model_dir"])
    assert losses[max(losses)] < losses[1] - (1 if kind == "sft" else 0.1)


@pytest.mark.parametrize("kind", ["dpo", "dpo_lora"])
def test_dpo_tells_the_chosen_from_the_rejected_in_pairs_that_it_has_not_seen(kind, kinds):
    arguments = kinds[kind] | {"total_steps": None, "epochs": 8}
    train(**arguments)
    records = read_metrics(Path(arguments["model_dir"]) / "metrics.jsonl")
    first = next(record for record in records if "reward_accuracy" in record)
    assert first["loss"] == pytest.approx(np.log(2), abs=1e-4), "policy and reference begin equal"
    (last,) = [r["validation"] for r in records if "validation" in r][-1].values()
    assert last["reward_accuracy"] > 0.9 and last["pairs"] == 8


def test_the_cached_reference_is_that_of_the_base_under_the_adapters(kinds, tmp_path):
    losses = []
    for reference in ("cached", "base"):
        arguments = kinds["dpo_lora"] | {
            "model_dir": str(tmp_path / reference), "objective": DPO(beta=0.5, reference=reference)}  # fmt: skip
        train(**arguments)
        losses.append(list(step_losses(tmp_path / reference).values()))
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-5)


def test_a_lora_run_keeps_its_adapters_alone(kinds, bases):
    arguments = kinds["lora"]
    state = train(**arguments)
    directory = Path(arguments["model_dir"])
    assert read_run(directory)["base"] == {"path": str(Path(bases["llama"]).resolve()), "step": None}  # fmt: skip
    moments = jax.tree.leaves(state.optimizer)
    assert sum(leaf.size for leaf in moments) < 2.1 * sum(
        leaf.size for leaf in jax.tree.leaves(state.parameters)
    )
    _, base = load_model(bases["llama"])
    config, decoder = load_model(directory)
    loaded = disassemble(decoder)
    assert config.lora == arguments["model"].lora
    assert same(without_adapters(loaded), disassemble(base)), "the base is untouched"
    assert same(adapters_of(loaded), state.parameters)
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file() and "checkpoints" in str(path))  # fmt: skip
    assert size < 6 * 2_000_000


def test_frozen_matrices_in_bfloat16_change_no_number_of_a_bfloat16_run(kinds, tmp_path):
    arguments = kinds["lora"] | {"model": dataclasses.replace(kinds["lora"]["model"], dtype="bfloat16")}  # fmt: skip
    state = train(**arguments)
    dtypes = {leaf.dtype.name for leaf in jax.tree.leaves(state.frozen)}
    assert dtypes == {"bfloat16", "float32"}, "matrices, and the norms' scales"
    trainer_state = Trainer._fresh_state
    try:  # The same with frozen matrices in float32, which each product casts.
        from llmjp_jax.training import trainer as module

        whole, module.as_frozen = module.as_frozen, lambda parameters, model: parameters
        again = train(**arguments | {"model_dir": str(tmp_path / "whole")})
    finally:
        module.as_frozen = whole
    assert Trainer._fresh_state is trainer_state
    assert same(state.parameters, again.parameters)


def test_tuning_goes_on_from_a_run_from_an_adapter_and_from_its_best_step(kinds, tmp_path):
    first = kinds["sft"]
    train(**first)
    # From a run.
    second = kinds["lora"] | {"model_dir": str(tmp_path / "second"), "initial_checkpoint_path": first["model_dir"]}  # fmt: skip
    adapted = train(**second)
    assert read_run(tmp_path / "second")["base"]["step"] == 6
    # From an adapter: it is trained on where the model has the same, and merged where it has none.
    third = second | {"model_dir": str(tmp_path / "third"), "initial_checkpoint_path": second["model_dir"], "total_steps": 1}  # fmt: skip
    third["optimizer"] = dataclasses.replace(third["optimizer"], warmup_fraction=None, warmup_steps=1, decay_steps=9)  # fmt: skip
    assert same(adapted.parameters, train(**third).parameters), "the first update has rate 0"
    assert read_run(tmp_path / "third")["base"]["path"] == first["model_dir"]
    _, decoder = load_model(tmp_path / "third")
    assert same(adapters_of(disassemble(decoder)), adapted.parameters)
    merged = third | {"model_dir": str(tmp_path / "merged"), "model": model_of("llama")}
    state = train(**merged)
    _, base = load_model(first["model_dir"])
    change = np.abs(np.asarray(state.weights["blocks"]["mlp"]["up"]["kernel"]) - np.asarray(base.blocks.mlp.up.kernel[...]))  # fmt: skip
    assert change.max() > 0
    other = dataclasses.replace(model_of("llama", lora=True).lora, rank=2)
    with pytest.raises(UserError, match="lora.*rank"):
        train(**third | {"model_dir": str(tmp_path / "no"), "model": dataclasses.replace(third["model"], lora=other)})  # fmt: skip


def test_the_step_with_the_lowest_validation_loss_is_kept_beside_the_newest(kinds):
    # The learning rate rises beyond all measure: it learns at first, and loses everything later.
    rising = dataclasses.replace(
        kinds["sft"]["optimizer"], learning_rate=3.0, warmup_fraction=0.95, schedule="constant"
    )
    arguments = kinds["sft"] | {
        "total_steps": 20,
        "optimizer": rising,
        "checkpoints": CheckpointConfig(period=2, keep=1, keep_best=True),
        "evaluation": EvaluationConfig(period=2),
    }
    train(**arguments)
    directory = Path(arguments["model_dir"])
    losses = {
        record["step"]: next(iter(record["validation"].values()))["loss"]
        for record in read_metrics(directory / "metrics.jsonl")
        if "validation" in record
    }
    best = min(losses, key=losses.get)
    assert best_step(directory) == best and best < 20, losses
    assert saved_steps(directory) == sorted({best, 20})
    without = dataclasses.replace(arguments["examples"], validation_files=None)
    with pytest.raises(UserError, match="keep_best = True needs a validation split"):
        train(**arguments | {"examples": without})


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("padded", [False, True])
def test_the_loss_of_a_packed_batch_is_that_of_its_examples_one_by_one(family, padded, tuning_arguments, bases):  # fmt: skip
    config = dataclasses.replace(tuning_arguments["examples"], packing=not padded)
    model = model_of(family)
    _, inputs, _ = open_data(
        model, tuning_arguments["vocabulary"], tuning_arguments["cache_dir"], None, config, sequence_length=LENGTH,
        batch_size=4, seed=0, document_mask=False, order="windows", total_steps=None,
    )  # fmt: skip
    trainer = Trainer(
        model=model, optimizer=tuning_arguments["optimizer"].over(10), mesh=make_mesh(MeshConfig(), jax.devices()[:1]),
        batch_size=4, sequence_length=LENGTH, document_mask=True, longest=inputs.longest,
    )  # fmt: skip
    weights = disassemble(load_model(bases[family])[1])
    batch = batch_at(inputs, 1)
    report, tokens = trainer.evaluate(weights, trainer.put(batch))
    assert padded or batch["segment_ids"].max() > 1
    total = count = 0.0
    for row in range(4):
        for segment in range(1, batch["segment_ids"][row].max() + 1):
            one = {field: np.zeros((4, LENGTH), array.dtype) for field, array in batch.items()}
            mine = batch["segment_ids"][row] == segment
            for field, array in batch.items():
                one[field][0, : mine.sum()] = array[row, mine]
            one["segment_ids"] = np.minimum(one["segment_ids"], 1)
            alone, number = trainer.evaluate(weights, trainer.put(one))
            total, count = total + float(alone["loss"]), count + float(number)
    assert count == float(tokens) > 0
    assert float(report["loss"]) == pytest.approx(total, rel=1e-5)


def test_what_does_not_fit_is_said_before_anything_is_written(kinds, tmp_path, files):
    def refused(match, **changes):
        arguments = kinds["sft"] | {"model_dir": str(tmp_path / "refused")} | changes
        with pytest.raises(UserError, match=match):
            train(**arguments)
        assert not (tmp_path / "refused").exists()

    refused("one of TRAIN_STEPS and EPOCHS", epochs=2)
    refused("must be a positive number", total_steps=None, epochs=-1)
    refused("INITIAL_CHECKPOINT_PATH", model=model_of("llama", lora=True), initial_checkpoint_path=None)  # fmt: skip
    refused("needs pairs", objective=DPO())
    pairs = ExamplesConfig(train_files=files["pairs"], template="v1.0")
    refused("pairs", examples=pairs)
    refused("no step 7|has no step", initial_checkpoint_step=7)
    mixed = ExamplesConfig(train_files=files["examples"], validation_files=files["held_out_pairs"], template="v1.0")  # fmt: skip
    refused("are pairs", examples=mixed)
    refused("all of them warm-up", total_steps=1, batch_size=64)
    padded = ExamplesConfig(train_files=files["examples"], template="v1.0", packing=False, buckets=(99, LENGTH))  # fmt: skip
    refused(r"loss_chunks = 4 must divide the padded rows' length = 99", examples=padded, model=model_of("llama", loss_chunks=4))  # fmt: skip
    refused("99 is not divisible", examples=padded, mesh=MeshConfig(data=4, context=2))
    broken = tmp_path / "broken.jsonl"
    broken.write_text(json.dumps({"instruction": "あ", "output": "い"}) + "\n" + json.dumps({"instruction": "う"}) + "\n")  # fmt: skip
    refused(r"broken.jsonl.*line 2", examples=ExamplesConfig(train_files=str(broken)))


def test_a_reference_under_adapters_that_go_on_is_refused(kinds, tmp_path):
    train(**kinds["lora"])
    again = kinds["dpo_lora"] | {"model_dir": str(tmp_path / "dpo"), "initial_checkpoint_path": kinds["lora"]["model_dir"]}  # fmt: skip
    with pytest.raises(UserError, match="set DPO.reference = 'cached'"):
        train(**again)
    cached = again | {"objective": DPO(beta=0.5)}
    train(**cached)
    first = read_metrics(tmp_path / "dpo" / "metrics.jsonl")[0]
    assert first["loss"] == pytest.approx(np.log(2), abs=1e-4)


def test_a_damaged_reference_is_computed_anew(kinds, tmp_path):
    arguments = kinds["dpo"]
    train(**arguments | {"total_steps": 2, "checkpoints": CheckpointConfig(period=1)})
    (array,) = (Path(arguments["model_dir"]) / "reference" / "train").glob("*.npy")
    before = array.read_bytes()
    array.write_bytes(before[: len(before) // 2])
    with pytest.raises(UserError, match="decay_steps"):
        train(**arguments)  # another number of steps is another run
    train(**arguments | {"total_steps": 2, "checkpoints": CheckpointConfig(period=1)})
    assert array.read_bytes() == before


def test_a_base_whose_step_is_gone_is_named(kinds, tmp_path):
    base = kinds["sft"] | {"checkpoints": CheckpointConfig(period=2, keep=1)}
    train(**base)
    tuned = kinds["lora"] | {"model_dir": str(tmp_path / "tuned"), "initial_checkpoint_path": base["model_dir"]}  # fmt: skip
    train(**tuned)
    step = Path(base["model_dir"]) / "checkpoints" / "6"
    step.rename(step.with_name("7"))
    with pytest.raises(UserError, match=r"tuned holds adapters alone, over step 6 of .*run"):
        load_model(tmp_path / "tuned")


def test_a_last_step_validated_in_part_alone_is_validated_whole_after_a_restart(kinds):
    arguments = kinds["sft"] | {
        "checkpoints": CheckpointConfig(period=3, keep_best=True),
        "evaluation": EvaluationConfig(period=3, batches=1),
    }
    train(**arguments)
    metrics = Path(arguments["model_dir"]) / "metrics.jsonl"
    *before, last = metrics.read_text().splitlines(keepends=True)
    assert "validation_batches" in before[-1] and "validation_batches" not in last
    metrics.write_text("".join(before))  # as if it had been killed between the two
    train(**arguments)
    assert metrics.read_text().splitlines(keepends=True)[-1] == last
