"""Places in text whose continuation a model is asked for: in the rows that a run saw, in validation splits, in texts of one's own."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tqdm import tqdm

from llmjp_jax.corpus import read_documents
from llmjp_jax.errors import UserError
from llmjp_jax.search.memorization.protocol import Protocol
from llmjp_jax.search.results import DocumentId

if TYPE_CHECKING:
    from llmjp_jax.inputs import TokenStore
    from llmjp_jax.search.trace import Trace
    from llmjp_jax.tokenizer import Vocabulary

TRAINED, HELD_OUT, TEXT = "trained", "held_out", "text"


class Part(NamedTuple):
    """Tokens `start` to `stop - 1` of a document."""

    document: DocumentId
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The longest prefix that is asked with, and its continuation.

    Attributes:
      group: 'trained', 'held_out' or 'text'.
      source: the Task it comes from; of a text its file and line.
      ids: token ids; the last `protocol.continuation` of them are the continuation.
      parts: the documents that the continuation lies in, in order; none for a text.
      step, row: of the batch that it was drawn from; None for one that is not from a batch.
    """

    group: str
    source: str
    ids: tuple[int, ...]
    parts: tuple[Part, ...] = ()
    step: int | None = None
    row: int | None = None

    def continuation(self, protocol: Protocol) -> tuple[int, ...]:
        return self.ids[-protocol.continuation :]

    def prefix(self, protocol: Protocol, length: int) -> tuple[int, ...]:
        """The `length` tokens directly before the continuation."""
        stop = len(self.ids) - protocol.continuation
        return self.ids[stop - length : stop]

    def prefix_lengths(self, protocol: Protocol) -> tuple[int, ...]:
        """Those of the protocol's that it is long enough for."""
        stop = len(self.ids) - protocol.continuation
        return tuple(length for length in protocol.prefix_lengths if length <= stop)


def digest(samples: Sequence[Sample]) -> str:
    """What a list of samples is known by."""
    found = hashlib.sha256()
    for sample in samples:
        found.update(f"{sample.group} {','.join(map(str, sample.ids))}\n".encode())
    return found.hexdigest()[:16]


def trained_samples(trace: Trace, protocol: Protocol, count: int, *, steps: range, seed: int = 0,
                    progress: bool = False) -> list[Sample]:  # fmt: skip
    """Places in rows of a run's batches, at most one a row: a row's first tokens, as many as the longest prefix and the
    continuation have.

    LLM-jp's are rows of every 5,000th step, cut at their 1,000th token.

    Args:
      count: how many; fewer where the steps do not have so many rows that are long enough.
      steps: the steps to draw from; `seed` decides which rows of them.

    Returns:
      The samples by step and row.
    """
    per_step = len(trace.rows(steps[0])) if len(steps) else 0
    places = range(len(steps) * per_step)
    order = random.Random(seed).sample(places, min(len(places), 2 * count))
    samples: list[Sample] = []
    with tqdm(total=min(count, len(places)), unit="row", desc="training rows", disable=not progress) as bar:  # fmt: skip
        for step, row in (divmod(place, per_step) for place in order):
            if len(samples) == count:
                break
            rows = trace.rows(steps[step])
            if row >= len(rows):
                continue  # a packed batch may have fewer rows
            parts = [Part(piece.document, piece.start, piece.stop) for piece in rows[row].pieces]
            parts = cut(parts, 0, protocol.length)
            ids = tuple(
                token
                for part in parts
                for token in trace.store(part.document.subset)[part.document.number][part.start : part.stop].tolist()
            )  # fmt: skip
            if len(ids) < protocol.length:
                continue
            samples.append(
                Sample(
                    group=TRAINED,
                    source=parts[0].document.subset,
                    ids=ids,
                    step=steps[step],
                    row=row,
                    parts=tuple(
                        cut(parts, protocol.length - protocol.continuation, protocol.length)
                    ),
                )  # fmt: skip
            )
            bar.update()
    return sorted(samples, key=lambda sample: (sample.step, sample.row))


def cut(parts: Sequence[Part], start: int, stop: int) -> list[Part]:
    """Tokens `start` to `stop - 1` of documents' parts that stand one after another."""
    found, first = [], 0
    for part in parts:
        size = part.stop - part.start
        low, high = max(start - first, 0), min(stop - first, size)
        if low < high:
            found.append(part._replace(start=part.start + low, stop=part.start + high))
        first += size
    return found


def held_out_samples(
    stores: Mapping[str, TokenStore],
    protocol: Protocol,
    counts: Mapping[str, int],
    *,
    seed: int = 0,
) -> list[Sample]:
    """Places in validation splits, drawn evenly over their tokens, as a row would be cut there: documents follow one another.

    Args:
      stores: the validation split of each Task that has one.
      counts: how many of each; none of one that has no store, and fewer where the store has not so many places.
    """
    samples = []
    for source, count in counts.items():
        store = stores.get(source)
        places = range(max(0, store.num_tokens - protocol.length + 1) if store else 0)
        choice = random.Random(f"{seed} {source}")
        for start in sorted(choice.sample(places, min(count, len(places)))):
            stop = start + protocol.length
            samples.append(
                Sample(
                    group=HELD_OUT,
                    source=source,
                    ids=tuple(store.tokens(start, stop).tolist()),
                    parts=tuple(_parts(store, source, stop - protocol.continuation, stop)),
                )  # fmt: skip
            )
    return samples


def _parts(store: TokenStore, source: str, start: int, stop: int) -> Iterator[Part]:
    """The documents of tokens `start` to `stop - 1` of a validation store."""
    number, starts = store.document_starts.document_of(start), store.document_starts
    while int(starts[number]) < stop:
        begin, end = (int(place) for place in starts[number : number + 2])
        if begin < end:
            yield Part(DocumentId(source, "validation", number), max(start, begin) - begin, min(stop, end) - begin)  # fmt: skip
        number += 1


def text_samples(path: str | Path, vocabulary: Vocabulary, protocol: Protocol) -> list[Sample]:
    """The texts of a JSONL file (`{"text": ...}` a line): the continuation is a text's last tokens.

    A text that is too short for some prefixes is asked with the others.

    Raises:
      UserError: a line is no such object, the file has none, or a text is too short for every prefix.
    """
    samples, shortest = [], protocol.prefix_lengths[0] + protocol.continuation
    for number, document in read_documents(path):
        ids = vocabulary.encode(document["text"])
        if len(ids) < shortest:
            raise UserError(
                f"{path} line {number} has {len(ids)} tokens, fewer than the {shortest} of the shortest prefix and the "
                "continuation; give a longer text, or smaller --prefix_lengths= and --continuation="
            )
        name = f"{Path(path).name}, line {number}"
        samples.append(Sample(group=TEXT, source=name, ids=tuple(ids[-protocol.length :])))
    if not samples:
        raise UserError(f'{path} has no texts; give lines of {{"text": ...}}')
    return samples
