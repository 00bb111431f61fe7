"""`Vocabulary`: text to token ids and back, with the special ids that the file really has, and SeqIO's interface.

It reads SentencePiece .model files and Hugging Face tokenizer.json files; writing either is for `training.py` and
`hf_export.py`. SeqIO and TensorFlow are imported only inside `encode_tf` and `decode_tf`: `llmjp_jax.tasks` registers
this class as a virtual `seqio.Vocabulary`.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from llmjp_jax.errors import UserError
from llmjp_jax.tokenizer import hf_import
from llmjp_jax.tokenizer.backends import SentencePieceBackend, TokenizersBackend
from llmjp_jax.tokenizer.layout import SpecialIds, complete_special_ids, llmjp_special_ids
from llmjp_jax.tokenizer.model_proto import read_model_proto


class Vocabulary:
    """A vocabulary and how it cuts text; make one with `load_vocabulary`.

    Two vocabularies are equal when their fingerprints are: the same pieces, ids, scores, types, rules and special ids,
    whichever file they came from. A .model and the tokenizer.json made from it are equal.
    """

    extra_ids = 0  # SeqIO's sentinels for span corruption: never added

    def __init__(
        self,
        path: str | os.PathLike,
        backend: SentencePieceBackend | TokenizersBackend,
        special: SpecialIds,
    ):
        self.path = str(path)
        self.backend = backend
        self._special = special

    @property
    def vocab_size(self) -> int:
        """Number of ids; the embedding table may be padded beyond it."""
        return len(self.backend.pieces)

    _base_vocab_size = vocab_size

    @property
    def pad_id(self) -> int:
        """Fills unused positions; eos where the file names no pad (see `layout.complete_special_ids`)."""
        return self._special.pad

    @property
    def bos_id(self) -> int | None:
        return self._special.bos

    @property
    def eos_id(self) -> int | None:
        """Ends a document and a generation: 7 `<EOD>` for LLM-jp v2.x, 2 `</s>` for v3.x, else what the file says."""
        return self._special.eos

    @property
    def unk_id(self) -> int | None:
        return self._special.unk

    @property
    def pieces(self) -> list[str]:
        """The piece of each id, as the file spells it (a space is `▁` in SentencePiece models)."""
        return self.backend.pieces

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over pieces in order of id, scores, types, rules and special ids, in hexadecimal."""
        digest = hashlib.sha256()
        for piece, score, type in zip(
            self.backend.pieces, self.backend.scores, self.backend.types, strict=True
        ):
            encoded = piece.encode("utf-8", "surrogatepass")
            digest.update(struct.pack("<Ifi", len(encoded), score, type))
            digest.update(encoded)
        digest.update(self.backend.rules.encode())
        digest.update(repr(self._special).encode())
        return digest.hexdigest()

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without bos or eos; names of special tokens in the text are read as text.

        Raises:
          ValueError: the text has a lone surrogate, which no UTF-8 can hold.
        """
        _check_encodable(text)
        return self.backend.encode(text)

    def encode_batch(self, texts: Sequence[str], num_threads: int | None = None) -> list[list[int]]:
        """`encode` of many texts on `num_threads` threads (default: every core), in order."""
        for text in texts:
            _check_encodable(text)
        return self.backend.encode_batch(texts, num_threads or os.cpu_count() or 1)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids: bytes are joined (broken UTF-8 gives U+FFFD), special tokens render as nothing.

        Unlike SeqIO's own classes it goes on after eos, so that a piece of the corpus that holds several documents can
        be shown; who wants one document cuts the ids. Ids at or above `vocab_size`, which a padded embedding table may
        produce, count as unknown.

        Raises:
          ValueError: an id is negative.
        """
        size, unknown = self.vocab_size, self.unk_id
        clean = []
        for id in np.asarray(ids if hasattr(ids, "__len__") else list(ids)).tolist():
            if id < 0:
                raise ValueError(f"token id {id} is negative")
            if id < size:
                clean.append(id)
            elif unknown is not None:
                clean.append(unknown)
        return self.backend.decode(clean)

    def offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of a text and where each lies in it.

            vocabulary.offsets("𩸽と") -> ([31, 273, 202, 217, 222, 24905],
                                          [(0, 0), (0, 0), (0, 0), (0, 0), (0, 1), (1, 2)])

        Returns: ids, and [start, end) in characters. The prefix space that is not in the text is empty; of a character
        cut into bytes the last byte holds it and those before are empty.
        """
        _check_encodable(text)
        return self.backend.offsets(text)

    def encode_tf(self, text: Any) -> Any:
        """`encode` of a scalar string tensor, exactly: an int32 tensor `[length]`. Runs Python inside the graph."""
        import tensorflow as tf

        def encode(value: bytes) -> np.ndarray:
            return np.asarray(self.encode(value.decode("utf-8")), np.int32)

        ids = tf.numpy_function(encode, [text], tf.int32)
        ids.set_shape([None])
        return ids

    def decode_tf(self, ids: Any) -> Any:
        """`decode` of int ids `[..., length]`, exactly: a string tensor `[...]`. Runs Python inside the graph."""
        import tensorflow as tf

        ids = tf.convert_to_tensor(ids)

        def decode(rows: np.ndarray) -> np.ndarray:
            flat = rows.reshape(int(np.prod(rows.shape[:-1])), rows.shape[-1])
            texts = np.empty(len(flat), dtype=object)
            texts[:] = [self.decode(row).encode("utf-8") for row in flat]
            return texts.reshape(rows.shape[:-1])

        texts = tf.numpy_function(decode, [ids], tf.string)
        texts.set_shape(ids.shape[:-1])
        return texts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __deepcopy__(self, memo: dict) -> Vocabulary:
        return self  # nothing changes after loading; gin copies its arguments deeply

    def __repr__(self) -> str:
        return f"Vocabulary({self.path!r}, vocab_size={self.vocab_size}, eos_id={self.eos_id})"


def load_vocabulary(path: str | os.PathLike) -> Vocabulary:
    """Reads a vocabulary from a SentencePiece .model, a Hugging Face tokenizer.json, or a directory that holds one.

    In a directory tokenizer.json comes first: it is what transformers reads, and it alone has tokens that were added
    after training. A tokenizer.json that LLM-jp's converter wrote runs on SentencePiece all the same, with the same
    ids, ties included, as its .model. Special ids: LLM-jp's own conventions by name (`layout.py`); in
    tokenizer_config.json or special_tokens_map.json beside a tokenizer.json; else those that the .model declares.

    Raises:
      UserError: there is no such file, a directory holds none or several, or the file is damaged.
    """
    path = Path(path)
    file = _vocabulary_file(path)
    if file.suffix == ".json":
        document = hf_import.read_tokenizer_json(file)
        proto = hf_import.sentencepiece_of(document)
        if proto is None:
            backend: SentencePieceBackend | TokenizersBackend = _tokenizers(document, file)
        else:
            backend = _sentencepiece(proto, file)
        roles = hf_import.special_ids_beside(file, document)
    else:
        backend = _sentencepiece(read_model_proto(file), file)
        roles = {}
    special = llmjp_special_ids(backend.pieces)
    declared = backend.declared_special_ids() if isinstance(backend, SentencePieceBackend) else {}
    if special is not None:
        declared = {"pad": special.pad, "bos": special.bos, "eos": special.eos, "unk": special.unk}
    merged = {role: roles.get(role, declared.get(role)) for role in ("pad", "bos", "eos", "unk")}
    return Vocabulary(file, backend, complete_special_ids(**merged))


def _vocabulary_file(path: Path) -> Path:
    if path.is_file():
        if path.suffix not in (".model", ".json"):
            raise UserError(
                f"{path} is neither a SentencePiece .model nor a tokenizer.json; give one of these"
            )
        return path
    if not path.is_dir():
        raise UserError(f"there is no vocabulary at {path}; give a .model file or tokenizer.json")
    if (path / "tokenizer.json").is_file():
        return path / "tokenizer.json"
    models = sorted(path.glob("*.model"))
    if len(models) == 1:
        return models[0]
    if not models:
        raise UserError(
            f"{path} holds no tokenizer.json and no .model file; give a folder with one"
        )
    names = ", ".join(model.name for model in models)
    raise UserError(f"{path} holds several .model files ({names}); give one of them")


def _sentencepiece(proto: Any, file: Path) -> SentencePieceBackend:
    try:
        return SentencePieceBackend(proto)
    except RuntimeError as error:
        raise UserError(f"SentencePiece cannot use the model in {file}: {error}") from None


def _tokenizers(document: dict[str, Any], file: Path) -> TokenizersBackend:
    try:
        return TokenizersBackend(document)
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{file} is not a tokenizer that can be read: {error}") from None


def _check_encodable(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the text has a lone surrogate {text[error.start]!r} at character {error.start}; "
            "replace it before encoding"
        ) from None
