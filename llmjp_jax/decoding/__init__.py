"""A decoder and prompts in, new tokens out: batched, cached, jitted generation. Text belongs to `language_model`."""

from llmjp_jax.decoding.generate import generate, stream
from llmjp_jax.decoding.prompts import batches_by_length, bucket_length
from llmjp_jax.decoding.sampling import Sampling

__all__ = ["Sampling", "batches_by_length", "bucket_length", "generate", "stream"]
