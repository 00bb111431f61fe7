"""Between blocks every device holds its part of each sequence only, over the context and the tensor axis alike."""

import re

import jax
import numpy as np
import pytest

from llmjp_jax.models import ModelConfig, abstract_decoder, assemble, initialize, placed_by
from llmjp_jax.parallel import MeshConfig, Placement, make_mesh
from llmjp_jax.training import OptimizerConfig, Trainer
from tests.training.conftest import OPTIMIZER

# Sizes that no two axes share: a shape in the program says what it is.
MODEL = ModelConfig(
    vocab_size=88, layers=2, embed=24, heads=6, kv_heads=2, head_dim=10, mlp=52, max_length=64, position="rope",
    norm="rmsnorm", activation="swiglu", bias=False, tied_embeddings=False,
    barriers=False,  # the CPU's fences flatten rows and lengths, which gathers; accelerators have none
)  # fmt: skip
BATCH, LENGTH = 6, 32


@pytest.fixture
def mesh():
    return make_mesh(MeshConfig(data=1, fsdp=2, context=2, tensor=2), jax.devices()[:8])


def test_the_stream_and_its_norms_are_split_and_nothing_has_a_whole_sequence_but_keys(mesh):
    trainer = Trainer(
        model=MODEL, optimizer=OptimizerConfig(**OPTIMIZER), mesh=mesh, batch_size=BATCH, sequence_length=LENGTH
    )  # fmt: skip
    program = trainer.step.lower(trainer.abstract_state, trainer.abstract_batch())
    text = program.compile({"xla_backend_optimization_level": 0}).as_text()
    # A device has 3 rows; of 32 positions its part of the context is 16, and of the stream 8.
    assert "f32[3,8,24]" in text, "the stream is not split over context and tensor"
    assert "f32[3,16,52]" not in text and "f32[3,16,26]" in text, "the MLP is not split over tensor"
    statistics = set(re.findall(r"f32\[([\d,]*)\]\S* rsqrt\(", text))
    assert statistics and all(shape.startswith("3,8") for shape in statistics), statistics
    whole = set(re.findall(r"\[3,32,[\d,]*\]", text))
    # Keys and values of one head, and scores of 16 queries of 3 heads.
    assert whole <= {"[3,32,1,10]", "[3,32,10]", "[3,32,48]"}, f"whole sequences: {whole}"
    assert "[3,32,1,10]" in whole, "keys are not gathered"


def test_decoding_goes_on_where_one_token_cannot_be_split(mesh):
    parameters = jax.jit(lambda: initialize(MODEL, 0))()
    definition = abstract_decoder(MODEL)[0]
    tokens = np.arange(2 * 9, dtype=np.int32).reshape(2, 9)

    def decode(parameters):
        decoder = assemble(definition, parameters)
        cache = decoder.empty_cache(np.array([0, 3], np.int32), 9)
        first, cache = decoder.extend(tokens[:, :8], cache)
        return first[0], decoder.extend(tokens[:, 8:], cache)[0]

    def placed(parameters):
        with placed_by(Placement(mesh)):
            return decode(parameters)

    for ours, alone in zip(jax.jit(placed)(parameters), jax.jit(decode)(parameters), strict=True):
        np.testing.assert_allclose(ours, alone, atol=1e-5)
