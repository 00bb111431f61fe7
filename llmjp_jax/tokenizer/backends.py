"""The two engines under a `Vocabulary`: SentencePiece for .model files, `tokenizers` for any other tokenizer.json.

Both treat text as text: a special token's name inside it (`<EOD>`, `</s>`) never becomes the special token, so that
neither a web page nor a user's prompt can end a document. Callers put special ids in by number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

_NORMAL = 1  # ModelProto.SentencePiece.Type; the tokenizers library has no such types
_CONTROL = 3


class SentencePieceBackend:
    """SentencePiece over a `ModelProto`: exact, and several times faster than `tokenizers` on Unigram models."""

    def __init__(self, proto: ModelProto):
        import sentencepiece

        self.proto = proto
        self.pieces = [piece.piece for piece in proto.pieces]
        self.scores = [piece.score for piece in proto.pieces]
        self.types = [piece.type for piece in proto.pieces]
        self._processor = sentencepiece.SentencePieceProcessor()
        self._processor.LoadFromSerializedProto(proto.SerializeToString())

    def __reduce__(self):  # protobuf messages do not pickle
        return _sentencepiece_backend, (self.proto.SerializeToString(),)

    @property
    def rules(self) -> str:
        """Everything but the pieces that decides how text is cut, as one line."""
        trainer, normalizer = self.proto.trainer_spec, self.proto.normalizer_spec
        return json.dumps(
            {
                "model_type": int(trainer.model_type),
                "byte_fallback": trainer.byte_fallback,
                "treat_whitespace_as_suffix": trainer.treat_whitespace_as_suffix,
                "add_dummy_prefix": normalizer.add_dummy_prefix,
                "remove_extra_whitespaces": normalizer.remove_extra_whitespaces,
                "escape_whitespaces": normalizer.escape_whitespaces,
                "charsmap": hashlib.sha256(normalizer.precompiled_charsmap).hexdigest(),
            },
            sort_keys=True,
        )

    def declared_special_ids(self) -> dict[str, int | None]:
        processor = self._processor
        ids = {
            "pad": processor.pad_id(),
            "bos": processor.bos_id(),
            "eos": processor.eos_id(),
            "unk": processor.unk_id(),
        }
        return {role: id if id >= 0 else None for role, id in ids.items()}

    def encode(self, text: str) -> list[int]:
        return self._processor.encode(text)

    def encode_batch(self, texts: Sequence[str], num_threads: int) -> list[list[int]]:
        return self._processor.encode(list(texts), num_threads=num_threads)

    def decode(self, ids: list[int]) -> str:
        return self._processor.decode(ids)

    def offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        from sentencepiece import sentencepiece_pb2

        serialized = self._processor.encode(text, out_type="serialized_proto")
        pieces = sentencepiece_pb2.SentencePieceText.FromString(serialized).pieces
        # SentencePiece counts UTF-8 bytes; a byte inside a character belongs to the character's start.
        character_at = {}
        byte = 0
        for index, character in enumerate(text):
            character_at[byte] = index
            byte += len(character.encode())
        character_at[byte] = len(text)
        spans = [(character_at[piece.begin], character_at[piece.end]) for piece in pieces]
        return [piece.id for piece in pieces], spans


def _sentencepiece_backend(serialized: bytes) -> SentencePieceBackend:
    from sentencepiece import sentencepiece_model_pb2

    return SentencePieceBackend(sentencepiece_model_pb2.ModelProto.FromString(serialized))


class TokenizersBackend:
    """Hugging Face `tokenizers` over a parsed tokenizer.json: BPE, WordPiece, and Unigram of other families."""

    def __init__(self, document: dict[str, Any]):
        import tokenizers

        self.document = document
        self._tokenizer = tokenizers.Tokenizer.from_str(json.dumps(document, ensure_ascii=False))
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        vocab = self._tokenizer.get_vocab(with_added_tokens=True)
        self.pieces = [""] * (max(vocab.values()) + 1)
        for piece, id in vocab.items():
            self.pieces[id] = piece
        model_vocab = document["model"].get("vocab")
        unigram = isinstance(model_vocab, list)
        scores = [float(score) for _, score in model_vocab] if unigram else []
        self.scores = scores + [0.0] * (len(self.pieces) - len(scores))
        special = {token["id"] for token in document.get("added_tokens", ()) if token["special"]}
        self.types = [_CONTROL if id in special else _NORMAL for id in range(len(self.pieces))]

    @property
    def rules(self) -> str:
        """Everything but the pieces that decides how text is cut, as one line."""
        kept = ("normalizer", "pre_tokenizer", "decoder", "added_tokens")
        rules = {key: self.document.get(key) for key in kept}
        rules["model"] = {k: v for k, v in self.document["model"].items() if k != "vocab"}
        return json.dumps(rules, sort_keys=True)

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str], num_threads: int) -> list[list[int]]:
        # The library takes its thread count from RAYON_NUM_THREADS only.
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True)

    def offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets
