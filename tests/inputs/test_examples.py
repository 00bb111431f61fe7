"""Examples: an epoch holds each example whole and as often as it should; any batch, and its inverse, from (seed, step)."""

from __future__ import annotations

import copy
from collections import Counter

import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.inputs import Source, TokenStore, batch_at, prefetch, steps_of_document, where
from tests.inputs.example_stores import (
    epoch_segments,
    equal,
    example_store,
    examples_of,
    expected_targets,
    segments_of,
    targets_of,
    write_store,
)


def documents_of(source: Source):
    """(ids, mask) of every document."""
    store, starts = source.store, np.asarray(source.store.document_starts)
    for i in range(len(store)):
        yield store[i], store.mask[starts[i] : starts[i + 1]]


# What an epoch holds.


def test_the_example_of_the_docstring(tmp_path):
    store = write_store(tmp_path / "s", [[5, 6, 8, 7], [5, 9, 7]], [[0, 0, 1, 1], [0, 1, 1]])
    batch = examples_of(Source("s", 1, store), length=7, rows=1).batch(0)
    assert {name: array[0].tolist() for name, array in batch.items()} == {
        "tokens": [5, 6, 8, 5, 9, 0, 0],
        "targets": [6, 8, 7, 9, 7, 0, 0],
        "loss_weights": [0, 1, 1, 1, 1, 0, 0],
        "segment_ids": [1, 1, 1, 2, 2, 0, 0],
        "positions": [0, 1, 2, 0, 1, 0, 0],
    }
    types = {name: array.dtype for name, array in batch.items()}
    assert types.pop("loss_weights") == np.float32 and set(types.values()) == {np.dtype(np.int32)}


def test_every_epoch_has_the_targets_of_its_examples_unpacked_and_no_others(sources, mode):
    examples = examples_of(*sources, **mode)
    expected = Counter()
    for source in sources:
        for ids, mask in documents_of(source):
            for _ in range(source.weight):
                expected.update(expected_targets(ids, mask))
    for epoch in range(3):
        first, found = epoch * examples.steps_per_epoch(), Counter()
        for step in range(first, first + examples.steps_per_epoch()):
            found.update(targets_of(examples.batch(step)))
        assert found == expected


def test_every_epoch_has_each_example_whole_as_often_as_its_source_is_repeated(sources, mode):
    examples = examples_of(*sources, **mode)
    expected = Counter()
    for source in sources:
        for ids, mask in documents_of(source):
            expected[tuple(expected_targets(ids, mask))] += source.weight
    for epoch in (0, 1, 7):
        assert epoch_segments(examples, epoch) == expected
    assert len(examples) == expected.total() == 40 * 5


def test_epochs_differ_in_their_order_and_seeds_too(sources, mode):
    one, other = examples_of(*sources, **mode), examples_of(*sources, seed=1, **mode)
    orders = [
        [
            (sample.source, sample.sample)
            for step in range(9)
            for sample in where(given, first + step)
        ]
        for given, first in ((one, 0), (one, one.steps_per_epoch()), (other, 0))
    ]
    assert orders[0] != orders[1] and orders[0] != orders[2]


def test_epochs_put_other_examples_together(sources):
    examples = examples_of(*sources)
    steps = examples.steps_per_epoch()

    def rows(epoch: int) -> set[tuple]:
        found = {}
        for step in range(epoch * steps, (epoch + 1) * steps):
            for sample in where(examples, step):
                found.setdefault((step, sample.row), []).append((sample.source, sample.sample))
        return {tuple(sorted(row)) for row in found.values()}

    assert len(rows(0) & rows(1)) < len(rows(0)) / 2


def test_padding_is_empty_and_only_at_the_right(sources, mode):
    examples = examples_of(*sources, **mode)
    for step in range(examples.steps_per_epoch()):
        batch = examples.batch(step)
        padding = batch["segment_ids"] == 0
        assert (np.diff(padding.astype(int), axis=1) >= 0).all()
        for field in ("tokens", "targets", "loss_weights", "positions"):
            assert not batch[field][padding].any()


def test_padded_rows_are_as_long_as_the_bucket_and_waste_at_most_one_batch_a_bucket(sources):
    examples = examples_of(*sources, packing=False, buckets=(8, 16, 24, 32))
    seen, too_long = Counter(), 0
    for step in range(examples.steps_per_epoch()):
        batch = examples.batch(step)
        length, most = batch["tokens"].shape[1], (batch["segment_ids"] > 0).sum(1).max()
        assert batch["segment_ids"].max() == 1 and most <= length
        seen[length] += 1
        below = [bucket for bucket in (0, 8, 16, 24) if bucket < length][-1]
        too_long += (batch["segment_ids"] > 0).sum(1).min() <= below
    assert set(seen) == {8, 16, 24, 32} and too_long <= 4


def test_default_buckets_are_parts_of_the_sequence_length(sources):
    examples = examples_of(*sources, packing=False)
    lengths = {examples.batch(s)["tokens"].shape[1] for s in range(examples.steps_per_epoch())}
    assert lengths == {4, 8, 16, 32}


# Pure functions of (seed, step).


def test_a_batch_depends_on_neither_history_nor_the_rows_asked_for(sources, pairs, mode):
    for given in (sources, (pairs,)):
        examples, random = examples_of(*given, **mode), np.random.default_rng(0)
        whole = [examples.batch(step) for step in range(3 * examples.steps_per_epoch())]
        for _ in range(100):
            step = int(random.integers(len(whole)))
            first, stop = np.sort(random.integers(0, 5, 2)).tolist()
            fresh = examples_of(*reversed(given), **mode)
            one = random.choice([examples, fresh])
            part = batch_at(one, step, slice(first, stop))
            assert equal(part, {name: array[first:stop] for name, array in whole[step].items()})


def test_where_tells_what_is_in_each_row(sources, pairs, mode):
    for given in (sources, (pairs,)):
        examples = examples_of(*given, **mode)
        stores = {source.name: source.store for source in given}
        for step in range(2 * examples.steps_per_epoch()):
            batch, told = examples.batch(step), []
            for sample in where(examples, step):
                assert sample.step == step and sample.epoch == step // examples.steps_per_epoch()
                store = stores[sample.source]
                for span in sample.spans:
                    ids, mask = store.tokens(*span[:2]), store.mask[span.start : span.stop]
                    assert ids.tolist() == store[span.first_document].tolist()
                    told.append((sample.row, tuple(expected_targets(ids, mask))))
            rows = [
                (row, segment)
                for row in range(4)
                for segment in segments_of({k: v[row : row + 1] for k, v in batch.items()})
            ]
            assert told == rows


def test_the_steps_of_every_document_are_found(sources, pairs, mode):
    for given in (sources, (pairs,)):
        examples = examples_of(*given, **mode)
        epochs = (0, 1, 2)
        steps = examples.steps_per_epoch()
        everything = [sample for step in range(3 * steps) for sample in where(examples, step)]
        for source in given:
            for document in range(len(source.store)):
                found = steps_of_document(examples, source.name, document, epochs)
                expected = [
                    s for s in everything if s.source == source.name and document in s.documents
                ]
                assert found == sorted(expected) and len(found) == 3 * source.weight


def test_tokens_that_are_cut_away_are_in_no_step(sources, mode):
    examples = examples_of(*sources, max_length=10, **mode)
    everything = [
        sample for step in range(examples.steps_per_epoch()) for sample in where(examples, step)
    ]
    nowhere = 0
    for source in sources:
        for document in range(len(source.store)):
            begin = source.store.document_starts[document]
            for token in range(len(source.store[document])):
                found = steps_of_document(
                    examples, source.name, document, tokens=slice(token, token + 1)
                )
                expected = [
                    s
                    for s in everything
                    if s.source == source.name
                    and any(span.start <= begin + token < span.stop for span in s.spans)
                ]
                assert found == sorted(expected)
                nowhere += not found
    assert nowhere
    steps = examples.steps_per_epoch()
    assert [examples.epochs_begun("a", n) for n in (0, 1, steps, steps + 1)] == [0, 1, 1, 2]


def test_places_and_documents_are_inverses_at_200_random_far_steps(sources, mode):
    examples, random = examples_of(*sources, **mode), np.random.default_rng(1)
    for step in random.integers(0, 10**9, 200).tolist():
        samples = where(examples, step)
        sample = samples[int(random.integers(len(samples)))]
        found = steps_of_document(examples, sample.source, sample.documents[0], (sample.epoch,))
        assert sample in found
        assert all(other in where(examples, other.step) for other in found)


def test_prefetching_gives_batches_of_several_lengths_in_order(sources):
    examples = examples_of(*sources, packing=False)
    lengths = set()
    for step, batch in prefetch(examples, 3, lambda batch: batch, stop_step=30):
        assert equal(batch, examples.batch(step))
        lengths.add(batch["tokens"].shape[1])
    assert len(lengths) > 1


def test_a_negative_step_is_a_defect_of_the_caller(sources):
    for ask in (batch_at, where):
        with pytest.raises(ValueError, match="step is -1"):
            ask(examples_of(*sources), -1)


def test_a_document_that_is_not_there_is_refused(sources):
    with pytest.raises(UserError, match="no source d; the sources are a, b, c"):
        steps_of_document(examples_of(*sources), "d", 0)
    with pytest.raises(UserError, match="a has 40 documents and no document 40"):
        steps_of_document(examples_of(*sources), "a", 40)


# Pairs.


def test_the_halves_of_a_pair_lie_in_one_row_chosen_first(pairs, mode):
    examples = examples_of(pairs, **mode)
    store, starts = pairs.store, np.asarray(pairs.store.document_starts)
    contents = [
        tuple(expected_targets(store[i], store.mask[starts[i] : starts[i + 1]]))
        for i in range(len(store))
    ]
    expected = Counter({(contents[2 * i], contents[2 * i + 1]): 2 for i in range(40)})
    found = Counter()
    for step in range(examples.steps_per_epoch()):
        batch = examples.batch(step)
        for row in range(4):
            segments = segments_of({name: array[row : row + 1] for name, array in batch.items()})
            assert len(segments) % 2 == 0
            found.update(zip(segments[::2], segments[1::2], strict=True))
    assert examples.pairs and found == expected


def test_examples_and_pairs_do_not_go_together(sources, pairs):
    with pytest.raises(UserError, match="the sources pairs are of preference pairs"):
        examples_of(*sources, pairs)


# What they say of themselves.


def test_shares_and_steps_are_those_of_the_batches(sources, pairs, mode):
    for given in (sources, (pairs,)):
        examples = examples_of(*given, **mode)
        batches = [examples.batch(step) for step in range(examples.steps_per_epoch())]
        slots = sum(batch["tokens"].size for batch in batches)
        loss = sum(batch["loss_weights"].sum() for batch in batches)
        held = sum((batch["segment_ids"] > 0).sum() for batch in batches)
        assert examples.share_of_loss == pytest.approx(loss / slots)
        assert examples.density == pytest.approx(held / slots)


def test_epochs_become_steps_rounded_up(sources):
    examples = examples_of(*sources, rows=2)
    per_epoch = examples.steps_per_epoch()
    assert examples.steps(1) == per_epoch and examples.steps(3) == 3 * per_epoch
    assert examples.steps(0.1) == -(-per_epoch // 10) and examples.steps(1e-9) == 1
    for epochs in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UserError, match="must be a number above 0"):
            examples.steps(epochs)


def test_the_identity_changes_with_whatever_changes_the_batches_and_with_nothing_else(
    sources, tmp_path
):
    def fingerprint(*given, **changes):
        return examples_of(*(given or sources), **changes).fingerprint

    a, b, c = sources
    other_mask = write_store(
        tmp_path / "m",
        [ids for ids, _ in documents_of(a)],
        [np.ones(len(ids)) for ids, _ in documents_of(a)],
    )
    variants = [
        fingerprint(),
        fingerprint(a, b),
        fingerprint(Source("a", 2, a.store), b, c),
        fingerprint(Source("a", 1, other_mask), b, c),
        fingerprint(length=48),
        fingerprint(rows=8),
        fingerprint(seed=1),
        fingerprint(max_length=20),
        fingerprint(packing=False),
        fingerprint(packing=False, buckets=(16, 32)),
    ]
    assert len(set(variants)) == len(variants)
    assert fingerprint(c, a, b) == fingerprint() == fingerprint(template=None)
    assert fingerprint(packing=False, buckets=(4, 8, 16, 32)) == fingerprint(packing=False)


def test_it_can_be_copied_as_gin_copies(sources):
    examples = examples_of(*sources)
    assert equal(copy.deepcopy(examples).batch(3), examples.batch(3))


# What is refused.


def test_a_store_for_pre_training_is_refused(tmp_path, random_store):
    with pytest.raises(UserError, match=r"has no .mask.*built for pre-training"):
        examples_of(Source("text", 1, random_store("text")))


def test_a_mask_that_was_changed_or_lost_or_cut_is_refused(tmp_path):
    example_store(tmp_path / "s")
    path = tmp_path / "s.mask"
    whole = path.read_bytes()
    for damaged, sentence in (
        (bytes(len(whole)), "is not what it was when the store was built"),
        (whole[:-1], "bytes and the store beside it"),
        (None, "which the store had when it was built"),
    ):
        path.write_bytes(damaged) if damaged is not None else path.unlink()
        with pytest.raises(UserError, match=sentence) as raised:
            examples_of(Source("s", 1, TokenStore(tmp_path / "s")))
        assert "s.mask" in str(raised.value) and "\n" not in str(raised.value)


def test_sizes_that_are_no_sizes_are_refused(sources):
    for changes, sentence in (
        ({"length": 1}, "sequence_length is 1"),
        ({"rows": 0}, "batch_size is 0"),
        ({"packing": False, "buckets": (4, 8)}, "end before the longest example"),
        ({"packing": False, "buckets": (4, 64)}, "rows longer than sequence_length = 32"),
        ({"max_length": 34}, "max_length = 34 is too long"),
    ):
        with pytest.raises(UserError, match=sentence):
            examples_of(*sources, **changes)
    with pytest.raises(UserError, match="give at least one, each once"):
        examples_of(sources[0], sources[0])
    assert examples_of(*sources, max_length=33).longest <= 33
