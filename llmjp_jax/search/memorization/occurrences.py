"""How often a continuation stands in the training corpus, and when the model saw it: from the index and the trace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmjp_jax.search.memorization.samples import Part
from llmjp_jax.search.results import Where

if TYPE_CHECKING:
    from llmjp_jax.search.corpus_index import CorpusIndex
    from llmjp_jax.search.trace import Trace

MOST_DOCUMENTS = 1000  # that are looked at for when they were seen; of more, the first ones


@dataclass(frozen=True, kw_only=True)
class Occurrences:
    """What is known of a run of tokens.

    Attributes:
      documents: of the training split that hold it.
      occurrences: in all of them together.
      crosses: whether it was drawn from across the end of a document; such a run stands in no document.
      times_seen: rows of the steps so far that hold the whole of it.
      last_step: of the newest of them; None if there is none.
      all_looked_at: False where `MOST_DOCUMENTS` hold it and more, so that `times_seen` and `last_step` are lower bounds.
    """

    documents: int
    occurrences: int
    crosses: bool
    times_seen: int
    last_step: int | None
    all_looked_at: bool


def occurrences(index: CorpusIndex, trace: Trace, ids: Sequence[int], parts: Sequence[Part], before: int,
                where: Where) -> Occurrences:  # fmt: skip
    """How often `ids` stand in the stores of `where`, and in which rows of steps 0 to `before - 1`.

    Args:
      parts: where the ids were drawn from; a run of several parts is followed through the documents that it crosses.
      before: the step of the checkpoint, which is the number of batches that it has seen.
    """
    found = index.find_tokens(ids, where, limit=MOST_DOCUMENTS, context=0)
    rows: set[tuple[int, int]] = set()
    for hit in found.hits:
        tokens = index.document(hit.document).tokens
        for start in _places(tokens, ids):
            rows |= _rows(trace, Part(hit.document, start, start + len(ids)))
    if len(parts) > 1:
        rows |= _rows_across(trace, parts)
    steps = [step for step, _ in rows if step < before]
    return Occurrences(
        documents=found.counts.documents,
        occurrences=found.counts.occurrences,
        crosses=len(parts) > 1,
        times_seen=len(steps),
        last_step=max(steps, default=None),
        all_looked_at=len(found.hits) == found.counts.documents,
    )


def _places(tokens: np.ndarray, ids: Sequence[int]) -> Iterable[int]:
    """Where `ids` begin in a document, overlapping ones too."""
    needle = np.asarray(ids)
    if len(tokens) < len(needle):
        return []
    windows = np.lib.stride_tricks.sliding_window_view(tokens, len(needle))
    candidates = np.flatnonzero(tokens[: len(windows)] == needle[0])
    return [int(place) for place in candidates if np.array_equal(windows[place], needle)]


def _rows(trace: Trace, part: Part) -> set[tuple[int, int]]:
    """The (step, row) that hold the whole part."""
    return {
        (seen.step, seen.row)
        for seen in trace.seen(part.document, part.start, part.stop)
        if seen.start <= part.start and part.stop <= seen.stop
    }


def _rows_across(trace: Trace, parts: Sequence[Part]) -> set[tuple[int, int]]:
    """The (step, row) in which the parts stand whole and one directly after another."""
    together = set.intersection(*(_rows(trace, part) for part in parts))
    return {(step, row) for step, row in together if _adjacent(trace.rows(step), row, parts)}


def _adjacent(rows: Sequence, row: int, parts: Sequence[Part]) -> bool:
    pieces = [Part(piece.document, piece.start, piece.stop) for piece in rows[row].pieces]
    return any(
        all(
            piece.document == part.document
            # All but the first begin where their piece does; all but the last end where it does.
            and (piece.start <= part.start if number == 0 else piece.start == part.start)
            and (part.stop <= piece.stop if number == len(parts) - 1 else piece.stop == part.stop)
            for number, (piece, part) in enumerate(zip(pieces[first:], parts, strict=False))
        )
        for first in range(len(pieces) - len(parts) + 1)
    )
