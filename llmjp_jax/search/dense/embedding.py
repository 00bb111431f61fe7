"""A sentence-embedding model that is loaded: texts become vectors of length one. The only place that knows sentence-transformers.

Nothing is downloaded and no code of the model's folder is run; see `model_files`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmjp_jax.errors import UserError
from llmjp_jax.search.dense.model_files import MODULES, check_model_folder, fingerprint_model

INSTALL = "pip install -e '.[dense]'"
_NO_WINDOW = 1_000_000  # tokenizers that know no longest text say a number above this


class Embedder:
    """Makes vectors of texts; several threads may use it.

    Args:
      folder: of sentence-transformers (it has a modules.json), or a plain encoder of transformers, whose token vectors are then
        averaged.
      device: as torch names it, such as `cuda:1`; None: a GPU where there is one.

    Attributes:
      fingerprint: of the model's files.
      window: tokens of a text that the model reads, its own special tokens and prompts left out; None: all.

    Raises:
      UserError: the extra is not installed, or the folder is no model that may be loaded.
    """

    def __init__(self, folder: Path, device: str | None = None):
        complete = check_model_folder(folder)
        if not complete:
            print(
                f"{folder} has no {MODULES}: it is a plain encoder, and the mean of its token vectors is a text's vector",
                file=sys.stderr,
            )
        self.fingerprint = fingerprint_model(folder)
        self._model = _load(folder, device)
        self._lock = threading.Lock()  # fast tokenizers may not be used by two threads
        self._count, special = _token_counter(self._model, folder)
        window = getattr(self._model, "max_seq_length", None)
        if window is None or window > _NO_WINDOW:
            self.window = None
        else:
            prompts = [prompt for prompt in self._model.prompts.values() if prompt]
            self.window = max(1, window - special - max(self._count(prompts), default=0))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text is, special ones left out."""
        with self._lock:
            return self._count(texts)

    def documents(self, texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
        """Vectors of parts of documents: float16 [texts, dimensions], of length one.

        A row is all zeros where the model gives a text no direction, as one of word vectors does when it knows none of the words.
        """
        with self._lock:
            vectors = self._model.encode_document(
                list(texts), batch_size=batch_size, show_progress_bar=False
            )
        return _normalized(np.asarray(vectors, np.float32)).astype(np.float16)

    def query(self, text: str) -> np.ndarray:
        """The vector of what is looked for: float32 [dimensions], of length one, or zeros as in `documents`.

        Raises:
          UserError: the text is longer than what the model reads.
        """
        (tokens,) = self.count_tokens([text])
        if self.window is not None and tokens > self.window:
            raise UserError(
                f"the text has {tokens} tokens and the embedding model reads {self.window}; ask with a part of it"
            )
        with self._lock:
            vector = self._model.encode_query([text], show_progress_bar=False)
        return _normalized(np.asarray(vector, np.float32))[0]


def _load(folder: Path, device: str | None) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UserError(
            f"dense search needs the extra `dense`, which is not installed ({error}); install it: {INSTALL}"
        ) from None
    try:
        model = SentenceTransformer(
            str(folder.absolute()),
            device=device,
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True},
        )
    except Exception as error:  # whatever a folder that is not ours makes the library raise
        reason = next(iter(str(error).strip().splitlines()), "")
        raise UserError(f"{folder} cannot be loaded as a sentence-embedding model: {type(error).__name__}: {reason}") from error  # fmt: skip
    return model.eval()


def _token_counter(model: Any, folder: Path) -> tuple[Callable[[Sequence[str]], list[int]], int]:
    """What counts the tokens of texts, and how many special ones the model adds to a text.

    The model's own tokenizer is set to cut and pad as it embeds, so that counting needs a copy.
    """
    from tokenizers import Tokenizer

    tokenizer = getattr(model, "tokenizer", None)
    if not hasattr(tokenizer, "tokenize") and not isinstance(tokenizer, Tokenizer):
        raise UserError(f"{folder} is no model of texts: it has no tokenizer; give another")
    # Static embeddings hold a bare Tokenizer, and add no special tokens.
    special, backend = 0, tokenizer
    if not isinstance(tokenizer, Tokenizer):
        special = getattr(tokenizer, "num_special_tokens_to_add", lambda: 0)()
        backend = getattr(tokenizer, "backend_tokenizer", None)
    own = _copied(backend) if isinstance(backend, Tokenizer) else None
    if own is None:
        return lambda texts: [len(tokenizer.tokenize(text)) for text in texts], special

    def count(texts: Sequence[str]) -> list[int]:
        return [len(found.ids) for found in own.encode_batch(list(texts), add_special_tokens=False)]

    return count, special


def _copied(tokenizer: Any) -> Any:
    """A tokenizer that neither cuts nor pads; None where parts of it are Python, which cannot be copied."""
    try:
        own = type(tokenizer).from_str(tokenizer.to_str())
    except Exception:  # the library's own type of it; the slower method then counts
        return None
    own.no_truncation()
    own.no_padding()
    return own


def _normalized(vectors: np.ndarray) -> np.ndarray:
    """Rows of length one; zeros where a row is zero or not finite."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    usable = np.isfinite(lengths) & (lengths > 0)
    return np.where(usable, vectors, 0) / np.where(usable, lengths, 1)
