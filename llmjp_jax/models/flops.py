"""How many parameters a model has and how much arithmetic a token costs: formulas, never a compiler's estimate.

XLA's own count takes the body of a scan once, whatever its trip count, so utilisation is computed from these.
"""

from __future__ import annotations

import dataclasses

import jax

from llmjp_jax.models.config import ModelConfig
from llmjp_jax.models.structure import abstract_decoder


def parameter_count(config: ModelConfig) -> int:
    """Number of parameters, padding rows of the vocabulary included."""
    _, parameters, _ = abstract_decoder(config)
    return sum(leaf.size for leaf in jax.tree.leaves(parameters))


def matmul_parameters(config: ModelConfig) -> int:
    """Parameters that multiply a token: all kernels and the output matrix, not the tables that are looked up in.

    Of a mixture of experts, the router and the experts that a token goes to.
    """
    c = config
    attention = c.embed * c.head_dim * (2 * c.heads + 2 * c.kv_heads)
    mlp = c.embed * c.mlp * (3 if c.activation == "swiglu" else 2)
    if c.experts is not None:
        mlp = mlp * c.experts_per_token + c.embed * c.experts
    return c.layers * (attention + mlp) + c.embed * c.padded_vocab_size


def train_flops_per_token(config: ModelConfig, length: int, *, causal: bool) -> float:
    """Floating-point operations of a forward and a backward pass, per token of a sequence of `length` tokens.

    6 for each parameter that multiplies, 4 where it is frozen and has no gradient, and 12 for each layer, head dimension
    and attended position. `causal` counts only the half of the score matrix that is used (Megatron's and PaLM's published
    figures count all of it).
    """
    scores = 12 * config.layers * config.heads * config.head_dim * length
    products = 6.0 * matmul_parameters(config)
    if config.lora is not None:
        base = dataclasses.replace(config, lora=None)
        adapters = parameter_count(config) - parameter_count(base)
        products = 4.0 * matmul_parameters(base) + 6.0 * adapters
    return products + scores * (0.5 if causal else 1.0)
