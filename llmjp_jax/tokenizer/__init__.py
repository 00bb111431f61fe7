"""Tokenizer: documents in, a vocabulary out; then text to ids and back.

`load_vocabulary(path)` reads any SentencePiece .model or Hugging Face tokenizer.json as a `Vocabulary`; `train_unigram`
makes a .model in LLM-jp's layout; `save_hf_tokenizer` writes what `transformers` loads.
"""

from llmjp_jax.tokenizer.from_corpora import train_from_corpora
from llmjp_jax.tokenizer.hf_export import save_hf_tokenizer, save_tokenizer
from llmjp_jax.tokenizer.training import sample_texts, train_unigram
from llmjp_jax.tokenizer.vocabulary import Vocabulary, load_vocabulary

__all__ = [
    "Vocabulary",
    "load_vocabulary",
    "sample_texts",
    "save_hf_tokenizer",
    "save_tokenizer",
    "train_from_corpora",
    "train_unigram",
]
