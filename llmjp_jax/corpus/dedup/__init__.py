"""Deduplication: shards of documents in, the rows to remove or the frequencies of paragraphs out, at any scale.

Each of the three makes a list of Stages, to be run one after the other, each one's tasks in any order or at once:

- `exact_stages`: documents with equal text; all but the first go.
- `minhash_stages`: near-duplicate documents, by MinHash-LSH and the exact Jaccard coefficient; no chaining.
- `paragraph_stages`: shards whose paragraphs carry `exact_freq` and `near_freq`, by Uzushio's SimHash rule.

`removed_rows(work, shard)` is what the first two leave. Each takes a `work` folder of its own, which may be deleted when its
result was used. Memory is bounded by `memory_bytes` a task (the docstrings name the exceptions), whatever the corpus's
size; results depend on the documents and their order alone, not on partitions, workers or what was killed.
"""

from llmjp_jax.corpus.dedup.exact import exact_stages
from llmjp_jax.corpus.dedup.external_sort import ExternalSort
from llmjp_jax.corpus.dedup.minhash import minhash_stages
from llmjp_jax.corpus.dedup.paragraphs import paragraph_stages
from llmjp_jax.corpus.dedup.shards import removed_rows

__all__ = [
    "ExternalSort",
    "exact_stages",
    "minhash_stages",
    "paragraph_stages",
    "removed_rows",
]
