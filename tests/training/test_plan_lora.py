"""Under adapters a step holds the frozen weights once: XLA's account of its memory has no more, and no gradient of them."""

import dataclasses
import math
import re

import jax
import pytest

from llmjp_jax.models import LoraConfig, ModelConfig
from llmjp_jax.parallel import MeshConfig, make_mesh
from llmjp_jax.training import OptimizerConfig, Trainer
from tests.training.conftest import FAMILIES, OPTIMIZER

# Weights outweigh the activations of so few tokens, and no activation is as large as the smallest matrix.
WIDE = {"vocab_size": 512, "layers": 8, "embed": 256, "mlp": 1024, "remat": "full"}
BATCH, LENGTH = 2, 8
SMALLEST_MATRIX = 256 * 128  # a Llama's keys, of two heads of four
# Without head: the output matrix is summed up from its parts before the loss, and has a gradient for a moment.
TARGETS = {
    "llama": ("query", "key", "value", "output", "gate", "up", "down"),
    "gpt2": ("query_key_value", "output", "up", "down"),
}
COUNTS = 3 * 4  # the step, in the state once and in the optimizer twice
CASES = {
    "llama": ("llama", {}, 1),
    "gpt2": ("gpt2", {"loss_chunks": 2}, 1),
    "llama in parts": ("llama", {}, 2),
}


def trainer_of(family: str, changes: dict, accumulation: int) -> Trainer:
    """With adapters on the family's matrices."""
    lora = LoraConfig(rank=4, alpha=8.0, dropout=0.1, targets=TARGETS[family])
    return Trainer(
        model=ModelConfig(**FAMILIES[family] | WIDE | changes, lora=lora),
        optimizer=OptimizerConfig(**OPTIMIZER),
        mesh=make_mesh(MeshConfig(), jax.devices()[:1]),
        batch_size=BATCH,
        sequence_length=LENGTH,
        accumulation=accumulation,
    )


def compiled_step(trainer: Trainer):
    return trainer.step.lower(trainer.abstract_state, trainer.abstract_batch()).compile()


def size(tree) -> int:
    """Bytes of all arrays."""
    return sum(array.size * array.dtype.itemsize for array in jax.tree.leaves(tree))


def largest_product(compiled) -> int:
    """How many numbers the largest result of a product of matrices has."""
    shapes = re.findall(r" = \w+\[([\d,]+)\]\S* dot\(", compiled.as_text())
    return max(math.prod(map(int, shape.split(","))) for shape in shapes)


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def adapted(request):
    trainer = trainer_of(*request.param)
    return trainer, compiled_step(trainer)


def test_the_arguments_are_the_frozen_weights_the_adapters_three_times_and_the_batch(adapted):
    trainer, compiled = adapted
    state, batch = trainer.abstract_state, trainer.abstract_batch()
    assert size(state.parameters) < size(state.frozen) / 25
    memory = compiled.memory_analysis()
    expected = size(state.frozen) + 3 * size(state.parameters) + COUNTS
    assert memory.argument_size_in_bytes == expected + size(batch)
    # A step writes the new state over the old one, and hands the frozen weights on where they lie.
    assert memory.alias_size_in_bytes == expected


def test_beside_its_arguments_a_step_needs_less_than_the_frozen_weights(adapted):
    trainer, compiled = adapted
    temporaries = compiled.memory_analysis().temp_size_in_bytes
    assert temporaries < size(trainer.abstract_state.frozen) / 4


def test_no_product_makes_a_gradient_of_a_frozen_matrix(adapted):
    _, compiled = adapted
    assert largest_product(compiled) < SMALLEST_MATRIX


def test_tuning_in_full_holds_all_that_these_tests_look_for():
    adapted = trainer_of("llama", {}, 1)
    trainer = dataclasses.replace(adapted, model=dataclasses.replace(adapted.model, lora=None))
    compiled = compiled_step(trainer)
    memory, weights = compiled.memory_analysis(), size(adapted.abstract_state.frozen)
    assert size(trainer.abstract_state.parameters) == weights
    assert memory.argument_size_in_bytes > 3 * weights
    assert memory.temp_size_in_bytes > weights, "gradients"
    assert largest_product(compiled) >= WIDE["embed"] * WIDE["mlp"]
