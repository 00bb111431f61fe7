"""DPO's loss, rewards and gradients are TRL's, however the pairs lie in rows and wherever the reference comes from."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from llmjp_jax.checkpoints import load_peft, save_peft
from llmjp_jax.errors import UserError
from llmjp_jax.models import assemble, disassemble, join
from llmjp_jax.parallel import MeshConfig, make_mesh
from llmjp_jax.posttraining import DPO
from llmjp_jax.posttraining.dpo import by_pair
from llmjp_jax.training import OptimizerConfig, Trainer
from tests.training.conftest import OPTIMIZER

ADAPTERS = ("gpt2_r8", "llama_mha_r8")
LENGTH = 64


@pytest.fixture(scope="module")
def expected(shared_data):
    return json.loads((shared_data / "parity" / "sft" / "dpo_expected.json").read_text())


@pytest.fixture(scope="module", params=ADAPTERS)
def case(request, expected, shared_data):
    """(TRL's numbers, model config, parameters with adapters, batch with a pair in each row)."""
    run = expected["runs"][request.param]
    config, decoder = load_peft(
        shared_data / "parity" / run["adapter"], base=shared_data / "parity" / run["base"]
    )
    arrays = np.load(shared_data / "parity" / "sft" / "dpo_batch.npz")
    sides = {
        side: {
            field: arrays[f"{request.param}/{side}_{field}"]
            for field in ("input_ids", "attention_mask", "labels")
        }
        for side in ("chosen", "rejected")
    }
    # As LLM-jp's adapters, but TRL's numbers are without dropout.
    lora = dataclasses.replace(config.lora, dropout=0.0)
    config = dataclasses.replace(config, lora=lora, dropout=0.0, attention_dropout=0.0)
    return run, config, disassemble(decoder), rows_of(sides)


def rows_of(sides: dict) -> dict[str, np.ndarray]:
    """TRL's right-padded tables as rows of two segments."""
    pairs = len(sides["chosen"]["input_ids"])
    batch = {
        field: np.zeros((pairs, LENGTH), np.int32)
        for field in ("tokens", "targets", "segment_ids", "positions")
    }
    batch["loss_weights"] = np.zeros((pairs, LENGTH), np.float32)
    for pair in range(pairs):
        at = 0
        for segment, side in enumerate(("chosen", "rejected"), 1):
            one = {field: table[pair] for field, table in sides[side].items()}
            ids, labels = (
                one[field][one["attention_mask"] == 1] for field in ("input_ids", "labels")
            )
            place = slice(at, at + len(ids) - 1)
            batch["tokens"][pair, place], batch["targets"][pair, place] = ids[:-1], ids[1:]
            batch["loss_weights"][pair, place] = labels[1:] != -100
            batch["segment_ids"][pair, place] = segment
            batch["positions"][pair, place] = np.arange(len(ids) - 1)
            at += len(ids) - 1
    return batch


def trainer_of(config, batch, objective, mesh=None, devices=1, **options) -> Trainer:
    return Trainer(
        model=config, optimizer=OptimizerConfig(**OPTIMIZER), objective=objective,
        mesh=make_mesh(mesh or MeshConfig(), jax.devices()[:devices]), batch_size=len(batch["tokens"]),
        sequence_length=LENGTH, document_mask=True, longest=LENGTH // 2, **options,
    )  # fmt: skip


def state_and_batch(trainer: Trainer, parameters, batch):
    """The state of these parameters, and the batch with the log-probabilities of the model under the adapters."""
    state = trainer.initial_state(jax.tree.map(jnp.copy, parameters))
    if "reference" in trainer.goal.fields:
        base = jax.tree.map(jnp.copy, parameters)
        base = jax.tree_util.tree_map_with_path(
            lambda path, x: jnp.zeros_like(x) if any(k.key == "lora" for k in path) else x, base
        )
        scores = trainer.score(
            jax.device_put(base, trainer.weight_shardings), trainer.put(batch, trainer.text_fields)
        )
        batch = batch | {"reference": np.asarray(scores)}
    return state, trainer.put(batch)


def test_the_loss_of_given_log_probabilities_is_trls(expected):
    formula = expected["formula"]
    chosen = np.array(formula["policy_chosen"]) - np.array(formula["ref_chosen"])
    rejected = np.array(formula["policy_rejected"]) - np.array(formula["ref_rejected"])
    for result in formula["results"]:
        margin = result["beta"] * (chosen - rejected)
        losses = DPO(beta=result["beta"]).losses(jnp.asarray(margin, jnp.float32))
        np.testing.assert_allclose(losses, result["losses"], atol=1e-5)


@pytest.mark.parametrize("reference", ["cached", "base"])
def test_loss_rewards_and_log_probabilities_of_a_batch_are_trls(case, reference):
    run, config, parameters, batch = case
    trainer = trainer_of(config, batch, DPO(reference=reference))
    state, arrays = state_and_batch(trainer, parameters, batch)
    report, total = jax.device_get(trainer.evaluate(state.weights, arrays))
    found = {name: float(value) / float(total) for name, value in report.items()}
    assert total == len(batch["tokens"])
    metrics = run["metrics"]
    assert found["loss"] == pytest.approx(run["loss"], abs=1e-5)
    for ours, theirs in (
        ("reward_chosen", "rewards/chosen"),
        ("reward_rejected", "rewards/rejected"),
        ("reward_margin", "rewards/margins"),
        ("reward_accuracy", "rewards/accuracies"),
    ):
        assert found[ours] == pytest.approx(metrics[theirs], abs=1e-5), ours
    for ours, theirs in (("log_p_chosen", "logps/chosen"), ("log_p_rejected", "logps/rejected")):
        assert found[ours] == pytest.approx(metrics[theirs], abs=1e-4), ours


def test_the_gradient_of_every_adapter_is_trls(case, tmp_path):
    run, config, parameters, batch = case
    trainer = trainer_of(config, batch, DPO())
    state, arrays = state_and_batch(trainer, parameters, batch)
    gradients = jax.jit(lambda state, arrays: trainer._gradients(state, arrays)[0])(state, arrays)
    # An adapter's gradient has the adapter's shapes, and so goes to the same tensors of peft.
    save_peft(
        assemble(trainer.definition, join(state.frozen, gradients)), config, tmp_path / "g", "x"
    )
    tensors = load_file(tmp_path / "g" / "adapter_model.safetensors")
    assert set(tensors) == set(run["lora_grad_l2"])
    for name, norm in run["lora_grad_l2"].items():
        assert np.linalg.norm(tensors[name]) == pytest.approx(norm, rel=1e-4, abs=1e-6), name


def packed(batch: dict, pairs: int) -> dict:
    """The same pairs, `pairs` of them in each row."""
    rows = len(batch["tokens"]) // pairs
    joined = {
        field: np.zeros((rows, LENGTH * pairs), array.dtype) for field, array in batch.items()
    }
    for row in range(rows):
        at = 0
        for k in range(pairs):
            used = batch["segment_ids"][row * pairs + k] > 0
            for field, array in batch.items():
                values = array[row * pairs + k][used]
                values = values + 2 * k if field == "segment_ids" else values
                joined[field][row, at : at + used.sum()] = values
            at += used.sum()
    return joined


def test_pairs_in_one_row_do_not_see_each_other(case):
    _, config, parameters, batch = case
    reports = []
    for rows in (batch, packed(batch, 2), packed(batch, 4)):
        trainer = trainer_of(config, rows, DPO(reference="base"))
        state, arrays = state_and_batch(trainer, parameters, rows)
        reports.append(jax.device_get(trainer.evaluate(state.weights, arrays)))
    for report, total in reports[1:]:
        assert total == reports[0][1] == 4
        for name, value in report.items():
            assert float(value) == pytest.approx(float(reports[0][0][name]), abs=1e-4), name


@pytest.mark.parametrize(
    "mesh, options",
    [
        (MeshConfig(data=4, fsdp=2), {}),
        (MeshConfig(data=2, fsdp=2, context=2), {"accumulation": 2}),
        (MeshConfig(data=1, fsdp=2, context=4), {}),
    ],
    ids=str,
)
def test_a_step_does_not_depend_on_mesh_or_accumulation(case, mesh, options):
    _, config, parameters, batch = case
    batch = {field: np.concatenate([array] * 2) for field, array in batch.items()}
    results = []
    for trainer in (
        trainer_of(config, batch, DPO()),
        trainer_of(config, batch, DPO(), mesh, 8, **options),
    ):
        state, arrays = state_and_batch(trainer, parameters, batch)
        state, metrics = trainer.step(state, arrays)
        results.append(jax.device_get(metrics))
    assert results[0]["pairs"] == results[1]["pairs"] == 8
    for name in ("loss", "reward_margin", "gradient_norm"):
        assert results[1][name] == pytest.approx(results[0][name], abs=1e-5, rel=1e-5), name


def test_sums_are_of_each_pairs_own_tokens():
    values = jnp.array([[1.0, 2, 3, 4, 5, 6, 0, 0]])
    segments = jnp.array([[1, 1, 2, 3, 3, 4, 0, 0]])
    chosen, rejected, exists = by_pair(values, segments)
    assert chosen[0, :2].tolist() == [3, 9] and rejected[0, :2].tolist() == [3, 6]
    assert exists[0].tolist() == [True, True, False, False]


def test_a_mistake_in_the_configuration_is_named(case):
    _, config, _, batch = case
    with pytest.raises(UserError, match=r"DPO.beta = 0 must be positive"):
        DPO(beta=0)
    with pytest.raises(UserError, match=r"DPO.reference = 'ref' must be 'cached' or 'base'"):
        DPO(reference="ref")
    with pytest.raises(UserError, match="without adapters"):
        trainer_of(dataclasses.replace(config, lora=None), batch, DPO(reference="base"))
    with pytest.raises(UserError, match="z_loss"):
        trainer_of(config, batch, DPO(), z_loss=1e-4)
