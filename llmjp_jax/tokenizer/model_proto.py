"""SentencePiece's `ModelProto`: reading one from a file, and assembling one in LLM-jp's v2.x layout.

Protobuf is imported inside the functions: it is needed only when a vocabulary is read or made.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmjp_jax.errors import UserError
from llmjp_jax.tokenizer.layout import BYTES, RESERVED_V2, SPACE_RUNS, SPECIALS_V2

if TYPE_CHECKING:
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

_BYTES = frozenset(BYTES)


def read_model_proto(file: str | os.PathLike) -> ModelProto:
    """The `ModelProto` of a SentencePiece .model file.

    Raises:
      UserError: the file is not such a model.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(Path(file).read_bytes())
    except DecodeError:
        raise UserError(
            f"{file} is not a SentencePiece model or is damaged; give a .model file or copy it again"
        ) from None
    if not proto.pieces:
        raise UserError(f"{file} holds no pieces; give a trained SentencePiece .model file")
    return proto


def llmjp_model_proto(
    learned: Sequence[tuple[str, float]],
    *,
    special_score: float = -80.0,
    space_score: float = -80.0,
) -> ModelProto:
    """A Unigram model in LLM-jp's v2.x layout: ids 0-288 as in `layout.RESERVED_V2`, then the learned pieces in order.

    Args:
      learned: (piece, log-probability) of ids 289 and up.
      special_score: of the special tokens, the newline and the bytes. -80 as in v2.2, not 0 as in v2.1: Hugging Face's
        Unigram looks bytes up in the text, so at 0 it reads a written-out `<0x41>` as the byte; and the newline, which
        SentencePiece counts among the normal pieces, gives both engines the same lowest score, from which they price
        unknown characters. No segmentation depends on it otherwise: nothing else matches a newline, and SentencePiece
        uses bytes only for characters that no piece covers.
      space_score: of the 24 space runs. -1 in v2.1, -80 in v2.2.

    Raises:
      ValueError: a learned piece is empty, occurs twice, or is one of the reserved ones.
    """
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    specials, runs = set(SPECIALS_V2[1:]), set(SPACE_RUNS)
    for piece in RESERVED_V2:
        score = space_score if piece in runs else special_score
        unknown, control = piece == SPECIALS_V2[0], piece in specials
        add_piece(proto, piece, score, unknown=unknown, control=control)
    seen = set(RESERVED_V2)
    for piece, score in learned:
        if not piece or piece in seen:
            raise ValueError(f"learned piece {piece!r} is empty, reserved or there already")
        seen.add(piece)
        add_piece(proto, piece, score)
    set_llmjp_rules(proto)
    return proto


def add_piece(
    proto: ModelProto, piece: str, score: float, *, unknown: bool = False, control: bool = False
) -> None:
    """Adds a piece with the type that LLM-jp's models give it: `<0x0A>` and the like are bytes, the rest is text."""
    types = proto.SentencePiece.Type
    if unknown:
        type = types.UNKNOWN
    elif control:
        type = types.CONTROL
    else:
        type = types.BYTE if piece in _BYTES else types.NORMAL
    proto.pieces.add(piece=piece, score=score, type=type)


def set_llmjp_rules(proto: ModelProto) -> None:
    """Gives a `ModelProto` the rules of every LLM-jp model: Unigram, byte fallback, identity, dummy prefix."""
    trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
    trainer.model_type = trainer.UNIGRAM
    trainer.byte_fallback = True
    trainer.split_by_whitespace = False
    trainer.unk_id, trainer.bos_id, trainer.eos_id, trainer.pad_id = 0, 1, 2, -1
    normalizer.name = "identity"
    normalizer.precompiled_charsmap = b""
    normalizer.add_dummy_prefix = True
    normalizer.remove_extra_whitespaces = False
    normalizer.escape_whitespaces = True
