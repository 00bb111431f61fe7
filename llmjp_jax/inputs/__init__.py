"""Tasks become token stores, and token stores become batches.

In: a Task or Mixture (`build.cache_task`, which needs SeqIO), JSON lines of conversations or preferences
(`build_examples`), or stores built before, Megatron's own included.
Out: `batch_at(inputs, step)`, a dict of [batch, length] arrays, from numpy alone: no TensorFlow, no state. `Inputs` are
text cut to length; `Examples`, for tuning, are whole examples with loss on their responses.
"""

from llmjp_jax.inputs.batches import (
    Inputs,
    Sample,
    Stages,
    TrainingInputs,
    batch_at,
    steps_of_document,
    where,
)
from llmjp_jax.inputs.epoch import epoch_batches
from llmjp_jax.inputs.example_cache import cached_examples
from llmjp_jax.inputs.example_config import ExamplesConfig
from llmjp_jax.inputs.example_store import build_examples
from llmjp_jax.inputs.examples import Examples
from llmjp_jax.inputs.opening import checked_stages, open_inputs, open_stores, read_weights
from llmjp_jax.inputs.opening_examples import open_examples, open_validation_examples
from llmjp_jax.inputs.orders import ORDERS
from llmjp_jax.inputs.prefetch import prefetch
from llmjp_jax.inputs.recorded import recorded_inputs, reopened
from llmjp_jax.inputs.sources import Source, Span
from llmjp_jax.inputs.store_writer import TokenStoreWriter
from llmjp_jax.inputs.token_store import TokenStore, token_dtype

__all__ = [
    "ORDERS",
    "Examples",
    "ExamplesConfig",
    "Inputs",
    "Sample",
    "Source",
    "Span",
    "Stages",
    "TokenStore",
    "TokenStoreWriter",
    "TrainingInputs",
    "batch_at",
    "build_examples",
    "cached_examples",
    "checked_stages",
    "epoch_batches",
    "open_examples",
    "open_inputs",
    "open_stores",
    "open_validation_examples",
    "prefetch",
    "read_weights",
    "recorded_inputs",
    "reopened",
    "steps_of_document",
    "token_dtype",
    "where",
]
