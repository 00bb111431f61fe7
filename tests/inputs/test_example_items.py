"""What the lengths of a run leave of the examples and pairs of a store: TRL's own cuts, and responses that are wholly cut."""

from __future__ import annotations

import json

import numpy as np
import pytest

from llmjp_jax.conversations import Encoded, truncate_pair
from llmjp_jax.errors import UserError
from llmjp_jax.inputs import Source, build_examples, example_items
from llmjp_jax.inputs.example_items import Items, Limits
from llmjp_jax.tokenizer import load_vocabulary
from tests.inputs.example_stores import (
    EOS,
    example_store,
    examples_of,
    expected_targets,
    pair_store,
    random_example,
    targets_of,
    write_store,
)
from tests.tokenizer.conftest import MODELS


@pytest.fixture(params=[1, 1 << 22], ids=["small pieces", "one piece"])
def pieces(request, monkeypatch):
    """The mask looked at in one piece, and in as many as there can be."""
    monkeypatch.setattr(example_items, "_PIECE", request.param)


def parts_of(store, items) -> list[list[list[int]]]:
    return [
        [store.tokens(begin, end).tolist() for begin, end in zip(*bounds, strict=True)]
        for bounds in zip(items.begins, items.ends, strict=True)
    ]


def documents(store):
    starts = np.asarray(store.document_starts)
    return [(store[i], store.mask[starts[i] : starts[i + 1]]) for i in range(len(store))]


def test_an_example_too_long_loses_its_end_and_never_looks_finished(tmp_path, pieces):
    store = example_store(tmp_path / "s", 60)
    for max_length in (2, 5, 12, 27, 40):
        items = Items(store, Limits(max_length, None))
        kept = [
            (number, ids[:max_length].tolist())
            for number, (ids, mask) in enumerate(documents(store))
            if mask[1:max_length].any()
        ]
        assert items.numbers.tolist() == [number for number, _ in kept]
        assert parts_of(store, items) == [[ids] for _, ids in kept]
        assert items.dropped == 60 - len(kept) == 60 - len(items)
        cut = [ids for number, ids in kept if len(ids) < len(store[number])]
        assert items.truncated == len(cut) and not any(EOS in ids for ids in cut)
        assert items.longest == max(len(ids) for _, ids in kept)
        assert items.sizes.tolist() == [len(ids) - 1 for _, ids in kept]
        masks = [mask[1:max_length] for _, mask in documents(store)]
        assert items.loss_tokens == sum(int(mask.sum()) for mask in masks)


def test_pairs_are_cut_as_the_reference_cuts_them(tmp_path, pieces):
    store = pair_store(tmp_path / "s", 60)
    held = [Encoded(*one) for one in documents(store)]
    for max_length, max_prompt_length in ((28, 14), (12, 6), (8, 1), (8, 7), (4, 2), (2, 1)):
        items = Items(store, Limits(max_length, max_prompt_length))
        expected = [
            truncate_pair(held[i], held[i + 1], max_length, max_prompt_length)
            for i in range(0, len(held), 2)
        ]
        assert parts_of(store, items) == [[e.ids.tolist() for e in pair] for pair in expected]
        assert items.dropped == 0 and items.longest == max(len(e) for p in expected for e in p)
        assert items.loss_tokens == sum(int(e.weights.sum()) for p in expected for e in p)
        assert items.truncated == sum(
            len(pair[0]) < len(held[2 * i]) or len(pair[1]) < len(held[2 * i + 1])
            for i, pair in enumerate(expected)
        )


@pytest.mark.parametrize("name", ["v2.1-50k", "v2.2-100k"])
def test_pairs_are_trls_token_for_token_from_the_file_to_the_row(tmp_path, shared_data, name):
    """llm-jp-dpo's lock file: trl 0.7.10, `DPOTrainer.tokenize_row`."""
    lines = (shared_data / "parity" / "sft" / "dpo_rows.jsonl").read_text("utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["tokenizer"] == name]
    # An empty answer is refused when a file is read; it is there to test their tokenisation.
    rows = [row for row in rows if row["chosen"] and row["rejected"]]
    assert len(rows) >= 16
    vocabulary = load_vocabulary(shared_data / "tokenizers" / MODELS[name])
    settings = {(row["max_length"], row["max_prompt_length"]) for row in rows}
    assert settings == {(2048, 1024), (96, 48)}
    for max_length, max_prompt_length in settings:
        mine = [row for row in rows if row["max_length"] == max_length]
        path = tmp_path / f"{max_length}.jsonl"
        fields = ("conversations", "chosen", "rejected")
        path.write_text(
            "".join(json.dumps({f: row[f] for f in fields}) + "\n" for row in mine), "utf-8"
        )
        store = build_examples(path, vocabulary, "v1.1", tmp_path / f"{max_length}", bos=True)
        items = Items(store, Limits(max_length, max_prompt_length))
        assert parts_of(store, items) == [
            [row["tok_chosen_input_ids"], row["tok_rejected_input_ids"]] for row in mine
        ]
        for row, begins, ends in zip(mine, items.begins, items.ends, strict=True):
            for half, begin, end in zip(("chosen", "rejected"), begins, ends, strict=True):
                labels = np.where(store.mask[begin:end], store.tokens(begin, end).astype(int), -100)
                assert labels.tolist() == row[f"tok_{half}_labels"]


def test_an_example_whose_response_is_wholly_cut_is_dropped_counted_and_in_no_batch(tmp_path):
    random = np.random.default_rng(0)
    made = [random_example(random, *lengths) for lengths in ((3, 4), (9, 4), (8, 4), (12, 1))]
    source = Source("s", 1, write_store(tmp_path / "s", *zip(*made, strict=True)))
    examples = examples_of(source, length=16, rows=2, max_length=9)
    assert examples.dropped == {"s": 2} and examples.truncated == {"s": 1} and len(examples) == 2
    found = [
        target
        for step in range(examples.steps_per_epoch())
        for target in targets_of(examples.batch(step))
    ]
    kept = [made[0], (made[2][0][:9], made[2][1][:9])]
    assert sorted(found) == sorted(t for one in kept for t in expected_targets(*one))
    assert [len(examples.steps_of_document("s", document)) for document in range(4)] == [1, 0, 1, 0]


def test_the_token_that_begins_an_example_is_no_target_and_counts_for_no_response(tmp_path):
    store = write_store(tmp_path / "s", [[9, 8], [9, 7]], [[1, 0], [0, 1]])
    items = Items(store, Limits(8, None))
    assert items.numbers.tolist() == [1] and items.loss_tokens == 1


def test_a_store_of_which_nothing_is_left_is_refused(tmp_path):
    store = write_store(tmp_path / "s", [[9, 9, 9, 8, 7]], [[0, 0, 0, 1, 1]])
    with pytest.raises(UserError, match="none of the 1 examples of .*within max_length = 3"):
        Items(store, Limits(3, None))


def test_pairs_that_lack_a_half_are_refused(tmp_path):
    store = write_store(tmp_path / "s", [[9, 8, 7]], [[0, 1, 1]], kind="pairs")
    with pytest.raises(UserError, match="pairs with 1 documents, an odd number"):
        Items(store, Limits(8, 4))
