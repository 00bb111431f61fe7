"""Corpus: raw text in, documents out: JSON lines `{"text", "meta"}`, split into train and validation.

`build_quickstart_corpora` makes the quick start's three corpora; `read_documents`, `write_documents` and `split_of` are
for every corpus; `load_manifest` reads `data/*.toml`, `load_mixtures` what they say of how subsets are mixed.
"""

from llmjp_jax.corpus.documents import Document, read_documents, split_of, write_documents
from llmjp_jax.corpus.manifests import load_manifest, manifest_fingerprint
from llmjp_jax.corpus.mixtures import Mixture, Subset, describe, load_mixtures
from llmjp_jax.corpus.quickstart import build_quickstart_corpora

__all__ = [
    "Document",
    "Mixture",
    "Subset",
    "build_quickstart_corpora",
    "describe",
    "load_manifest",
    "load_mixtures",
    "manifest_fingerprint",
    "read_documents",
    "split_of",
    "write_documents",
]
