"""One pass over the items, in which each is once, and values that come with the targets they are of."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from llmjp_jax.inputs import Source, where
from tests.inputs.example_stores import epoch_segments, equal, examples_of, segments_of


def test_one_pass_has_each_item_once_whatever_the_seed_and_the_batch_size(sources, pairs, mode):
    for given in (sources, (pairs,)):
        examples = examples_of(*given, **mode)
        single = [Source(source.name, 1, source.store) for source in given]
        expected = epoch_segments(examples_of(*single, **mode))
        for rows in (1, 3, 16):
            found = Counter()
            for batch in examples.one_pass(rows):
                assert len(batch["tokens"]) == rows
                found.update(segments_of(batch))
            assert found == expected
        other = examples_of(*given, seed=9, **mode)
        for one, two in zip(examples.one_pass(3), other.one_pass(3), strict=True):
            assert equal(one, two)


def test_places_say_which_token_of_the_store_each_target_is(sources, pairs, mode):
    for source in (sources[1], pairs):
        examples, seen = examples_of(source, **mode), []
        for batch in examples.one_pass(4, places=True):
            there = batch["places"] >= 0
            assert np.array_equal(there, batch["segment_ids"] > 0)
            places = batch["places"][there]
            assert np.array_equal(batch["targets"][there], source.store.tokens(0, 10**6)[places])
            seen += places.tolist()
        firsts = set(np.asarray(source.store.document_starts).tolist())
        assert sorted(seen) == [i for i in range(source.store.num_tokens) if i not in firsts]


def test_one_pass_with_places_needs_one_source(sources):
    examples = examples_of(*sources)
    with pytest.raises(ValueError, match="name one of a, b, c"):
        next(examples.one_pass(4, places=True))
    assert next(examples.one_pass(4, places=True, source="b"))["places"].shape == (4, 32)


def test_a_reference_comes_with_the_target_that_it_is_of(sources, mode):
    plain = examples_of(*sources, **mode)
    values = {
        s.name: np.random.default_rng(1).random(s.store.num_tokens, np.float32) for s in sources
    }
    examples = plain.with_reference(values)
    for step in range(examples.steps_per_epoch()):
        batch = examples.batch(step)
        expected = np.zeros_like(batch["reference"])
        seen = Counter()
        for sample in where(examples, step):
            at = seen[sample.row]
            (span,) = sample.spans
            stretch = values[sample.source][span.start + 1 : span.stop]
            expected[sample.row, at : at + len(stretch)] = stretch
            seen[sample.row] += len(stretch)
        assert batch["reference"].dtype == np.float32
        assert np.array_equal(batch.pop("reference"), expected)
        assert equal(batch, plain.batch(step))
    assert "reference" in next(examples.one_pass(2))
    assert examples.fingerprint == plain.fingerprint


def test_a_reference_of_another_shape_or_type_is_refused(sources):
    examples = examples_of(*sources)
    values = {s.name: np.zeros(s.store.num_tokens, np.float32) for s in sources}
    for wrong in (np.zeros(3, np.float32), values["b"].astype(np.float64)):
        with pytest.raises(ValueError, match="the reference of b is"):
            examples.with_reference(values | {"b": wrong})
    with pytest.raises(ValueError, match="the reference of c is nothing"):
        examples.with_reference({"a": values["a"], "b": values["b"]})
