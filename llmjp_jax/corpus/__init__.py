"""Corpus: raw text in, documents out: JSON lines `{"text", "meta"}`, split into train and validation.

`read_documents`, `write_documents` and `split_of` are for every corpus; `load_manifest` reads `data/*.toml`, `load_mixtures` what they say of
how subsets are mixed. The rooms inside have doors of their own: `readers` (files to records), `filters` (plain functions on documents),
`dedup`, and `pipeline`, which builds corpora from all three; `downloads` and `sources` fetch raw text. `tunings` is what models are
tuned on, `tuning_records` the forms of its records.
"""

from llmjp_jax.corpus.documents import Document, read_documents, split_of, write_documents
from llmjp_jax.corpus.manifests import load_manifest
from llmjp_jax.corpus.mixtures import Mixture, Subset, describe, load_mixtures

__all__ = [
    "Document",
    "Mixture",
    "Subset",
    "describe",
    "load_manifest",
    "load_mixtures",
    "read_documents",
    "split_of",
    "write_documents",
]
