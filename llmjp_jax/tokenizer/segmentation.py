"""What LLM-jp does to the text that pieces are learned from: Japanese cut into words, v2.1's symbols set apart.

The purpose is clean pieces: none crosses a word of MeCab's, and with v2.1 none joins symbols. Encoding needs neither.
Source: github.com/llm-jp/llm-jp-tokenizer, scripts/howToCreateModel_ver2.md (preprocessing); arXiv 2407.03963, 2.2.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from llmjp_jax.errors import UserError

# v2.1's symbol split and prefix clean-up know these characters as letters; all others, digits too, are symbols.
_LETTERS = r"\p{Script=Hiragana}\p{Script=Katakana}ー\p{Script=Han}〇一二三四五六七八九a-zA-Z"
_SYMBOL_LINE = 1000  # characters; the script that splits symbols is given lines no longer than this


def japanese_words(line: str) -> Iterator[str]:
    """A line as MeCab cuts it, words between spaces; each sentence that ends in 。 is a line of its own.

    "今日は晴れ。明日は雨" -> "今日 は 晴れ 。", "明日 は 雨"

    JumanDIC, as LLM-jp's. Spaces of the text itself go, as in `mecab -Owakati`, and NULs, which end a text for MeCab.
    """
    parse = _tagger().parse
    for sentence in line.replace("。", "。\n").replace("\0", "\n").split("\n"):
        words = parse(sentence).strip() if sentence.strip() else ""
        if words:
            yield words


@functools.cache
def _tagger() -> Any:
    import fugashi
    import jumandic

    return fugashi.GenericTagger(f"{jumandic.MECAB_ARGS} -Owakati")


def split_symbols(line: str) -> Iterator[str]:
    """A line with a space on both sides of each symbol, in lines of at most 1,000 characters of the original.

    "a+=1; 東京" -> "a + = 1 ; 東京"
    """
    for start in range(0, len(line), _SYMBOL_LINE):
        parts = _symbols().sub(r" \g<0> ", line[start : start + _SYMBOL_LINE])
        yield _spaces().sub(" ", parts).strip()


def is_symbol(character: str) -> bool:
    """Whether v2.1 counts a character as a symbol: digits, punctuation and accented letters are, a space is not."""
    return character != " " and _symbols().fullmatch(character) is not None


@functools.cache
def _symbols() -> Any:
    import regex

    return regex.compile(f"[^{_LETTERS} ]")


@functools.cache
def _spaces() -> Any:
    import regex

    return regex.compile(" +")


SEGMENTERS: dict[str, Callable[[str], Iterator[str]]] = {
    "japanese_words": japanese_words,
    "split_symbols": split_symbols,
}
# What cuts the text, besides the code here: other versions may cut it otherwise.
_PACKAGES = {"japanese_words": ("fugashi", "jumandic"), "split_symbols": ("regex",)}


def versions(segmenters: Iterable[str]) -> dict[str, str]:
    """Package -> version of all that these segmenters use.

    Raises:
      UserError: one is not installed.
    """
    found = {}
    for segmenter in segmenters:
        for package in _PACKAGES[segmenter]:
            try:
                found[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                raise UserError(
                    f"the segmenter {segmenter} needs the package {package}, which is not installed; install it"
                ) from None
    return found
