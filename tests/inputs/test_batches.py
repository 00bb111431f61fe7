"""batch_at, where, steps_of_document, epoch_batches: what a step sees, and how to find it again."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.inputs import (
    Inputs,
    Source,
    TokenStore,
    TokenStoreWriter,
    batch_at,
    epoch_batches,
    steps_of_document,
    where,
)


@pytest.fixture
def inputs(random_store) -> Inputs:
    return Inputs(
        sources=(
            Source("ja", 50, random_store("ja", seed=1)),
            Source("en", 45, random_store("en", seed=2, documents=70)),
            Source("code", 5, random_store("code", seed=3, longest=90)),
        ),
        sequence_length=16,
        batch_size=8,
        seed=3,
    )


def equal(one, other) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def whole(store: TokenStore) -> np.ndarray:
    return store.tokens(0, store.num_tokens)


def test_a_batch_has_the_five_arrays_and_targets_are_the_next_tokens(inputs):
    batch = batch_at(inputs, 5)
    types = {name: array.dtype.name for name, array in batch.items()}
    assert types == {
        "tokens": "int32",
        "targets": "int32",
        "loss_weights": "float32",
        "segment_ids": "int32",
        "positions": "int32",
    }
    assert all(array.shape == (8, 16) for array in batch.values())
    assert np.array_equal(batch["tokens"][:, 1:], batch["targets"][:, :-1])
    assert (batch["segment_ids"] == 1).all() and (batch["loss_weights"] == 1).all()
    assert (batch["positions"] == np.arange(16)).all()


def test_a_step_is_the_same_whenever_and_in_whichever_order_it_is_asked_for(inputs):
    later = [batch_at(inputs, step) for step in (10**9, 7, 0)]
    again = [batch_at(inputs, step) for step in (0, 7, 10**9)]
    assert all(equal(one, other) for one, other in zip(later, reversed(again), strict=True))
    assert not equal(later[0], later[1])


@pytest.mark.parametrize("hosts", [1, 2, 4, 8])
@pytest.mark.parametrize("document_mask", [False, True])
def test_the_parts_of_the_hosts_are_the_global_batch(inputs, hosts, document_mask):
    inputs = dataclasses.replace(inputs, document_mask=document_mask)
    rows = inputs.batch_size // hosts
    parts = [batch_at(inputs, 123_456, slice(h * rows, (h + 1) * rows)) for h in range(hosts)]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    assert equal(joined, batch_at(inputs, 123_456))


def test_each_window_is_seen_once_in_each_epoch_of_its_source(inputs):
    samples = [sample for step in range(300) for sample in where(inputs, step)]
    for source in inputs.sources:
        windows = inputs.windows(source)
        mine = [s for s in samples if s.source == source.name]
        epochs = len(mine) // windows
        assert epochs >= 2 or source.name == "code"
        orders = [[s.window for s in mine[e * windows : (e + 1) * windows]] for e in range(epochs)]
        assert all(sorted(order) == list(range(windows)) for order in orders)
        assert all(one != other for one, other in zip(orders, orders[1:], strict=False))
        assert [s.epoch for s in mine] == [i // windows for i in range(len(mine))]


def test_where_names_the_tokens_and_documents_of_each_row(inputs):
    stores = {source.name: source.store for source in inputs.sources}
    for step in (0, 10**7):
        batch = batch_at(inputs, step)
        for sample in where(inputs, step):
            store = stores[sample.source]
            tokens = store.tokens(sample.start, sample.stop)
            assert tokens[:-1].tolist() == batch["tokens"][sample.row].tolist()
            assert tokens[1:].tolist() == batch["targets"][sample.row].tolist()
            starts = np.asarray(store.document_starts)
            assert starts[sample.first_document] <= sample.start
            assert sample.start < starts[sample.first_document + 1]
            assert starts[sample.stop_document - 1] < sample.stop <= starts[sample.stop_document]


def test_the_steps_of_a_document_are_all_the_rows_that_hold_a_token_of_it(inputs):
    everything = [sample for step in range(120) for sample in where(inputs, step)]
    for source in inputs.sources:
        starts = np.asarray(source.store.document_starts)
        for document in range(len(source.store)):
            found = steps_of_document(inputs, source.name, document, epochs=range(40))
            assert found == sorted(found)
            expected = [
                s
                for s in everything
                if s.source == source.name
                and s.start < starts[document + 1]
                and s.stop > starts[document]
            ]
            assert [s for s in found if s.step < 120] == expected


def test_an_unknown_document_or_source_is_refused(inputs):
    with pytest.raises(UserError, match="no document 50"):
        steps_of_document(inputs, "ja", 50)
    with pytest.raises(UserError, match="no source fr"):
        steps_of_document(inputs, "fr", 0)


def test_the_worked_example_of_the_document_mask(make_store):
    store = make_store("s", [[5, 6], [8], [9, 10]])
    inputs = Inputs(
        sources=(Source("s", 1, store),), sequence_length=6, batch_size=1, document_mask=True
    )
    batch = batch_at(inputs, 0)
    assert {name: array[0].tolist() for name, array in batch.items()} == {
        "tokens": [5, 6, 7, 8, 7, 9],
        "targets": [6, 7, 8, 7, 9, 10],
        "loss_weights": [1, 1, 0, 1, 0, 1],
        "segment_ids": [1, 1, 1, 2, 2, 3],
        "positions": [0, 1, 2, 0, 1, 0],
    }


def test_documents_end_where_the_store_says_not_where_a_token_looks_like_an_end(make_store):
    store = make_store("s", [[5, 7, 6], [8, 9, 11]], eod=None)
    inputs = Inputs(
        sources=(Source("s", 1, store),), sequence_length=5, batch_size=1, document_mask=True
    )
    batch = batch_at(inputs, 0)
    assert batch["segment_ids"][0].tolist() == [1, 1, 1, 2, 2]
    assert batch["positions"][0].tolist() == [0, 1, 2, 0, 1]
    assert batch["loss_weights"][0].tolist() == [1, 1, 0, 1, 1]


def test_several_sequences_of_a_document_stay_together_and_empty_documents_count_for_nothing(
    tmp_path,
):
    writer = TokenStoreWriter(tmp_path / "s", np.int32)
    for sequences in ([[5], [6]], [], [[8], [9, 10]]):
        writer.add_sequences(sequences)
    writer.commit()
    inputs = Inputs(
        sources=(Source("s", 1, TokenStore(tmp_path / "s")),),
        sequence_length=4,
        batch_size=1,
        document_mask=True,
    )
    batch = batch_at(inputs, 0)
    assert batch["segment_ids"][0].tolist() == [1, 1, 2, 2]
    assert batch["loss_weights"][0].tolist() == [1, 0, 1, 1]


def test_the_document_mask_of_any_window_is_that_of_the_stream(inputs):
    """Each row's arrays, computed token by token from the document of each token."""
    inputs = dataclasses.replace(inputs, document_mask=True)
    stores = {source.name: source.store for source in inputs.sources}
    for step in range(20):
        batch = batch_at(inputs, step)
        for sample in where(inputs, step):
            store = stores[sample.source]
            owners = store.document_starts.documents_of(
                np.arange(sample.start, sample.stop)
            ).tolist()
            row = {name: array[sample.row].tolist() for name, array in batch.items()}
            order = list(dict.fromkeys(owners))
            assert row["segment_ids"] == [1 + order.index(d) for d in owners[:-1]]
            assert row["positions"] == [i - owners.index(d) for i, d in enumerate(owners[:-1])]
            assert row["loss_weights"] == [
                float(owners[i] == owners[i + 1]) for i in range(len(owners) - 1)
            ]


@pytest.mark.parametrize("length, batch_size", [(16, 4), (7, 3), (1, 5), (5000, 2)])
def test_a_validation_pass_has_every_token_but_the_first_as_target_once(
    random_store, length, batch_size
):
    store = random_store("s")
    batches = list(epoch_batches(store, length, batch_size))
    windows = -(-(store.num_tokens - 1) // length)
    assert len(batches) == -(-windows // batch_size)
    real = np.concatenate([batch["loss_weights"].ravel() for batch in batches]) == 1
    targets = np.concatenate([batch["targets"].ravel() for batch in batches])
    tokens = np.concatenate([batch["tokens"].ravel() for batch in batches])
    segments = np.concatenate([batch["segment_ids"].ravel() for batch in batches])
    assert np.array_equal(targets[real], whole(store)[1:])
    assert np.array_equal(tokens[real], whole(store)[:-1])
    assert np.array_equal(segments == 1, real) and not targets[~real].any()
    assert all(batch["tokens"].shape == (batch_size, length) for batch in batches)


def test_a_validation_pass_can_keep_documents_apart(make_store):
    store = make_store("s", [[5, 6], [8], [9]])
    (batch,) = epoch_batches(store, 4, 2, document_mask=True)
    assert batch["segment_ids"].tolist() == [[1, 1, 1, 2], [1, 2, 0, 0]]
    assert batch["loss_weights"].tolist() == [[1, 1, 0, 1], [0, 1, 0, 0]]
    assert batch["positions"].tolist() == [[0, 1, 2, 0], [0, 0, 0, 0]]


def test_the_order_of_the_sources_does_not_matter(inputs):
    turned = dataclasses.replace(inputs, sources=inputs.sources[::-1])
    assert equal(batch_at(inputs, 11), batch_at(turned, 11))
    assert inputs.fingerprint == turned.fingerprint


@pytest.mark.parametrize(
    "change", [{"sequence_length": 8}, {"batch_size": 4}, {"seed": 4}, {"document_mask": True}]
)
def test_the_fingerprint_changes_with_everything_the_batches_depend_on(inputs, change):
    assert dataclasses.replace(inputs, **change).fingerprint != inputs.fingerprint


def test_the_fingerprint_changes_with_weights_and_stores(inputs, random_store):
    first = inputs.sources[0]
    for changed in (
        Source(first.name, 49, first.store),
        Source("other", first.weight, first.store),
        Source(first.name, first.weight, random_store("again", seed=9)),
    ):
        other = dataclasses.replace(inputs, sources=(changed, *inputs.sources[1:]))
        assert other.fingerprint != inputs.fingerprint


@pytest.mark.parametrize(
    "change, message",
    [
        ({"sequence_length": 0}, "sequence_length is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"sources": ()}, "at least one"),
        ({"sequence_length": 100_000}, "fewer than one window"),
    ],
)
def test_impossible_inputs_are_refused(inputs, change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(inputs, **change)


@pytest.mark.parametrize("weight", [0, -1, 0.5])
def test_a_weight_must_be_a_positive_integer(inputs, weight):
    with pytest.raises(UserError, match="positive integer"):
        Source("ja", weight, inputs.sources[0].store)
