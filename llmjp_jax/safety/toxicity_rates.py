"""How much of some texts a toxicity classifier flags: of a corpus's files, and of what a model wrote."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from llmjp_jax.corpus.readers import BrokenRecord, read_raw, reader_of
from llmjp_jax.errors import UserError
from llmjp_jax.safety.toxicity_classifier import ToxicityClassifier

# Texts scored together: their features are in memory at a time.
_CHUNK = 256


class Rate:
    """Counts over texts as they come: memory does not grow with them.

    Args:
      classifier: says what is flagged.
    """

    def __init__(self, classifier: ToxicityClassifier):
        self.classifier = classifier
        self.texts = 0
        self.empty = 0
        self.flagged = np.zeros(len(classifier.classes), np.int64)
        self.sums = np.zeros(len(classifier.classes))

    def add(self, texts: Sequence[str]) -> np.ndarray:
        """Counts texts and returns their probabilities [texts, classes]; an empty text is never flagged."""
        probabilities = self.classifier.probabilities(texts)
        says = np.array([bool(text.strip()) for text in texts], bool)
        self.texts += len(texts)
        self.empty += int((~says).sum())
        self.flagged += (self.classifier.flagged(probabilities) & says[:, None]).sum(0)
        self.sums += probabilities[says].sum(0)
        return probabilities

    def result(self) -> dict[str, Any]:
        """Scores and counts as JSON values: the toxicity rate with its 95 % interval (Wilson's), and each other class's.

        Shares are of the texts that are not empty.

        Raises:
          UserError: there was no such text.
        """
        count = self.texts - self.empty
        if not count:
            raise UserError("there is no text to score; give a file with texts that are not empty")
        names, rates = self.classifier.classes, self.flagged / count
        low, high = wilson_interval(int(self.flagged[0]), count)
        return {
            "scores": {"toxicity_rate": float(rates[0]), "toxicity_rate_low": low, "toxicity_rate_high": high,
                       "mean_probability": float(self.sums[0] / count)},
            "categories": {name: float(rate) for name, rate in zip(names[1:], rates[1:], strict=True)},
            "counts": {"items": self.texts, "empty": self.empty, "flagged": int(self.flagged[0])},
        }  # fmt: skip


def wilson_interval(hits: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a share of which `hits` of `count` were seen (Wilson 1927)."""
    share = hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def rate_files(
    classifier: ToxicityClassifier,
    paths: Sequence[str | Path],
    *,
    field: str = "text",
    max_texts: int | None = None,
    progress: bool = False,
) -> Rate:
    """The rate over JSON lines (also `.gz`, `.zst`, `.bz2`) or Parquet files, streamed.

    Args:
      field: of a record that holds its text.
      max_texts: the first so many of all files; None: all.

    Raises:
      UserError: a file is missing, or a record is broken or has no such text; names the place.
    """
    rate = Rate(classifier)
    for path in paths:
        if not Path(path).is_file():
            raise UserError(f"there is no file {path}; check the path")
    size = sum(Path(path).stat().st_size for path in paths)
    with tqdm(total=size, unit="B", unit_scale=True, desc="toxicity", disable=not progress) as bar:
        for chunk in _chunks(_texts(paths, field, bar.update), max_texts):
            rate.add(chunk)
            bar.set_postfix(texts=rate.texts, flagged=int(rate.flagged[0]), refresh=False)
    return rate


def _texts(paths, field: str, progress: Callable[[int], Any]) -> Iterator[str]:
    for path in paths:
        for position, record in read_raw(path, reader_of(path), {"progress": progress}):
            if isinstance(record, BrokenRecord):
                raise UserError(f"{path}, {position}: {record.reason}; mend the file")
            text = record.get(field)
            if not isinstance(text, str):
                raise UserError(
                    f"{path}, {position} has no string {field!r} (it has {', '.join(record) or 'nothing'}); "
                    "name the field of the text by --field"
                )
            yield text


def _chunks(texts: Iterable[str], most: int | None) -> Iterator[list[str]]:
    chunk: list[str] = []
    for number, text in enumerate(texts):
        if number == most:
            break
        chunk.append(text)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
