"""batch_at, where, steps_of_document: what a step sees, and how to find it again."""

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
    steps_of_document,
    where,
)

STEPS = 120  # of the run, where the order depends on it


@pytest.fixture
def sources(random_store) -> tuple[Source, ...]:
    return (
        Source("ja", 50, random_store("ja", seed=1)),
        Source("en", 45, random_store("en", seed=2, documents=70)),
        Source("code", 5, random_store("code", seed=3, longest=90)),
    )


@pytest.fixture
def inputs(sources) -> Inputs:
    return Inputs(sources=sources, sequence_length=16, batch_size=8, seed=3)


@pytest.fixture(params=["windows", "megatron"])
def any_inputs(request, inputs) -> Inputs:
    """The same of either order, for what holds in both."""
    return dataclasses.replace(inputs, order=request.param, total_steps=STEPS)


def equal(one, other) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


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


def test_a_step_is_the_same_whenever_and_in_whichever_order_it_is_asked_for(any_inputs):
    far = 10**9 if any_inputs.order == "windows" else STEPS - 1
    later = [batch_at(any_inputs, step) for step in (far, 7, 0)]
    again = [batch_at(dataclasses.replace(any_inputs), step) for step in (0, 7, far)]
    assert all(equal(one, other) for one, other in zip(later, reversed(again), strict=True))
    assert not equal(later[0], later[1])


@pytest.mark.parametrize("hosts", [1, 2, 4, 8])
@pytest.mark.parametrize("document_mask", [False, True])
def test_the_parts_of_the_hosts_are_the_global_batch(any_inputs, hosts, document_mask):
    inputs = dataclasses.replace(any_inputs, document_mask=document_mask)
    rows, step = inputs.batch_size // hosts, STEPS - 9
    parts = [batch_at(inputs, step, slice(h * rows, (h + 1) * rows)) for h in range(hosts)]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    assert equal(joined, batch_at(inputs, step))


def test_each_window_is_seen_once_in_each_epoch_of_its_source(inputs):
    samples = [sample for step in range(300) for sample in where(inputs, step)]
    for source in inputs.sources:
        windows = (source.store.num_tokens - 1) // 16
        mine = [s for s in samples if s.source == source.name]
        epochs = len(mine) // windows
        assert epochs >= 2 or source.name == "code"
        orders = [[s.sample for s in mine[e * windows : (e + 1) * windows]] for e in range(epochs)]
        assert all(sorted(order) == list(range(windows)) for order in orders)
        assert all(one != other for one, other in zip(orders, orders[1:], strict=False))
        assert [s.epoch for s in mine] == [i // windows for i in range(len(mine))]


def test_where_names_the_tokens_and_documents_of_each_row(any_inputs):
    stores = {source.name: source.store for source in any_inputs.sources}
    for step in (0, STEPS - 1):
        batch = batch_at(any_inputs, step)
        for sample in where(any_inputs, step):
            store = stores[sample.source]
            tokens = np.concatenate([store.tokens(span.start, span.stop) for span in sample.spans])
            assert tokens[:-1].tolist() == batch["tokens"][sample.row].tolist()
            assert tokens[1:].tolist() == batch["targets"][sample.row].tolist()
            starts = np.asarray(store.document_starts)
            for span in sample.spans:
                assert starts[span.first_document] <= span.start
                assert span.start < starts[span.first_document + 1]
                assert starts[span.stop_document - 1] < span.stop <= starts[span.stop_document]
            assert any_inputs.order == "megatron" or len(sample.spans) == 1


def test_the_steps_of_a_document_are_all_the_rows_that_hold_a_token_of_it(any_inputs):
    everything = [sample for step in range(STEPS) for sample in where(any_inputs, step)]
    assert len({sample.epoch for sample in everything}) > 1
    for source in any_inputs.sources:
        starts = np.asarray(source.store.document_starts)
        for document in range(len(source.store)):
            for epochs in (range(40), [1]):
                found = steps_of_document(any_inputs, source.name, document, epochs)
                assert found == sorted(found)
                expected = [
                    s
                    for s in everything
                    if s.source == source.name
                    and s.epoch in epochs
                    and any(
                        span.start < starts[document + 1] and span.stop > starts[document]
                        for span in s.spans
                    )
                ]
                assert [s for s in found if s.step < STEPS] == expected
                assert all(document in s.documents for s in found)


def test_some_tokens_of_a_document_are_found_where_they_are(any_inputs):
    everything = [sample for step in range(STEPS) for sample in where(any_inputs, step)]
    random = np.random.default_rng(0)
    for source in any_inputs.sources:
        starts = np.asarray(source.store.document_starts)
        for document in random.choice(len(source.store), 20, replace=False).tolist():
            begin, end = starts[document : document + 2].tolist()
            start, stop = sorted(random.integers(0, end - begin + 1, 2).tolist())
            for part, first, last in (
                (slice(start, stop), begin + start, begin + stop),
                (slice(start, None), begin + start, end),
            ):
                found = steps_of_document(any_inputs, source.name, document, range(40), part)
                expected = [
                    s
                    for s in everything
                    if s.source == source.name
                    and any(max(span.start, first) < min(span.stop, last) for span in s.spans)
                ]
                assert [s for s in found if s.step < STEPS] == expected


def test_the_epochs_that_some_steps_reach_into_follow_from_their_number(any_inputs):
    for steps in (0, 1, 2, 7, 50, STEPS - 1, STEPS):
        seen = [sample for step in range(steps) for sample in where(any_inputs, step)]
        for source in any_inputs.sources:
            epochs = {s.epoch for s in seen if s.source == source.name}
            begun = any_inputs.epochs_begun(source.name, steps)
            assert epochs <= set(range(begun))
            if any_inputs.order == "windows":
                assert begun == len(epochs)
    with pytest.raises(UserError, match="no source fr; the sources are ja, en, code"):
        any_inputs.epochs_begun("fr", 1)


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


def test_the_document_mask_of_any_row_is_that_of_its_tokens(any_inputs):
    """Each row's arrays, computed token by token from the piece and the document of each token."""
    inputs = dataclasses.replace(any_inputs, document_mask=True)
    stores = {source.name: source.store for source in inputs.sources}
    for step in range(20):
        batch = batch_at(inputs, step)
        for sample in where(inputs, step):
            document_of = stores[sample.source].document_starts.document_of
            owners = [
                (number, document_of(token))
                for number, span in enumerate(sample.spans)
                for token in range(span.start, span.stop)
            ]
            row = {name: array[sample.row].tolist() for name, array in batch.items()}
            order = list(dict.fromkeys(owners))
            assert row["segment_ids"] == [1 + order.index(d) for d in owners[:-1]]
            assert row["positions"] == [i - owners.index(d) for i, d in enumerate(owners[:-1])]
            assert row["loss_weights"] == [
                float(owners[i] == owners[i + 1]) for i in range(len(owners) - 1)
            ]


def test_the_order_of_the_sources_does_not_matter_but_in_megatrons_order(any_inputs):
    turned = dataclasses.replace(any_inputs, sources=any_inputs.sources[::-1])
    same = any_inputs.order == "windows"
    batches = [[batch_at(one, step) for step in range(20)] for one in (any_inputs, turned)]
    assert all(equal(one, other) for one, other in zip(*batches, strict=True)) == same
    assert (any_inputs.fingerprint == turned.fingerprint) == same


@pytest.mark.parametrize(
    "change",
    [
        {"sequence_length": 8},
        {"batch_size": 4},
        {"seed": 4},
        {"document_mask": True},
        {"order": "megatron", "total_steps": STEPS},
        {"order": "megatron", "total_steps": STEPS + 1},
    ],
    ids=str,
)
def test_the_fingerprint_changes_with_everything_the_batches_depend_on(any_inputs, change):
    changed = dataclasses.replace(any_inputs, **change)
    same = (changed.order, changed.total_steps) == ("megatron", STEPS) and "order" in change
    assert (changed.fingerprint == any_inputs.fingerprint) == (
        same and any_inputs.order == "megatron"
    )


def test_the_number_of_steps_matters_to_megatrons_order_alone(any_inputs):
    longer = dataclasses.replace(any_inputs, total_steps=STEPS + 50)
    same = any_inputs.order == "windows"
    assert (longer.fingerprint == any_inputs.fingerprint) == same
    assert equal(batch_at(longer, 3), batch_at(any_inputs, 3)) == same


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
        ({"order": "random"}, "order = 'random' must be one of 'windows', 'megatron'"),
        ({"order": "megatron"}, "order='megatron' needs total_steps"),
    ],
)
def test_impossible_inputs_are_refused(inputs, change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(inputs, **change)


@pytest.mark.parametrize("weight", [0, -1, 0.5])
def test_a_weight_must_be_a_positive_integer(inputs, weight):
    with pytest.raises(UserError, match="positive integer"):
        Source("ja", weight, inputs.sources[0].store)
