"""SentencePiece's `ModelProto`: reading one from a file, and assembling one in LLM-jp's layouts.

Protobuf is imported inside the functions: it is needed only when a vocabulary is read or made.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmjp_jax.errors import UserError
from llmjp_jax.tokenizer.layout import BYTES, SPECIALS_V2, V2_2, ReservedPieces

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
    learned: Sequence[tuple[str, float]], reserved: ReservedPieces = V2_2
) -> ModelProto:
    """A Unigram model in LLM-jp's layout: the reserved pieces, then the learned ones in order.

    The score of reserved pieces decides no segmentation but where the spaces' does: nothing else matches a newline, and
    SentencePiece uses bytes only for characters that no piece covers. v2.2's -80 for the newline, which SentencePiece
    counts among the normal pieces, also gives it and Hugging Face the same lowest score, from which they price unknown
    characters.

    Args:
      learned: (piece, log-probability).
      reserved: `layout.V2_1`, `V2_2` or `V3`, perhaps with other scores.

    Raises:
      ValueError: a learned piece is empty, occurs twice, or is one of the reserved ones.
    """
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    unknown, *controls = reserved.pieces[: len(SPECIALS_V2)]
    for piece in reserved.pieces:
        add_piece(
            proto,
            piece,
            reserved.score(piece),
            unknown=piece == unknown,
            control=piece in controls,
        )
    seen = set(reserved.pieces)
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
