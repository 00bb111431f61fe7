"""One vocabulary from those of several languages: prefixes cleaned up, sizes in proportion, the first of equals kept.

Source: github.com/llm-jp/llm-jp-tokenizer, scripts/howToCreateModel_ver2.md. The order of the languages is that of the
released models, code, English, Japanese, as measured in them; the document's example has them the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from llmjp_jax.errors import UserError
from llmjp_jax.tokenizer.layout import SPACE
from llmjp_jax.tokenizer.segmentation import is_symbol
from llmjp_jax.tokenizer.unigram import keep_best

Learned = Sequence[tuple[str, float]]


def without_prefix(piece: str) -> str:
    """`▁東京` -> `東京`: MeCab's words had a space before them, Japanese text has none."""
    return piece.replace(SPACE, "") if piece.startswith(SPACE) else piece


def without_prefix_before_symbols(piece: str) -> str:
    """`▁(` -> `(`, but `▁the` as it is: the space came from setting symbols apart."""
    return piece.replace(SPACE, "") if piece.startswith(SPACE) and is_symbol(piece[1:2] or "a") else piece  # fmt: skip


def as_learned(piece: str) -> str:
    """A piece as it is: v2.2 sets no symbols apart, and its English and code keep `▁(` and `▁*` [measured]."""
    return piece


PREFIXES: Mapping[str, Callable[[str], str]] = {
    "remove": without_prefix,
    "remove_before_symbols": without_prefix_before_symbols,
    "keep": as_learned,
}


def merge(vocabularies: Iterable[Iterable[str]], reserved: Collection[str]) -> list[str]:
    """All pieces in order, each once, without empty ones and those that are reserved."""
    pieces = dict.fromkeys(piece for pieces in vocabularies for piece in pieces if piece)
    return [piece for piece in pieces if piece not in reserved]


def merge_to_size(
    learned: Mapping[str, Learned],
    shares: Mapping[str, float],
    prefixes: Mapping[str, str],
    size: int,
    reserved: Collection[str],
) -> list[str]:
    """`merge` of the best pieces of each language, as many of each as its share of a whole that makes `size` different ones.

    Args:
      learned: language -> (piece, score), of more pieces than will be kept; single characters are kept in any case.
      shares: language -> proportion.
      prefixes: language -> name in `PREFIXES`.
      size: of the result, exactly.

    Raises:
      UserError: the languages' characters alone are more than `size`, or all their pieces are fewer.
    """
    whole = sum(shares.values())

    def merged(total: float) -> list[str]:
        kept = (
            [PREFIXES[prefixes[name]](piece) for piece, _ in keep_best(list(pieces), count)]
            for name, pieces in learned.items()
            for count in [round(total * shares[name] / whole)]
        )
        return merge(kept, reserved)

    low, high = 0, int(max(len(learned[name]) * whole / shares[name] for name in learned)) + 1
    least, most = len(merged(low)), len(merged(high))
    if most < size:
        raise UserError(
            f"vocab_size {size + len(reserved)} is too large for this text: set it to {most + len(reserved)} or "
            "less, or give more text"
        )
    if least > size:
        raise UserError(
            f"vocab_size {size + len(reserved)} is too small for the characters of this text, which need "
            f"{least + len(reserved)}; raise it or lower character_coverage"
        )
    while (
        high - low > 1
    ):  # merged(low) has fewer than `size` or as many, merged(high) as many or more
        middle = (low + high) // 2
        low, high = (middle, high) if len(merged(middle)) <= size else (low, middle)
    below, above = merged(low), merged(high)
    if len(below) == size:
        return below
    # The last step adds several at once: the first of them, in order, fill the vocabulary.
    new = [piece for piece in above if piece not in set(below)]
    kept = {*below, *new[: size - len(below)]}
    return [piece for piece in above if piece in kept]
