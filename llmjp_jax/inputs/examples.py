"""Batches for tuning, from stores of examples or of preference pairs: pure functions of stores, seed and step.

`Examples` stands where `Inputs` stands for pre-training; `batch_at`, `where`, `steps_of_document` and `prefetch` take
it too. An epoch is every example of every source, as often as its source is repeated.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from llmjp_jax.errors import UserError
from llmjp_jax.inputs.batches import Batch, Sample, Stage, fingerprint_of
from llmjp_jax.inputs.example_config import ExamplesConfig
from llmjp_jax.inputs.example_items import Items, Limits, is_pairs
from llmjp_jax.inputs.example_order import ExampleOrder
from llmjp_jax.inputs.example_rows import ItemRows
from llmjp_jax.inputs.packing import PackedRows, PaddedRows
from llmjp_jax.inputs.sources import Source

_PASS_SEED = 0  # of `one_pass`; a run's own seed does not change it


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Everything that decides which examples a step sees.

    Args:
      sources: stores with masks, all of examples or all of pairs; a source's weight is how often an epoch has it. Their
        order does not matter.
      sequence_length: L, the slots of a row; the longest bucket of padded rows.
      batch_size: rows of the global batch.
      seed: of the order.
      config: how they are cut and put into rows.

    Raises:
      UserError: a store has no mask or no example that can be used, or the lengths do not fit each other.
    """

    sources: tuple[Source, ...]
    sequence_length: int
    batch_size: int
    seed: int = 0
    config: ExamplesConfig = ExamplesConfig()

    def __post_init__(self):
        for name, least in (("sequence_length", 2), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        names = [source.name for source in self.sources]
        if not names or len(set(names)) < len(names):
            raise UserError(f"the sources are {names}; give at least one, each once")
        kinds = {source.name: is_pairs(source.store) for source in self.sources}
        if len(set(kinds.values())) > 1:
            of_pairs = ", ".join(name for name, pairs in kinds.items() if pairs)
            raise UserError(
                f"the sources {of_pairs} are of preference pairs and the others of examples; train on one kind at a time"
            )
        by_name = tuple(sorted(self.sources, key=lambda source: source.name))
        object.__setattr__(self, "sources", by_name)
        object.__setattr__(self, "_reference", None)
        _ = self._order  # what is wrong with it is found now

    # What there is.

    @property
    def pairs(self) -> bool:
        """Whether the items are pairs of a chosen and a rejected sequence, which lie in one row one after the other."""
        return is_pairs(self.sources[0].store)

    @functools.cached_property
    def items(self) -> dict[str, Items]:
        """The items of each source."""
        limits = self._limits
        return {source.name: Items(source.store, limits) for source in self.sources}

    @property
    def dropped(self) -> dict[str, int]:
        """How many examples or pairs of each source have no response within the lengths, and are left out."""
        return {name: items.dropped for name, items in self.items.items()}

    @property
    def truncated(self) -> dict[str, int]:
        """How many examples or pairs of each source are cut to the lengths."""
        return {name: items.truncated for name, items in self.items.items()}

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence, as it is trained on."""
        return max(items.longest for items in self.items.values())

    def __len__(self) -> int:
        """The items of an epoch, repetitions included."""
        return sum(source.weight * len(self.items[source.name]) for source in self.sources)

    def steps_per_epoch(self, epoch: int = 0) -> int:
        """The batches of an epoch: the same for each."""
        return self._order.rows.steps

    def steps(self, epochs: float) -> int:
        """The batches of so many epochs, rounded up."""
        if not epochs > 0 or not math.isfinite(epochs):
            raise UserError(f"epochs = {epochs!r} must be a number above 0")
        # As it is written: 0.1 of 30 steps are 3, and not 4.
        return math.ceil(Fraction(str(epochs)) * self.steps_per_epoch())

    @property
    def share_of_loss(self) -> float:
        """The tokens that carry loss, as a share of the slots of an epoch's batches."""
        loss = sum(source.weight * self.items[source.name].loss_tokens for source in self.sources)
        return loss / self._order.rows.slots

    @property
    def density(self) -> float:
        """The slots that hold a token, as a share of those of an epoch's batches."""
        held = sum(
            source.weight * int(self.items[source.name].sizes.sum()) for source in self.sources
        )
        return held / self._order.rows.slots

    @functools.cached_property
    def identity(self) -> dict:
        """What the batches depend on, in words: two runs that agree in it see the same."""
        if self.config.packing:
            rows = {"order": "examples, packed by falling best fit"}
        else:
            lengths = self.config.row_lengths(self.sequence_length)
            rows = {"order": "examples, padded in buckets", "buckets": list(lengths)}
        return {
            "sources": {
                source.name: {"repeats": source.weight, "fingerprint": source.store.fingerprint}
                for source in self.sources
            },
            "sequence_length": self.sequence_length,
            "batch_size": self.batch_size,
            "seed": self.seed,
            **{key: value for key, value in self._limits._asdict().items() if value is not None},
            **rows,
        }

    @functools.cached_property
    def fingerprint(self) -> str:
        """The sha256 of `identity`, by which a continued run knows that its data have not changed."""
        return fingerprint_of(self.identity)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The one stage that these inputs are; see `Stages`."""
        return (Stage(self, 0, None),)

    # What a step sees.

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """The global batch of a step, or some of its rows; it depends on nothing but the arguments.

        An example of n tokens takes n - 1 slots; examples follow each other from the left. Two examples, `5 6 8 7` with
        the response `8 7` and `5 9 7` with the response `9 7`, in a row of 7 slots:

            tokens        5  6  8  5  9  0  0
            targets       6  8  7  9  7  0  0
            loss_weights  0  1  1  1  1  0  0
            segment_ids   1  1  1  2  2  0  0
            positions     0  1  2  0  1  0  0

        The k-th pair of a row is its segments 2 k - 1, chosen, and 2 k, rejected.

        Returns:
          `tokens`, `targets`, `segment_ids` (0 = padding) and `positions` int32 and `loss_weights` float32; after
          `with_reference`, also `reference` float32: each [rows, length]. length is sequence_length, or the bucket's.
        """
        if step < 0:
            raise ValueError(f"step is {step}; steps count from 0")
        length, _, placed = self._order.place(step, rows)
        return self._rows.write(placed, range(self.batch_size)[rows], length, self._reference)

    def where(self, step: int) -> list[Sample]:
        """Every item of a step and its place in its source, by row and from left to right.

        `sample` is the number of the example or pair in its store, `epoch` that of all sources together.
        """
        if step < 0:
            raise ValueError(f"step is {step}; steps count from 0")
        _, epoch, placed = self._order.place(step)
        return [self._sample(step, one.row, epoch, one.item) for one in placed]

    def epochs_begun(self, source_name: str, steps: int) -> int:
        """How many epochs the first `steps` steps reach into; all sources have the same."""
        return -(-steps // self.steps_per_epoch())

    def steps_of_document(
        self, source_name: str, document: int, epochs: Iterable[int] = (0,), tokens: slice = slice(None)
    ) -> list[Sample]:  # fmt: skip
        """Every place of a document of a store in the given epochs; see `inputs.steps_of_document`.

        Of a pair both documents are in the same places. A document that is dropped, or of which `tokens` are cut away, is
        in none.
        """
        names = [source.name for source in self.sources]
        if source_name not in names:
            raise UserError(f"there is no source {source_name}; the sources are {', '.join(names)}")
        number = names.index(source_name)
        documents = len(self.sources[number].store)
        if not 0 <= document < documents:
            raise UserError(f"{source_name} has {documents} documents and no document {document}")
        item = self._rows.item_of(number, document // 2 if self.pairs else document)
        if item is None or not self._holds(item, number, document, tokens):
            return []
        return sorted(
            self._sample(step, row, epoch, item)
            for epoch in epochs
            for step, row in self._order.find(item, epoch)
        )

    def one_pass(
        self, batch_size: int, places: bool = False, source: str | None = None
    ) -> Iterator[Batch]:
        """Batches of every item once, in an order that no seed changes: for validation, and for references.

        The order is not the stored one: the first batches are a fair sample of all.

        Args:
          batch_size: rows of each batch; the last one is filled up with empty rows.
          places: adds `places`, int64 [batch_size, length]: which token of the source's store each target is, -1 in
            padding.
          source: the one source to pass over; None: all of them, which `places` does not allow if they are several.
        """
        names = [one.name for one in self.sources]
        chosen = [number for number, name in enumerate(names) if source in (None, name)]
        if not chosen or (places and len(chosen) > 1):
            raise ValueError(f"source is {source!r}; name one of {', '.join(names)}")
        order = self._ordered(chosen, [1] * len(chosen), batch_size, _PASS_SEED)
        for step in range(order.rows.steps):
            length, _, placed = order.place(step)
            yield self._rows.write(placed, range(batch_size), length, self._reference, places)

    def with_reference(self, values: Mapping[str, np.ndarray]) -> Examples:
        """The same examples, whose batches have the field `reference`: a value for each target.

        Args:
          values: for each source, the value of each token of its store: float32 [num_tokens].
        """
        given = {name: np.asarray(array) for name, array in values.items()}
        for source in self.sources:
            shape = (source.store.num_tokens,)
            array = given.get(source.name)
            if array is None or array.shape != shape or array.dtype != np.float32:
                found = "nothing" if array is None else f"{array.dtype} {array.shape}"
                raise ValueError(
                    f"the reference of {source.name} is {found}; it must be float32 {shape}"
                )
        other = copy.copy(self)  # with everything that was computed already
        object.__setattr__(other, "_reference", [given[source.name] for source in self.sources])
        return other

    # How it is found.

    @functools.cached_property
    def _limits(self) -> Limits:
        return self.config.limits(self.sequence_length, self.pairs)

    @functools.cached_property
    def _rows(self) -> ItemRows:
        return ItemRows(self.sources, list(self.items.values()))

    @functools.cached_property
    def _order(self) -> ExampleOrder:
        repeats = [source.weight for source in self.sources]
        return self._ordered(range(len(repeats)), repeats, self.batch_size, self.seed)

    def _ordered(
        self, sources: Sequence[int], repeats: Sequence[int], batch_size: int, seed: int
    ) -> ExampleOrder:
        """The order of epochs of some of the sources."""
        items = np.concatenate(
            [
                np.tile(self._rows.of_source(source), times)
                for source, times in zip(sources, repeats, strict=True)
            ]
        )
        sizes = self._rows.sizes[items]
        if self.config.packing:
            falling = np.sort(sizes)[::-1]
            return ExampleOrder(
                items, -sizes, PackedRows(falling, self.sequence_length, batch_size), seed
            )
        lengths = self.config.row_lengths(self.sequence_length)
        if sizes.max() > lengths[-1]:
            raise UserError(
                f"ExamplesConfig.buckets = {lengths!r} end before the longest {'pair' if self.pairs else 'example'}, "
                f"which takes {sizes.max()} slots; add a bucket or shorten max_length"
            )
        buckets = np.searchsorted(lengths, sizes)
        return ExampleOrder(items, buckets, PaddedRows(np.sort(buckets), lengths, batch_size), seed)

    def _holds(self, item: int, source: int, document: int, tokens: slice) -> bool:
        begin, end = self.sources[source].store.document_starts[document : document + 2].tolist()
        start, stop, _ = tokens.indices(end - begin)
        span = next(one for one in self._rows.spans(item) if one.first_document == document)
        return max(begin + start, span.start) < min(begin + stop, span.stop)

    def _sample(self, step: int, row: int, epoch: int, item: int) -> Sample:
        source, number = self.sources[self._rows.source_of(item)], self._rows.number_of(item)
        return Sample(step, row, source.name, epoch, number, self._rows.spans(item))
