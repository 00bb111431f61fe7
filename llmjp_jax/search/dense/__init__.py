"""The documents that are nearest in meaning to a text, in any language that a sentence-embedding model knows.

In: an index of the corpus and the folder of a model on this machine. Out: `build_dense`, which embeds the documents, and
`DenseIndex`, which finds the nearest. Needs the extra `dense`; nothing is downloaded.
"""

from llmjp_jax.search.dense.building import build_dense
from llmjp_jax.search.dense.dense_index import DenseIndex

__all__ = ["DenseIndex", "build_dense"]
