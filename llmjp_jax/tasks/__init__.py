"""Which data exists, and how it reads: SeqIO Tasks and Mixtures.

In: JSONL corpora, or records of instructions and preferences, and a vocabulary. Out: names in SeqIO's registry, from which
`inputs.build` makes token stores.
Importing this room imports SeqIO, and with it TensorFlow (about twenty seconds); training from a built store does not.
"""

import seqio

from llmjp_jax.tasks.corpora import register_corpora
from llmjp_jax.tasks.instructions import (
    RecordSource,
    record_source,
    register_instruction_task,
    register_tuning,
)
from llmjp_jax.tasks.questions import register_question_task
from llmjp_jax.tasks.registry import (
    get_task_or_mixture,
    plain_text_source,
    register_jsonl_task,
    register_mixture,
)
from llmjp_jax.tasks.sources import JsonlSource, read_texts
from llmjp_jax.tokenizer import Vocabulary

# SeqIO asks isinstance(vocabulary, seqio.Vocabulary); ours has its interface without its base class.
seqio.Vocabulary.register(Vocabulary)

__all__ = [
    "JsonlSource",
    "RecordSource",
    "get_task_or_mixture",
    "plain_text_source",
    "read_texts",
    "record_source",
    "register_corpora",
    "register_instruction_task",
    "register_jsonl_task",
    "register_mixture",
    "register_question_task",
    "register_tuning",
]
