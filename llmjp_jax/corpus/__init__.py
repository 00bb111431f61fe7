"""Corpus: raw text in, documents out: JSON lines `{"text", "meta"}`, split into train and validation.

`build_quickstart_corpora` makes the quick start's three corpora; `read_documents`, `write_documents` and `split_of` are
for every corpus; `load_manifest` reads `data/*.toml`.
"""

from llmjp_jax.corpus.documents import Document, read_documents, split_of, write_documents
from llmjp_jax.corpus.manifests import load_manifest, manifest_fingerprint
from llmjp_jax.corpus.quickstart import build_quickstart_corpora

__all__ = [
    "Document",
    "build_quickstart_corpora",
    "load_manifest",
    "manifest_fingerprint",
    "read_documents",
    "split_of",
    "write_documents",
]
