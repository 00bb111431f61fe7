"""Tokenizer: documents in, a vocabulary out; then text to ids and back.

`load_vocabulary(path)` reads any SentencePiece .model or Hugging Face tokenizer.json as a `Vocabulary`;
`train_tokenizer` makes a .model from corpora by a recipe, `MergedRecipe` (LLM-jp v2.1, v2.2) or `SeededRecipe` (v3), and
`train_unigram` a small one from texts in memory; `compression` compares tokenizers; `save_hf_tokenizer` writes what
`transformers` loads, `read_chat_template` reads what it was given.
"""

from llmjp_jax.tokenizer.compression import compression, compression_table, plain_beside
from llmjp_jax.tokenizer.hf_export import save_hf_tokenizer, save_tokenizer
from llmjp_jax.tokenizer.hf_import import read_chat_template
from llmjp_jax.tokenizer.procedure import train_tokenizer
from llmjp_jax.tokenizer.recipes import Language, MergedRecipe
from llmjp_jax.tokenizer.seeded import SeededRecipe, Stage
from llmjp_jax.tokenizer.training import train_unigram
from llmjp_jax.tokenizer.vocabulary import Vocabulary, load_vocabulary

__all__ = [
    "Language",
    "MergedRecipe",
    "SeededRecipe",
    "Stage",
    "Vocabulary",
    "compression",
    "compression_table",
    "load_vocabulary",
    "plain_beside",
    "read_chat_template",
    "save_hf_tokenizer",
    "save_tokenizer",
    "train_tokenizer",
    "train_unigram",
]
