"""Two small configs, one of each family, and their decoders with weights large enough for every path to matter."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmjp_jax.models import ModelConfig, abstract_decoder, assemble

_SIZES = {
    "vocab_size": 61,
    "layers": 2,
    "embed": 32,
    "heads": 4,
    "mlp": 48,
    "max_length": 32,
    "initializer_std": 0.3,
}
GPT2 = ModelConfig(
    **_SIZES,
    position="learned",
    norm="layernorm",
    activation="gelu",
    bias=True,
    tied_embeddings=True,
)
LLAMA = ModelConfig(
    **_SIZES,
    kv_heads=2,
    position="rope",
    norm="rmsnorm",
    activation="swiglu",
    bias=False,
    tied_embeddings=False,
)


@pytest.fixture(scope="session", params=[GPT2, LLAMA], ids=["gpt2", "llama"])
def config(request):
    return request.param


@pytest.fixture(scope="session")
def parameters(config):
    """Random parameters: biases are not zero and scales not one."""
    generator = np.random.default_rng(1)

    def draw(path, leaf):
        mean, spread = {"scale": (1.0, 0.1), "bias": (0.0, 0.1)}.get(path[-1].key, (0.0, 0.3))
        return jnp.asarray(generator.normal(mean, spread, leaf.shape), leaf.dtype)

    return jax.tree.map_with_path(draw, abstract_decoder(config)[1])


@pytest.fixture(scope="session")
def build(config, parameters):
    """build(remat='full', ...) → a decoder with these parameters, computed another way."""

    def build(**changes):
        return assemble(abstract_decoder(dataclasses.replace(config, **changes))[0], parameters)

    return build
