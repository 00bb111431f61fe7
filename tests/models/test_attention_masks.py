"""What a token may not see has no influence on it, exactly: a gradient that is zero, not one that is small."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmjp_jax.models import (
    ModelConfig,
    abstract_decoder,
    assemble,
    initialize,
    placed_by,
    token_losses,
)
from llmjp_jax.parallel import MeshConfig, Placement, make_mesh

LENGTH = 32
CONFIG = ModelConfig(
    vocab_size=64, layers=2, embed=16, heads=4, kv_heads=2, mlp=32, max_length=LENGTH, position="rope",
    norm="rmsnorm", activation="swiglu", bias=False, tied_embeddings=False, initializer_std=0.5, barriers=False,
)  # fmt: skip
# Every token of the two rows has an id of its own: its row of the embedding table is its place in the batch.
TOKENS = np.arange(2 * LENGTH, dtype=np.int32).reshape(2, LENGTH)
# A row of two documents and padding, of which the second lies across the middle; a row of one document.
SECOND, END = 10, 26
SEGMENT_IDS = np.ones((2, LENGTH), np.int32)
SEGMENT_IDS[0, SECOND:] = 2
SEGMENT_IDS[0, END:] = 0
TARGET = 20

ON_A_GPU = pytest.mark.skipif(jax.default_backend() != "gpu", reason="cuDNN needs a GPU")
BACKENDS = [
    "reference", "blocked", "xla", "splash_interpret", pytest.param("cudnn", marks=ON_A_GPU)
]  # fmt: skip


@pytest.fixture(scope="module")
def parameters():
    return jax.jit(lambda: initialize(CONFIG, 0))()


def influence(parameters, backend, segment_ids, mesh=None) -> np.ndarray:
    """[2, LENGTH]: the largest element of the gradient of one token's loss with respect to each token's embedding."""
    dtype = "bfloat16" if backend == "cudnn" else "float32"
    config = dataclasses.replace(CONFIG, attention=backend, dtype=dtype)
    definition = abstract_decoder(config)[0]
    weights = np.zeros((2, LENGTH), np.float32)
    weights[0, TARGET] = 1.0

    def loss(parameters):
        decoder = assemble(definition, parameters)
        hidden = decoder.hidden(jnp.asarray(TOKENS), segment_ids)
        return token_losses(hidden, decoder.output_kernel(), TOKENS[:, ::-1], weights)[0]

    def gradient(parameters):
        with contextlib.nullcontext() if mesh is None else placed_by(Placement(mesh)):
            return jax.grad(loss)(parameters)["embed"]["tokens"]

    found = jax.jit(gradient)(parameters)
    return np.abs(np.asarray(found, np.float32)).max(-1).reshape(2, LENGTH)


@pytest.mark.parametrize("split", [False, True], ids=["one device", "split sequence"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tokens_loss_depends_on_its_own_documents_past_and_on_nothing_else(
    backend, split, parameters
):
    mesh = None
    if split:
        if len(jax.devices()) < 8:
            pytest.skip("a split sequence needs 8 devices")
        mesh = make_mesh(MeshConfig(data=2, context=2, tensor=2))
    seen = np.zeros((2, LENGTH), bool)
    seen[0, SECOND : TARGET + 1] = True
    np.testing.assert_array_equal(influence(parameters, backend, SEGMENT_IDS, mesh) > 0, seen)


@pytest.mark.parametrize("backend", BACKENDS[3:])
def test_without_a_document_mask_the_whole_past_of_the_row_counts(backend, parameters):
    seen = np.zeros((2, LENGTH), bool)
    seen[0, : TARGET + 1] = True
    np.testing.assert_array_equal(influence(parameters, backend, None) > 0, seen)
