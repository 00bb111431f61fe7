"""A small vocabulary from texts in memory: one Unigram training over all languages, in LLM-jp's v2.x layout of ids.

For tests, notebooks and toy models. LLM-jp's own procedure (a training a language, merging, re-estimated scores) is
`train_tokenizer`, in `procedure.py`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write
from llmjp_jax.tokenizer.layout import RESERVED_V2, SPACE, SPACE_RUNS, ReservedPieces
from llmjp_jax.tokenizer.model_proto import llmjp_model_proto
from llmjp_jax.tokenizer.unigram import (
    TRAINER_SPECIALS,
    explained,
    keep_best,
    train_pieces,
    trainable_lines,
)
from llmjp_jax.tokenizer.vocabulary import Vocabulary, load_vocabulary

# A space stays joined to a Latin letter only (`▁the`), never to a kanji, a digit or a symbol.
_AFTER_SPACE = re.compile(f"(?<={SPACE})(?=[^{SPACE}a-zA-Z\u00c0-\u024f])")


def train_unigram(
    texts: Iterable[str],
    output_path: str | os.PathLike,
    *,
    vocab_size: int,
    max_piece_length: int = 16,
    character_coverage: float = 0.9995,
    log: bool = False,
) -> Vocabulary:
    """Trains on all of `texts`, writes the .model file, and returns the vocabulary.

    The same texts in the same order give the same file.

    Args:
      texts: documents; newlines inside are text.
      output_path: the .model file, written whole or not at all.
      vocab_size: exact number of ids, the 289 reserved ones included.
      max_piece_length, character_coverage, log: see `unigram.train_pieces`.

    Raises:
      UserError: vocab_size is too small for the characters, or too large for the text, or there is no text.
    """
    learned_size = vocab_size - len(RESERVED_V2)
    if learned_size < 1:
        raise UserError(
            f"vocab_size is {vocab_size}; it must be above {len(RESERVED_V2)}, the number of reserved pieces"
        )
    segments = [segment for text in texts for segment in training_segments(text)]
    if not segments:
        raise UserError(
            "there is no text to train the tokenizer on; give documents that are not empty"
        )
    try:
        learned = train_pieces(
            segments,
            # Space runs that are learned are reserved already, so up to 24 pieces more are asked for.
            learned_size + len(SPACE_RUNS),
            max_piece_length=max_piece_length,
            character_coverage=character_coverage,
            add_dummy_prefix=False,  # `training_segments` has put it where encoding does
            log=log,
        )
    except RuntimeError as error:
        extra = len(RESERVED_V2) - len(SPACE_RUNS) - TRAINER_SPECIALS
        raise explained(error, vocab_size, extra) from None
    scores = dict(learned)
    kept = keep_best([pair for pair in learned if pair[0] not in set(RESERVED_V2)], learned_size)
    if len(kept) > learned_size:
        raise UserError(
            f"vocab_size {vocab_size} is too small for the characters of this text; raise it or lower character_coverage"
        )
    # Every run is one token at the price of a single space: two runs are never better than one.
    reserved = ReservedPieces(RESERVED_V2, special_score=-80.0, space_score=scores[SPACE])
    proto = llmjp_model_proto(kept, reserved)
    with atomic_write(output_path) as file:
        file.write(proto.SerializeToString(deterministic=True))
    return load_vocabulary(output_path)


def training_segments(text: str) -> Iterator[str]:
    """The parts of a text that the trainer may look for pieces in, with `▁` for spaces.

        "f(1)\\n  of 東京" -> "▁f(1)", "▁▁of▁", "東京"

    A document begins with `▁`, as encoding does; its later lines do not. The newline is a reserved piece, so no other
    crosses it. LLM-jp strips `▁` before Japanese, digits and symbols from learned pieces; here it is cut off before.
    """
    marked = (SPACE + text).replace(" ", SPACE)
    for part in trainable_lines(marked.split("\n")):
        yield from filter(None, _AFTER_SPACE.split(part))
