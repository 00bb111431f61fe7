"""One training of SentencePiece's Unigram model, with the settings that LLM-jp gave all of its own: pieces and scores."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from llmjp_jax.errors import UserError
from llmjp_jax.tokenizer.layout import NEWLINE

# SentencePiece's trainer skips whole sentences that hold one of these; as rare characters they become bytes anyway.
_UNTRAINABLE = re.compile("[\t\0\u2585]")
# The trainer's own three, <unk> <s> </s>, count in its vocabulary size and are not kept.
TRAINER_SPECIALS = 3
# Fixed, because the order in which partial sums are added, and so the last digits, depend on it.
_THREADS = 16


def trainable_lines(lines: Iterable[str]) -> Iterator[str]:
    """The parts of lines that the trainer accepts: cut at tabs, NULs and U+2585."""
    for line in lines:
        yield from filter(None, _UNTRAINABLE.split(line))


def train_pieces(
    lines: Iterable[str],
    size: int,
    *,
    max_piece_length: int,
    character_coverage: float,
    add_dummy_prefix: bool = True,
    at_most: bool = False,
    candidates: str | os.PathLike = "",
    log: bool = False,
) -> list[tuple[str, float]]:
    """Pieces with their log-probabilities, best first: `size` of them, or fewer where `at_most` and the text gives no more.

    The same lines in the same order give the same pieces. About 3 s of processor time a megabyte at 8,192 pieces.

    Args:
      lines: of `trainable_lines`.
      max_piece_length: characters a piece, the `▁` of a space included.
      character_coverage: share of the characters that get a piece of their own.
      add_dummy_prefix: put `▁` before each line; else the lines hold `▁` where it belongs.
      candidates: file of lines `piece TAB count` to choose from; without one SentencePiece takes the substrings that several
        *different* words have, so that a word that is part of no other has no piece of its own.
      log: let SentencePiece report its progress on stderr.

    Raises:
      RuntimeError: of SentencePiece; the text needs more pieces for its characters, or allows only fewer (not `at_most`).
    """
    proto = _train(
        lines,
        vocab_size=size + TRAINER_SPECIALS,
        add_dummy_prefix=add_dummy_prefix,
        max_sentencepiece_length=max_piece_length,
        character_coverage=character_coverage,
        hard_vocab_limit=not at_most,
        seed_sentencepieces_file=os.fspath(candidates),
        minloglevel=0 if log else 2,
    )
    normal = proto.SentencePiece.NORMAL
    return [(piece.piece, piece.score) for piece in proto.pieces if piece.type == normal]


def plain_unigram(
    lines: Iterable[str],
    vocab_size: int,
    *,
    max_piece_length: int = 16,
    character_coverage: float = 0.9995,
) -> Any:
    """The `ModelProto` of one ordinary SentencePiece training over all text: what LLM-jp's procedure is compared with.

    It has the same size, byte fallback, newline and digits as LLM-jp's, but one training, no words, no scores of ours.

    Raises:
      UserError: vocab_size does not fit the text.
    """
    try:
        return _train(
            lines,
            vocab_size=vocab_size,
            byte_fallback=True,
            user_defined_symbols=[NEWLINE],
            max_sentencepiece_length=max_piece_length,
            character_coverage=character_coverage,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise explained(error, vocab_size, 0) from None


def _train(lines: Iterable[str], **settings: Any) -> Any:
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="unigram",
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        split_by_whitespace=True,
        allow_whitespace_only_pieces=True,
        max_sentence_length=1 << 30,
        train_extremely_large_corpus=True,
        num_threads=_THREADS,
        **settings,
    )
    return sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())


def keep_best(learned: list[tuple[str, float]], size: int) -> list[tuple[str, float]]:
    """The best `size` pieces, in order, and every single character, whose place no other piece could take.

    More than `size` where the characters alone are.
    """
    longer = [pair for pair in learned if len(pair[0]) > 1]
    surplus = min(max(len(learned) - size, 0), len(longer))
    dropped = {piece for piece, _ in sorted(longer, key=lambda pair: pair[1])[:surplus]}
    return [pair for pair in learned if pair[0] not in dropped]


def explained(error: RuntimeError, asked: int, extra: int) -> Exception:
    """SentencePiece's complaint about the vocabulary size in terms of ours; any other error unchanged.

    Args:
      asked: the vocabulary size as the user gave it.
      extra: what a user's vocabulary has beyond the size that SentencePiece was asked for.
    """
    most = re.search(r"Vocabulary size too high.*<= (\d+)", str(error))
    if most:
        return UserError(
            f"vocab_size {asked} is too large for this text: set it to {int(most[1]) + extra} or less, or give more text"
        )
    if needs_more(error):
        return UserError(
            f"vocab_size {asked} is too small for the characters of this text; raise it or lower character_coverage"
        )
    return error


def needs_more(error: RuntimeError) -> bool:
    """Whether SentencePiece complains that the size does not hold the text's characters."""
    return "smaller than required_chars" in str(error)
