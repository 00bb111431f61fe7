"""The step is one function, however it is laid out over devices, layers, memory and time."""

import jax
import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.inputs import batch_at, open_inputs
from llmjp_jax.models import ModelConfig
from llmjp_jax.parallel import MeshConfig, make_mesh
from llmjp_jax.training import OptimizerConfig, Trainer
from tests.training.conftest import FAMILIES, LLAMA, OPTIMIZER

STEPS, BATCH, LENGTH = 20, 16, 32


def make_trainer(model: dict, mesh=None, devices: int = 1, **options) -> Trainer:
    mesh = make_mesh(mesh or MeshConfig(), jax.devices()[:devices])
    sizes = {"batch_size": BATCH, "sequence_length": LENGTH, "z_loss": 1e-4}
    return Trainer(
        model=ModelConfig(**model),
        optimizer=OptimizerConfig(**OPTIMIZER),
        mesh=mesh,
        **(sizes | options),
    )


def losses(trainer: Trainer, cache, steps: int = STEPS) -> np.ndarray:
    inputs = open_inputs(
        cache, "tiny", "train", LENGTH, BATCH, seed=1, document_mask=trainer.document_mask
    )
    state, values = trainer.initial_state(), []
    for step in range(steps):
        state, metrics = trainer.step(state, trainer.put(batch_at(inputs, step)))
        values.append(float(metrics["loss"]))
    return np.array(values)


@pytest.fixture(scope="module")
def reference(tiny_cache):
    """Losses of twenty steps on one device, for each family."""
    found = {name: losses(make_trainer(model), tiny_cache) for name, model in FAMILIES.items()}
    for name, values in found.items():
        assert values[-1] < values[0] - 1, f"{name} does not learn: {values}"
    return found


MESHES = [
    MeshConfig(data=8),
    MeshConfig(data=1, fsdp=8),
    MeshConfig(data=2, fsdp=2, tensor=2),
    MeshConfig(data=1, fsdp=2, tensor=2, context=2),
    MeshConfig(data=2, fsdp=1, tensor=1, context=4),
]


@pytest.mark.parametrize(
    "family, mesh",
    [("llama", mesh) for mesh in MESHES] + [("gpt2", mesh) for mesh in MESHES[2:4]],
    ids=lambda value: value if isinstance(value, str) else "x".join(map(str, value.sizes)),
)
def test_losses_of_20_steps_do_not_depend_on_the_mesh(family, mesh, reference, tiny_cache):
    trainer = make_trainer(FAMILIES[family], mesh, devices=8)
    np.testing.assert_allclose(losses(trainer, tiny_cache), reference[family], atol=1e-5)


@pytest.mark.parametrize(
    "change, options",
    [
        ({"unroll": 2}, {}),
        ({"remat": "full"}, {}),
        ({"remat": "dots"}, {}),
        ({"attention": "reference", "barriers": False}, {}),
        ({"loss_chunks": 4}, {}),
        ({}, {"accumulation": 4}),
        ({"unroll": 2, "remat": "full", "loss_chunks": 4}, {"accumulation": 2}),
    ],
    ids=str,
)
def test_losses_of_20_steps_do_not_depend_on_how_they_are_computed(
    change, options, reference, tiny_cache
):
    trainer = make_trainer(LLAMA | change, **options)
    np.testing.assert_allclose(losses(trainer, tiny_cache), reference["llama"], atol=1e-5)


def test_everything_at_once_on_eight_devices_gives_the_same_losses(reference, tiny_cache):
    trainer = make_trainer(
        LLAMA | {"unroll": 2, "remat": "dots", "loss_chunks": 2},
        MeshConfig(data=2, fsdp=2, tensor=2), devices=8, accumulation=2,
    )  # fmt: skip
    np.testing.assert_allclose(losses(trainer, tiny_cache), reference["llama"], atol=1e-5)


def test_a_document_mask_changes_the_losses_and_is_the_same_on_every_mesh(reference, tiny_cache):
    masked = losses(make_trainer(LLAMA, document_mask=True), tiny_cache, 5)
    assert np.abs(masked - reference["llama"][:5]).max() > 1e-3
    spread = make_trainer(
        LLAMA, MeshConfig(data=2, tensor=2, context=2), devices=8, document_mask=True
    )
    np.testing.assert_allclose(losses(spread, tiny_cache, 5), masked, atol=1e-5)


def test_dropout_is_the_same_on_every_mesh_and_absent_from_evaluation(reference, tiny_cache):
    model = FAMILIES["gpt2"] | {"dropout": 0.2, "attention_dropout": 0.2}
    alone = losses(make_trainer(model), tiny_cache, 3)
    assert np.abs(alone - reference["gpt2"][:3]).max() > 1e-3
    spread = losses(make_trainer(model, MeshConfig(data=2, tensor=2), devices=4), tiny_cache, 3)
    np.testing.assert_allclose(spread, alone, atol=1e-5)

    trainer = make_trainer(model)
    batch = trainer.put(batch_at(open_inputs(tiny_cache, "tiny", "train", LENGTH, BATCH), 0))
    state = trainer.initial_state()
    first = float(trainer.evaluate(state.weights, batch)[0]["loss"])
    assert first == float(trainer.evaluate(state.weights, batch)[0]["loss"]), (
        "evaluation must not drop"
    )


def test_optimizer_state_lies_where_its_parameters_lie():
    trainer = make_trainer(LLAMA, MeshConfig(data=1, fsdp=4, tensor=2), devices=8)
    state = trainer.initial_state()
    moments = [part for part in jax.tree.leaves(state.optimizer) if part.ndim > 0]
    held = sum(part.addressable_shards[0].data.nbytes for part in moments)
    whole = sum(part.nbytes for part in moments)
    assert held < whole / 6, f"one device holds {held} of {whole} bytes of Adam's moments"
    kernels = zip(
        jax.tree.leaves(state.parameters), jax.tree.leaves(state.optimizer[0].mu), strict=True
    )
    assert all(parameter.sharding == moment.sharding for parameter, moment in kernels)


def test_the_step_reuses_the_memory_of_the_state(tiny_cache):
    trainer = make_trainer(LLAMA)
    state = trainer.initial_state()
    inputs = open_inputs(tiny_cache, "tiny", "train", LENGTH, BATCH)
    trainer.step(state, trainer.put(batch_at(inputs, 0)))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.parameters, state.optimizer)))


def test_a_process_reads_only_the_rows_its_devices_hold():
    class SecondProcess:
        """The batch's sharding as the second of two processes sees it, which holds devices 4 to 7."""

        def addressable_devices_indices_map(self, shape):
            places = whole.batch_sharding.devices_indices_map(shape)
            return {device: places[device] for device in whole.mesh.devices.flat[4:]}

    whole = make_trainer(LLAMA, MeshConfig(data=4, tensor=2), devices=8)
    assert whole.local_rows == slice(0, BATCH)
    part = make_trainer(LLAMA, MeshConfig(data=4, tensor=2), devices=8)
    part.__dict__["batch_sharding"] = SecondProcess()
    assert part.local_rows == slice(BATCH // 2, BATCH)


@pytest.mark.parametrize(
    "model, mesh, options, field",
    [
        ({"heads": 2, "kv_heads": 2}, {"data": 1, "tensor": 8}, {}, "heads"),
        ({"kv_heads": 2}, {"data": 1, "tensor": 4, "fsdp": 2}, {}, "kv_heads"),
        ({}, {"data": 8}, {"batch_size": 12}, "batch"),
        ({}, {"data": 1, "context": 8}, {"sequence_length": 36}, "length"),
        ({}, {"data": 8}, {"accumulation": 3}, "accumulation"),
        ({}, {"data": 8}, {"accumulation": 4}, "batch"),
        ({}, {"data": 8}, {"sequence_length": 128}, "sequence_length"),
        ({"loss_chunks": 3}, {"data": 8}, {}, "loss_chunks"),
        ({}, {"data": 3}, {}, "mesh"),
    ],
    ids=str,
)
def test_sizes_that_do_not_fit_are_one_sentence_before_anything_runs(model, mesh, options, field):
    with pytest.raises(UserError, match=field):
        make_trainer(LLAMA | model, MeshConfig(**mesh), devices=8, **options)
