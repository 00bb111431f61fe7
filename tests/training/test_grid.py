"""One model, however it is spread over devices, layers, memory, time and kernels: the same loss, the same gradients.

In CI a covering of the grid in which every pair of choices occurs; `pytest tests/training/test_grid.py --full_grid`
runs every combination (hours).
"""

import functools
import itertools
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmjp_jax.models import ModelConfig, abstract_decoder
from llmjp_jax.parallel import MeshConfig, make_mesh
from llmjp_jax.training import OptimizerConfig, Trainer, TrainState
from tests.training.conftest import OPTIMIZER

BATCH, LENGTH, VOCAB = 32, 16, 96
SIZES = dict(
    vocab_size=VOCAB, layers=2, embed=16, heads=4, mlp=32, max_length=LENGTH, initializer_std=0.2
)
LLAMA = SIZES | dict(
    kv_heads=2,
    position="rope",
    norm="rmsnorm",
    activation="swiglu",
    bias=False,
    tied_embeddings=False,
)
FAMILIES = {
    "llama": LLAMA,
    "mixture": LLAMA | dict(experts=4, experts_per_token=2),
    "gpt2": SIZES | dict(position="learned", norm="layernorm", activation="gelu", bias=True, tied_embeddings=True),
}  # fmt: skip

# The axes of more than one device; each mesh has eight.
MESHES = [
    "data=8",
    "fsdp=4 tensor=2",
    "data=2 context=2 tensor=2",
    "replica=2 fsdp=2 context=2",
    "expert=2 fsdp=2 tensor=2",
    "context=4 tensor=2",
]
GRID = {
    "mesh": MESHES,
    "attention": ["reference", "blocked", "xla", "splash_interpret"],
    "remat": ["none", "dots", "full"],
    "accumulation": [1, 2, 4],
    "family": sorted(FAMILIES),
    "layers": ["scan", "loop"],
    "documents": ["whole rows", "masked"],
}


def pairs(case: tuple) -> set[tuple]:
    """Every two choices of a case, with the columns that they stand in."""
    return set(itertools.combinations(enumerate(case), 2))


@functools.cache
def covering() -> list[tuple]:
    """Few cases in which every pair of choices occurs: of 300 at random, always the one with the most new pairs."""
    choice = random.Random(0)
    columns = list(GRID.values())
    missing = {pair for case in itertools.product(*columns) for pair in pairs(case)}
    cases = []
    while missing:
        candidates = [tuple(map(choice.choice, columns)) for _ in range(300)]
        best = max(candidates, key=lambda case: len(pairs(case) & missing))
        if pairs(best) & missing:
            cases.append(best)
            missing -= pairs(best)
    return cases


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        full = metafunc.config.getoption("full_grid")
        cases = list(itertools.product(*GRID.values())) if full else covering()
        named = [dict(zip(GRID, case, strict=True)) for case in cases]
        metafunc.parametrize("case", named, ids=[", ".join(map(str, case)) for case in cases])


def batch(masked: bool) -> dict[str, np.ndarray]:
    """Random tokens; rows of three documents of uneven length with padding behind."""
    generator = np.random.default_rng(0)
    tokens, targets = generator.integers(0, VOCAB, (2, BATCH, LENGTH)).astype(np.int32)
    arrays = {"tokens": tokens, "targets": targets, "loss_weights": np.ones((BATCH, LENGTH), np.float32)}  # fmt: skip
    if masked:
        ends = np.sort(generator.integers(1, LENGTH, (BATCH, 3)), axis=1)
        place = np.arange(LENGTH)
        document = (place >= ends[:, :, None]).sum(1)
        starts = np.concatenate([np.zeros((BATCH, 1), int), ends], axis=1)
        positions = place - np.take_along_axis(starts, document, axis=1)
        padding = document == 3
        arrays["segment_ids"] = np.where(padding, 0, document + 1).astype(np.int32)
        arrays["positions"] = positions.astype(np.int32)
        arrays["loss_weights"] = np.where(padding, 0.0, 1.0).astype(np.float32)
    return arrays


@functools.cache
def parameters(family: str):
    """Random ones, norms' scales included: quicker than to compile the initialisers."""
    generator = np.random.default_rng(1)
    shapes = abstract_decoder(ModelConfig(**FAMILIES[family]))[1]
    return jax.tree.map_with_path(
        lambda path, array: generator.normal("scale" in str(path), 0.4, array.shape).astype(
            "float32"
        ),
        shapes,
    )


def loss_and_gradients(
    family, documents, mesh="", *, devices=8, layers="scan", accumulation=1, **model
):
    """What one step computes before its update, by a mesh's sizes such as 'fsdp=4 tensor=2'."""
    sizes = {"data": 1} | {axis: int(n) for axis, n in (part.split("=") for part in mesh.split())}
    unroll = 1 if layers == "scan" else SIZES["layers"]
    trainer = Trainer(
        model=ModelConfig(**FAMILIES[family], unroll=unroll, **model), optimizer=OptimizerConfig(**OPTIMIZER),
        mesh=make_mesh(MeshConfig(**sizes), jax.devices()[:devices]), batch_size=BATCH, sequence_length=LENGTH,
        accumulation=accumulation, document_mask=documents == "masked", z_loss=1e-3,
        router_loss=1e-2 if family == "mixture" else 0.0,
    )  # fmt: skip

    def run(parameters, arrays):
        with trainer._placed():
            state = TrainState(jnp.int32(0), parameters, None)
            gradients, (report, _), _ = trainer._gradients(state, arrays)
        return report["loss"] + report["z_loss"], gradients

    shardings = trainer.state_shardings.parameters
    run = jax.jit(
        run,
        in_shardings=(shardings, dict.fromkeys(trainer.batch_fields, trainer.batch_sharding)),
        out_shardings=(None, shardings),
        compiler_options={"xla_backend_optimization_level": 0},  # half the time to compile
    )
    return jax.device_get(run(parameters(family), trainer.put(batch(documents == "masked"))))


@functools.cache
def reference(family: str, documents: str):
    """One device, plain attention, the whole batch at once."""
    loss, gradients = loss_and_gradients(family, documents, devices=1, attention="reference")
    for path, gradient in jax.tree.leaves_with_path(gradients):
        if "key" in str(path) and "bias" in str(path):
            continue  # softmax does not see what all keys share
        assert np.abs(gradient).max() > 1e-3, path
    return loss, gradients


def test_the_covering_has_every_pair_of_choices():
    covered = set().union(*map(pairs, covering()))
    assert covered == {pair for case in itertools.product(*GRID.values()) for pair in pairs(case)}
    assert len(covering()) < 40


@pytest.mark.slow
def test_loss_and_gradients_are_those_of_one_device(case):
    loss, gradients = loss_and_gradients(**case)
    expected_loss, expected = reference(case["family"], case["documents"])
    np.testing.assert_allclose(loss, expected_loss, rtol=0, atol=1e-5)
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5),
        gradients,
        expected,
    )
