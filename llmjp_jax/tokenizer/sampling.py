"""A random sample of corpora on disk, of a given number of bytes: streamed twice, in memory that does not grow with them.

Each document of a source draws a number from its place in it and the seed. The first pass adds up the bytes by that
number, which tells where to stop; the second writes what lies below. The same files and seed give the same sample.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import xxhash
from tqdm import tqdm

from llmjp_jax.corpus.documents import parse_document
from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write

_BUCKETS = 1 << 16  # of the drawn numbers; only the documents of one are ever held in memory

# Yields the texts anew; its argument says what for, which its progress bar shows.
Texts = Callable[[str], Iterator[str]]


def write_sample(sources: Sequence[tuple[str, Texts, int]], output_path: Path, *, seed: int) -> int:
    """Writes a sample of each source's texts, a line each (a text's newlines stay), and returns its bytes.

    A source that is smaller than its share is taken whole; of the last text that fits a part is taken, so that the
    share is full to the character.

    Args:
      sources: (name, a function that yields the texts, see `texts_of`, bytes of UTF-8 to take).
      output_path: written whole or not at all.
      seed: of the drawn numbers.
    """
    written = 0
    with atomic_write(output_path) as file:
        for name, texts, size in sources:
            for text in sample(texts, size, seed=f"{seed}/{name}"):
                written += file.write(text) + file.write(b"\n") - 1
    return written


def sample(texts: Texts, size: int, *, seed: str) -> Iterator[bytes]:
    """Texts drawn at random until `size` bytes of UTF-8 are full, in the source's order, the last ones drawn at the end."""
    draw = xxhash.xxh3_64_intdigest(seed.encode())
    histogram = np.zeros(_BUCKETS, np.int64)
    for number, text in enumerate(texts("measuring")):
        histogram[_drawn(number, draw) % _BUCKETS] += len(text.encode())
    below = int(
        np.searchsorted(np.cumsum(histogram), size, side="right")
    )  # these buckets fit whole
    left = size - int(histogram[:below].sum())
    last: list[tuple[int, bytes]] = []
    for number, text in enumerate(texts("sampling")):
        drawn = _drawn(number, draw)
        if drawn % _BUCKETS < below:
            yield text.encode()
        elif drawn % _BUCKETS == below:
            last.append((drawn, text.encode()))
    for _, text in sorted(last):
        if left <= 0:
            return
        yield text if len(text) <= left else text[:left].decode(errors="ignore").encode()
        left -= len(text)


def _drawn(number: int, draw: int) -> int:
    return xxhash.xxh3_64_intdigest(number.to_bytes(8, "little"), draw)


def texts_of(
    paths: Sequence[str | os.PathLike], keep: Callable[[str], bool] | None = None
) -> Texts:
    """A function that yields the texts of JSONL files, one after another, with a bar over their bytes.

    The function takes what the texts are read for, with which the bar begins.

    Args:
      keep: only texts for which it is true.

    Raises:
      UserError: from the function: a file is missing or damaged.
    """

    def texts(purpose: str) -> Iterator[str]:
        for path in map(Path, paths):
            if not path.is_file():
                raise UserError(f"there is no corpus file {path}; check the path")
            size, label = path.stat().st_size, f"{purpose} {path}"
            with (
                path.open("rb") as file,
                tqdm(total=size, desc=label, unit="B", unit_scale=True) as bar,
            ):
                for number, line in enumerate(file, 1):
                    bar.update(len(line))
                    text = parse_document(line, f"{path}, line {number}")["text"]
                    if keep is None or keep(text):
                        yield _encodable(text, path, number)

    return texts


def _encodable(text: str, path: str | os.PathLike, number: int) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{path}, line {number}: the text has a lone surrogate {text[error.start]!r}, which is no character; "
            "remove it"
        ) from None
    return text


def is_japanese(text: str) -> bool:
    """Whether at least a tenth of a text's visible characters are kana or kanji, and one of the first thousand is kana.

    It tells Japanese from English in files that mix them, for want of a label; it is no filter.
    """
    head = [character for character in text[:1000] if not character.isspace()]
    kana = sum("\u3040" <= character <= "\u30ff" for character in head)
    kanji = sum("\u4e00" <= character <= "\u9fff" for character in head)
    return kana > 0 and 10 * (kana + kanji) >= len(head)


def lines_of(paths: Iterable[Path]) -> Iterator[str]:
    """The lines of text files, without their ends: only `\\n` ends a line here."""
    for path in paths:
        with path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                yield line.removesuffix("\n")
