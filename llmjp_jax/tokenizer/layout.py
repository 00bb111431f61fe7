"""Where LLM-jp's vocabularies keep their special tokens, space runs, newline and bytes. Facts only: no model is read here.

Source: github.com/llm-jp/llm-jp-tokenizer, commit 925b87aa, models/ver2.1, ver2.2 and ver3.0, as measured in the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SPACE = "▁"  # SentencePiece's sign for U+0020

# Ids 0-7. v2.x trained LLM-jp v1.0, v1.1 and v2.0; v3.x LLM-jp-3.
SPECIALS_V2 = ("<unk>", "<s>", "</s>", "<mask>", "<pad>", "<CLS>", "<SEP>", "<EOD>")
SPECIALS_V3 = ("<unk>", "<s>", "</s>", "<MASK>", "<PAD>", "<CLS>", "<SEP>", "<EOD>")

# v2.x ids 8-32: runs of 24, 23, ... 1 spaces, then the newline; 33-288 are the bytes 0x00-0xFF.
SPACE_RUNS = tuple(SPACE * length for length in range(24, 0, -1))
NEWLINE = "\n"
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
RESERVED_V2 = (*SPECIALS_V2, *SPACE_RUNS, NEWLINE, *BYTES)  # 289 pieces; learned ones follow
# v3.x: 8-263 the bytes, 264-279 runs of 16 ... 1 spaces; a newline is its byte, 18.
RESERVED_V3 = (*SPECIALS_V3, *BYTES, *SPACE_RUNS[8:])  # 280 pieces


@dataclass(frozen=True)
class ReservedPieces:
    """The pieces that a vocabulary begins with, in order of id, and their scores.

    Attributes:
      pieces: `RESERVED_V2` or `RESERVED_V3`.
      special_score: of the special tokens, the newline and the bytes.
      space_score, longer_space_score: of one space, and of each further one in a run.
    """

    pieces: tuple[str, ...]
    special_score: float
    space_score: float
    longer_space_score: float = 0.0

    def score(self, piece: str) -> float:
        if piece.strip(SPACE):
            return self.special_score
        return self.space_score + self.longer_space_score * (len(piece) - 1)


# As measured in the released files. With v2.1's 0, Hugging Face's Unigram, which looks bytes up in the text, reads a
# written-out `<0x41>` as the byte, and the newline, a normal piece, is for free.
V2_1 = ReservedPieces(RESERVED_V2, special_score=0.0, space_score=-1.0)
V2_2 = ReservedPieces(RESERVED_V2, special_score=-80.0, space_score=-80.0)
V3 = ReservedPieces(RESERVED_V3, special_score=-127.5, space_score=-15.0, longer_space_score=-7.5)
LAYOUTS = {"v2.1": V2_1, "v2.2": V2_2, "v3": V3}


@dataclass(frozen=True)
class SpecialIds:
    """The ids that have a meaning beyond text; None where a vocabulary has no such token, except pad, which always is."""

    pad: int
    bos: int | None
    eos: int | None
    unk: int | None


def llmjp_special_ids(pieces: Sequence[str]) -> SpecialIds | None:
    """LLM-jp's own special ids when `pieces` is one of its vocabularies, else None.

    v2.x ends a document with `<EOD>` (7); v3.x with `</s>` (2), though it has `<EOD>` too. A .model file does not say
    so itself (all declare eos 2), which is why the convention is recognised by the names of pieces 0-7.
    """
    first = tuple(pieces[: len(SPECIALS_V2)])
    if first == SPECIALS_V2:
        return SpecialIds(pad=4, bos=1, eos=7, unk=0)
    if first == SPECIALS_V3:
        return SpecialIds(pad=4, bos=1, eos=2, unk=0)
    return None


def complete_special_ids(
    pad: int | None, bos: int | None, eos: int | None, unk: int | None
) -> SpecialIds:
    """Special ids of any other vocabulary: a missing pad becomes eos (the usual choice for GPT-2 and Llama), or else 0.

    Nothing may tell padding by `token == pad_id`: batches carry `segment_ids` and `loss_weights` for that.
    """
    if pad is None:
        pad = eos if eos is not None else 0
    return SpecialIds(pad=pad, bos=bos, eos=eos, unk=unk)
