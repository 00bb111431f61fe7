"""Tokens in, logits out: one decoder that is GPT-2 or Llama by the fields of its config. Knows nothing of devices."""

from llmjp_jax.models.axes import placed_by
from llmjp_jax.models.config import ModelConfig
from llmjp_jax.models.decoder import Decoder
from llmjp_jax.models.flops import parameter_count, train_flops_per_token
from llmjp_jax.models.lora import (
    LoraConfig,
    adapters_of,
    join,
    merge_adapters,
    without_adapters,
)
from llmjp_jax.models.loss import token_log_probabilities, token_losses
from llmjp_jax.models.structure import abstract_decoder, assemble, disassemble, initialize

__all__ = [
    "Decoder",
    "LoraConfig",
    "ModelConfig",
    "abstract_decoder",
    "adapters_of",
    "assemble",
    "disassemble",
    "initialize",
    "join",
    "merge_adapters",
    "parameter_count",
    "placed_by",
    "token_log_probabilities",
    "token_losses",
    "train_flops_per_token",
    "without_adapters",
]
