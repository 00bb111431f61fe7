"""Tokenizer: documents in, a vocabulary out; then text to ids and back.

`load_vocabulary(path)` reads any SentencePiece .model or Hugging Face tokenizer.json as a `Vocabulary`.
"""

from llmjp_jax.tokenizer.vocabulary import Vocabulary, load_vocabulary

__all__ = ["Vocabulary", "load_vocabulary"]
