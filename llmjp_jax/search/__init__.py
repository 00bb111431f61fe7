"""The training corpus as one can ask it: what stands in it, when a model saw it, and what of a text comes from there.

In: token stores with their documents, and a run. Out: `CorpusIndex` (exact counts and hits; `build_index` makes its folder), `Trace`
(the documents of a step, the steps of a document), attribution of a text, memorisation and contamination, and a web page.
"""

from llmjp_jax.search.corpus_index import CorpusIndex
from llmjp_jax.search.indexing import build_index
from llmjp_jax.search.results import Counts, DocumentId, Hit, IndexedDocument, Results, Where

__all__ = [
    "CorpusIndex",
    "Counts",
    "DocumentId",
    "Hit",
    "IndexedDocument",
    "Results",
    "Where",
    "build_index",
]
