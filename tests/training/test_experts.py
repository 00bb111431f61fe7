"""Training a mixture of experts: the same on every mesh, evenly loaded, and saved, moved and exported like any model."""

from pathlib import Path

import jax
import numpy as np
import pytest

from llmjp_jax import LanguageModel
from llmjp_jax.checkpoints import CheckpointConfig, load_run, save_hf
from llmjp_jax.errors import UserError
from llmjp_jax.inputs import batch_at, open_inputs
from llmjp_jax.models import ModelConfig, disassemble
from llmjp_jax.parallel import MeshConfig, make_mesh
from llmjp_jax.tokenizer import load_vocabulary
from llmjp_jax.training import OptimizerConfig, Trainer, TrainState, read_metrics, train
from tests.training.conftest import LLAMA, OPTIMIZER

BATCH, LENGTH = 8, 16
MIXTURE = LLAMA | {"embed": 16, "mlp": 24, "max_length": 32, "experts": 8}
# Weights large enough for a wrong expert to show.
SPREAD = MIXTURE | {"initializer_std": 0.3, "attention": "reference"}


def make_trainer(model, mesh=None, devices=1, **options) -> Trainer:
    return Trainer(
        model=ModelConfig(**model), optimizer=OptimizerConfig(**OPTIMIZER),
        mesh=make_mesh(mesh or MeshConfig(), jax.devices()[:devices]),
        batch_size=BATCH, sequence_length=LENGTH, **{"router_loss": 0.01} | options,
    )  # fmt: skip


def random_batch():
    tokens = np.random.default_rng(0).integers(0, 400, (BATCH, LENGTH + 1), dtype=np.int32)
    weights = np.random.default_rng(1).random((BATCH, LENGTH)).astype(np.float32)
    return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:], "loss_weights": weights}


def first_gradient(trainer: Trainer, parameters):
    """What is reported and the balance of one batch, and the gradient of all parameters."""
    parameters = jax.device_put(parameters, trainer.state_shardings.parameters)

    @jax.jit
    def run(parameters, batch):
        with trainer._placed():
            return trainer._gradients(TrainState(0, parameters, None), batch)[:2]

    gradients, reported = jax.device_get(run(parameters, trainer.put(random_batch())))
    return reported, gradients


def assert_alike(first, second):
    for (path, a), b in zip(jax.tree.leaves_with_path(first), jax.tree.leaves(second), strict=True):
        scale = max(np.abs(b).max(), 1e-2)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * scale, err_msg=str(path))


@pytest.fixture(scope="module")
def alone():
    trainer = make_trainer(SPREAD)
    parameters = jax.device_get(trainer.initial_state().parameters)
    reported, gradients = first_gradient(trainer, parameters)
    shares = reported[1].shares
    assert (
        shares.shape == (2, 8) and shares.max() > 0.15
    )  # far from even: some devices get more than others
    return parameters, (reported, gradients)


@pytest.mark.parametrize(
    ("mesh", "options"),
    [
        ({"expert": 8, "data": 1}, {"change": {"unroll": 2}}),
        ({"expert": 4, "fsdp": 2}, {"change": {"remat": "full"}}),
        ({"expert": 2, "tensor": 2}, {"accumulation": 2}),
        ({"expert": 2, "context": 2, "fsdp": 2}, {}),
        ({"expert": 2, "context": 2, "tensor": 2}, {"layout": {"stream_length": "context"}}),
    ],
    ids=str,
)
def test_loss_and_gradients_on_every_mesh_are_those_of_one_device(mesh, options, alone):
    options = dict(options)
    model = SPREAD | options.pop("change", {})
    trainer = make_trainer(model, MeshConfig(**mesh), devices=8, **options)
    held = trainer.state_shardings.parameters["blocks"]["mlp"]["gate"].spec
    assert held[1] == "expert"
    parameters, expected = alone
    assert_alike(first_gradient(trainer, parameters), expected)


def test_experts_that_the_mesh_does_not_divide_are_refused_in_a_sentence():
    with pytest.raises(UserError, match="experts = 6 is not divisible.*expert = 4"):
        make_trainer(MIXTURE | {"experts": 6}, MeshConfig(expert=4), devices=8)
    with pytest.raises(UserError, match="router_loss = 0.01 must be 0 for a model without experts"):
        make_trainer(LLAMA)
    with pytest.raises(UserError, match="router_loss = -1 must not be negative"):
        make_trainer(MIXTURE, router_loss=-1)


def metrics_of(trainer, cache, steps):
    inputs = open_inputs(cache, "tiny", "train", LENGTH, BATCH, seed=1)
    state, values = trainer.initial_state(), []
    for step in range(steps):
        state, metrics = trainer.step(state, trainer.put(batch_at(inputs, step)))
        values.append(jax.device_get(metrics))
    return values


def test_it_learns_and_the_router_loss_evens_out_the_load(tiny_cache):
    """With the loss the experts end up more evenly loaded than without, and the text is learned all the same."""
    uneven = MIXTURE | {"initializer_std": 0.2, "experts": 4, "layers": 1}
    steps = {
        factor: metrics_of(make_trainer(uneven, router_loss=factor), tiny_cache, 20)
        for factor in (0.0, 1.0)
    }
    for values in steps.values():
        assert values[-1]["loss"] < values[0]["loss"] - 1
        assert all(
            value["router_loss"] > 0.9 and 0.25 <= value["expert_load"] <= 0.5 for value in values
        )
    without, with_loss = (np.mean([v["router_loss"] for v in steps[f][-5:]]) for f in (0.0, 1.0))
    assert with_loss - 1 < 0.7 * (without - 1)


def test_only_a_model_with_experts_reports_on_routers():
    def reported(trainer):
        return set(
            jax.eval_shape(trainer.step, trainer.abstract_state, trainer.abstract_batch())[1]
        )

    mixture, plain = make_trainer(MIXTURE), make_trainer(LLAMA, router_loss=0.0)
    assert reported(mixture) - reported(plain) == {"router_loss", "expert_load"}


@pytest.mark.slow
def test_a_run_moves_to_a_mesh_without_expert_parallelism_and_out_to_hugging_face(
    run_arguments, tmp_path, tiny_vocabulary
):
    arguments = run_arguments | {
        "model": ModelConfig(**SPREAD | {"layers": 1}), "sequence_length": LENGTH, "total_steps": 4, "router_loss": 0.01,
        "checkpoints": CheckpointConfig(period=2, keep=None), "mesh": MeshConfig(data=2, expert=4),
    }  # fmt: skip
    train(**arguments)
    moved = arguments | {"model_dir": str(tmp_path / "moved"), "mesh": MeshConfig(data=8)}
    train(**arguments | {"model_dir": moved["model_dir"], "total_steps": 2})
    with pytest.raises(UserError, match="router_loss was 0.01 and is None"):
        train(**moved | {"router_loss": 0.0})
    train(**moved)

    def lines(model_dir):
        return [r for r in read_metrics(Path(model_dir) / "metrics.jsonl") if "loss" in r]

    for first, second in zip(lines(arguments["model_dir"]), lines(moved["model_dir"]), strict=True):
        for name in ("loss", "router_loss", "expert_load"):
            np.testing.assert_allclose(first[name], second[name], atol=1e-5)

    config, decoder = load_run(moved["model_dir"])
    save_hf(decoder, config, tmp_path / "hf", load_vocabulary(tiny_vocabulary))
    exported, run = (LanguageModel.load(path) for path in (tmp_path / "hf", moved["model_dir"]))
    assert exported.config.experts == 8
    for a, b in zip(
        jax.tree.leaves(disassemble(exported.model)),
        jax.tree.leaves(disassemble(decoder)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    prompts = ["私は", "I read"]
    assert exported.generate(prompts, max_new_tokens=8) == run.generate(prompts, max_new_tokens=8)
    assert exported.config.identity() == config.identity()
