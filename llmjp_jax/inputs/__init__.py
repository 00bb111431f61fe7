"""Tasks become token stores, and token stores become batches.

In: a Task or Mixture (`build.cache_task`, which needs SeqIO), or stores built before, Megatron's own included.
Out: `batch_at(inputs, step)`, a dict of [batch, length] arrays, from numpy alone: no TensorFlow, no state.
"""

from llmjp_jax.inputs.batches import (
    Inputs,
    Sample,
    Stages,
    batch_at,
    steps_of_document,
    where,
)
from llmjp_jax.inputs.epoch import epoch_batches
from llmjp_jax.inputs.opening import checked_stages, open_inputs, open_stores, read_weights
from llmjp_jax.inputs.orders import ORDERS
from llmjp_jax.inputs.prefetch import prefetch
from llmjp_jax.inputs.sources import Source, Span
from llmjp_jax.inputs.store_writer import TokenStoreWriter
from llmjp_jax.inputs.token_store import TokenStore, token_dtype

__all__ = [
    "ORDERS",
    "Inputs",
    "Sample",
    "Source",
    "Span",
    "Stages",
    "TokenStore",
    "TokenStoreWriter",
    "batch_at",
    "checked_stages",
    "epoch_batches",
    "open_inputs",
    "open_stores",
    "prefetch",
    "read_weights",
    "steps_of_document",
    "token_dtype",
    "where",
]
