"""Trains a SentencePiece Unigram vocabulary with LLM-jp's settings, in LLM-jp's v2.x layout of ids.

One training over all languages together: enough for a small vocabulary. LLM-jp's own procedure (a training a language,
merging, re-estimated scores) is built from the same parts.
Source of the settings: github.com/llm-jp/llm-jp-tokenizer, scripts/howToCreateModel_ver2.md; arXiv 2407.03963, section 2.2.
"""

from __future__ import annotations

import io
import os
import random
import re
from collections.abc import Iterable, Iterator, Mapping

from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write
from llmjp_jax.tokenizer.layout import RESERVED_V2, SPACE, SPACE_RUNS
from llmjp_jax.tokenizer.model_proto import llmjp_model_proto
from llmjp_jax.tokenizer.vocabulary import Vocabulary, load_vocabulary

# SentencePiece's trainer skips whole sentences that hold one of these; as rare characters they become bytes anyway.
_UNTRAINABLE = re.compile("[\t\0\u2585]")
# A space stays joined to a Latin letter only (`▁the`), never to a kanji, a digit or a symbol.
_AFTER_SPACE = re.compile(f"(?<={SPACE})(?=[^{SPACE}a-zA-Z\u00c0-\u024f])")
# The trainer's own three, <unk> <s> </s>, count in its vocabulary size and are not kept.
_TRAINER_SPECIALS = 3
# Fixed, because the order in which partial sums are added, and so the last digits, depend on it.
_THREADS = 16


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

    The same texts in the same order give the same file. About 3 s of processor time a megabyte at 8,192 pieces;
    `sample_texts` chooses a part of larger corpora.

    Args:
      texts: documents; newlines inside are text.
      output_path: the .model file, written whole or not at all.
      vocab_size: exact number of ids, the 289 reserved ones included.
      max_piece_length: characters a piece, the space included. LLM-jp: 16 for English and code, 8 for Japanese.
      character_coverage: share of the characters that get a piece of their own; the rest become bytes.
      log: let SentencePiece report its progress on stderr.

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
    # Space runs that are learned are reserved already, so up to 24 pieces more are asked for.
    asked = learned_size + len(SPACE_RUNS)
    learned = _train(segments, asked, max_piece_length, character_coverage, log)
    scores = dict(learned)
    kept = _cut([pair for pair in learned if pair[0] not in set(RESERVED_V2)], learned_size)
    # Every run is one token at the price of a single space: two runs are never better than one.
    proto = llmjp_model_proto(kept, space_score=scores[SPACE])
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
    for line in marked.split("\n"):
        for part in _UNTRAINABLE.split(line):
            yield from filter(None, _AFTER_SPACE.split(part))


def sample_texts(
    corpora: Mapping[str, Iterable[str]],
    proportions: Mapping[str, float],
    *,
    max_bytes: int,
    seed: int = 0,
) -> list[str]:
    """A sample of several corpora in the given proportions of UTF-8 bytes, the same for the same seed.

    The sample is `max_bytes` large, or as large as the scarcest corpus allows at these proportions. Each corpus is read
    whole and shuffled; its last document is cut where the share is full.

    Args:
      corpora: name -> texts.
      proportions: name -> weight; they need not sum to 1.
      max_bytes: of text, over all corpora.
      seed: of the shuffle.

    Raises:
      UserError: names differ, a proportion is not positive, or a corpus is empty.
    """
    if set(corpora) != set(proportions):
        raise UserError(
            f"proportions name {sorted(proportions)} but the corpora are {sorted(corpora)}"
        )
    for name, proportion in proportions.items():
        if not proportion > 0:
            raise UserError(f"the proportion of {name} is {proportion}; it must be above 0")
    texts = {name: list(corpus) for name, corpus in corpora.items()}
    sizes = {name: sum(len(text.encode()) for text in corpus) for name, corpus in texts.items()}
    for name, size in sizes.items():
        if size == 0:
            raise UserError(f"corpus {name} holds no text; leave it out or check its file")
    whole = sum(proportions.values())
    shares = {name: proportion / whole for name, proportion in proportions.items()}
    total = min(max_bytes, *(sizes[name] / share for name, share in shares.items()))
    sample = []
    for name, share in shares.items():
        random.Random(f"{seed}/{name}").shuffle(texts[name])
        left = int(total * share)
        for text in texts[name]:
            encoded = text.encode()
            sample.append(text if len(encoded) <= left else encoded[:left].decode(errors="ignore"))
            left -= len(encoded)
            if left <= 0:
                break
    return sample


def _train(
    segments: list[str], size: int, max_piece_length: int, character_coverage: float, log: bool
) -> list[tuple[str, float]]:
    """Pieces with their log-probabilities, best first: `size` of them."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(segments),
            model_writer=model,
            model_type="unigram",
            vocab_size=size + _TRAINER_SPECIALS,
            normalization_rule_name="identity",
            add_dummy_prefix=False,  # `training_segments` has put it where encoding does
            remove_extra_whitespaces=False,
            split_digits=True,
            split_by_whitespace=True,
            allow_whitespace_only_pieces=True,
            max_sentencepiece_length=max_piece_length,
            max_sentence_length=1 << 30,
            character_coverage=character_coverage,
            num_threads=_THREADS,
            minloglevel=0 if log else 2,
        )
    except RuntimeError as error:
        raise _explained(error, size) from None
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    normal = sentencepiece_model_pb2.ModelProto.SentencePiece.NORMAL
    return [(piece.piece, piece.score) for piece in proto.pieces if piece.type == normal]


def _cut(learned: list[tuple[str, float]], size: int) -> list[tuple[str, float]]:
    """The best `size` pieces, in order, without losing a single character, whose place no other piece could take."""
    surplus = len(learned) - size
    longer = [pair for pair in learned if len(pair[0]) > 1]
    if len(longer) < surplus:
        raise UserError(
            f"vocab_size is too small: the text alone needs {len(learned) - len(longer) + len(RESERVED_V2)} "
            "for its characters; raise vocab_size or lower character_coverage"
        )
    dropped = {piece for piece, _ in sorted(longer, key=lambda pair: pair[1])[:surplus]}
    return [pair for pair in learned if pair[0] not in dropped]


def _explained(error: RuntimeError, size: int) -> Exception:
    """SentencePiece's complaint about the vocabulary size in terms of ours; any other error unchanged."""
    extra = len(RESERVED_V2) - len(SPACE_RUNS) - _TRAINER_SPECIALS
    asked = size - len(SPACE_RUNS) + len(RESERVED_V2)
    most = re.search(r"Vocabulary size too high.*<= (\d+)", str(error))
    if most:
        return UserError(
            f"vocab_size {asked} is too large for this text: set it to {int(most[1]) + extra} or less, or give more text"
        )
    if "smaller than required_chars" in str(error):
        return UserError(
            f"vocab_size {asked} is too small for the characters of this text; raise it or lower character_coverage"
        )
    return error
