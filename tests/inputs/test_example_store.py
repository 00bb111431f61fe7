"""Stores of one's own JSON lines: the ids and masks of each record, and one sentence for whatever is wrong with a line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from llmjp_jax.conversations import encode, encode_pair, get_template, read_records
from llmjp_jax.errors import UserError
from llmjp_jax.files import sha256_file
from llmjp_jax.inputs import Source, TokenStore, build_examples, example_store
from llmjp_jax.tokenizer import load_vocabulary
from tests.inputs.example_files import conversations, preferences, write_lines
from tests.inputs.example_stores import examples_of


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(example_store, "_BATCH_RECORDS", 7)


@pytest.fixture
def llmjp_vocabulary(tiny_vocabulary):
    return load_vocabulary(tiny_vocabulary)


def held(store: TokenStore) -> list[tuple[list[int], list[int]]]:
    starts = np.asarray(store.document_starts)
    return [
        (store[i].tolist(), store.mask[starts[i] : starts[i + 1]].tolist())
        for i in range(len(store))
    ]


@pytest.mark.parametrize("threads", [1, 3])
def test_each_record_becomes_its_ids_and_its_mask_in_order(
    tmp_path, llmjp_vocabulary, small_batches, threads
):
    files = [write_lines(tmp_path / f"{n}.jsonl", conversations(40, n)) for n in range(3)]
    store = build_examples(files, llmjp_vocabulary, "v1.1", tmp_path / "s", num_threads=threads)
    template = get_template("v1.1")
    expected = [
        encode(llmjp_vocabulary, record, template)
        for path in files
        for _, _, record in read_records(path)
    ]
    assert held(store) == [(one.ids.tolist(), one.weights.tolist()) for one in expected]
    places = [(f, line, off) for f, path in enumerate(files) for line, off, _ in read_records(path)]
    assert store.places.tolist() == places and places[45][0] == 1
    assert examples_of(Source("s", 1, store), length=256).pairs is False


def test_a_pair_becomes_two_documents_chosen_first(tmp_path, llmjp_vocabulary, small_batches):
    path = write_lines(tmp_path / "p.jsonl", preferences(30))
    store = build_examples(path, llmjp_vocabulary, "v1.1", tmp_path / "s", bos=True)
    template = get_template("v1.1")
    expected = [
        half
        for _, _, record in read_records(path)
        for half in encode_pair(llmjp_vocabulary, record, template, bos=True)
    ]
    assert held(store) == [(one.ids.tolist(), one.weights.tolist()) for one in expected]
    assert store[0][0] == llmjp_vocabulary.bos_id and store.manifest["kind"] == "pairs"
    assert store.places["line"].tolist() == [line for n in range(1, 31) for line in (n, n)]
    assert examples_of(Source("s", 1, store), length=256).pairs


def test_the_manifest_says_what_it_was_built_from(tmp_path, llmjp_vocabulary):
    path = write_lines(tmp_path / "a.jsonl", conversations(9))
    store = build_examples(
        path, llmjp_vocabulary, "v1.0", tmp_path / "s", bos=True, details={"task": "mine"}
    )
    manifest = store.manifest
    assert manifest["sha256"] == sha256_file(tmp_path / "s.bin")
    assert manifest["mask_sha256"] == sha256_file(tmp_path / "s.mask")
    assert manifest["sources"][0]["sha256"] == sha256_file(path)
    expected = {
        "task": "mine", "kind": "examples", "template": "v1.0", "bos": True, "records": 9,
        "dropped": 0, "documents": 9, "tokens": store.num_tokens,
    }  # fmt: skip
    assert {key: manifest[key] for key in expected} == expected
    assert manifest["vocabulary"]["fingerprint"] == llmjp_vocabulary.fingerprint


def test_texts_without_a_response_are_dropped_and_counted(
    tmp_path, llmjp_vocabulary, small_batches
):
    good = {"text": "以下は。\n\n### 指示:\n本\n\n### 応答:\n水"}
    bad = {"text": "本を読む。"}
    path = write_lines(tmp_path / "a.jsonl", [good, bad, *[bad] * 20, good])
    store = build_examples(path, llmjp_vocabulary, "v1.1", tmp_path / "s")
    assert (store.manifest["records"], store.manifest["dropped"], len(store)) == (23, 21, 2)
    assert store.places["line"].tolist() == [1, 23]
    write_lines(path, [bad])
    with pytest.raises(UserError, match=r"none of the 1 records of .*a.jsonl has a response") as e:
        build_examples(path, llmjp_vocabulary, "v1.1", tmp_path / "none")
    assert "\n" not in str(e.value)


BAD = {
    "no output": ({"instruction": "本"}, "output"),
    "empty response": ({"instruction": "本", "output": " "}, "output"),
    "roles out of order": (
        {"messages": [{"role": "user", "content": "本"}, {"role": "user", "content": "水"}]},
        "messages[1]",
    ),
    "a number": ({"instruction": "本", "output": 3}, "output"),
    "a pair among examples": (
        {"prompt": "本", "chosen": "水", "rejected": "町"},
        "chosen and rejected",
    ),
}


@pytest.mark.parametrize("kind", sorted(BAD))
def test_a_bad_record_names_file_line_and_field_and_leaves_nothing(
    tmp_path, llmjp_vocabulary, small_batches, kind
):
    record, field = BAD[kind]
    lines = conversations(50)
    lines[36] = record
    path = write_lines(tmp_path / "a.jsonl", lines)
    with pytest.raises(UserError, match=r"a\.jsonl, line 37") as raised:
        build_examples(path, llmjp_vocabulary, "v1.1", tmp_path / "out" / "s", num_threads=2)
    assert field in str(raised.value) and "\n" not in str(raised.value)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "line", [b"{", b"\xff\xfe{}", b'{"text": "\\ud800"}', b'{"text": "' + b"x" * 10**7 + b'"}']
)
def test_a_line_that_is_no_json_or_too_long_names_its_place(tmp_path, llmjp_vocabulary, line):
    path = write_lines(tmp_path / "a.jsonl", conversations(3))
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(UserError, match=r"a\.jsonl, line 4") as raised:
        build_examples(path, llmjp_vocabulary, "v1.1", tmp_path / "s")
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500
    assert not (tmp_path / "s.idx").exists()


def test_an_example_among_pairs_is_refused(tmp_path, llmjp_vocabulary):
    path = write_lines(tmp_path / "a.jsonl", preferences(3) + conversations(1))
    with pytest.raises(UserError, match="line 4 has no chosen and rejected, .* read as pairs"):
        build_examples(path, llmjp_vocabulary, "v1.1", tmp_path / "s")


def test_files_that_are_missing_empty_or_unmatched_are_named(tmp_path, llmjp_vocabulary):
    (tmp_path / "empty.jsonl").touch()
    for files, sentence in (
        (tmp_path / "no.jsonl", r"there is no file of examples .*no\.jsonl"),
        (tmp_path / "*.json", r"no file matches .*\*\.json"),
        (tmp_path / "empty.jsonl", r"empty\.jsonl hold no records"),
        ([], "no files of examples are given"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(UserError, match=sentence):
            build_examples(files, llmjp_vocabulary, "v1.1", tmp_path / "s")
    with pytest.raises(UserError, match="kind = 'triples' must be one of"):
        build_examples([tmp_path / "empty.jsonl"], llmjp_vocabulary, "v1.1", "s", kind="triples")


def test_a_pattern_stands_for_its_files_by_name_and_brackets_may_be_part_of_a_name(tmp_path):
    for name in ("b.jsonl", "a.jsonl", "x[1].jsonl"):
        (tmp_path / name).touch()
    expand = example_store.expand_files
    assert expand(f"{tmp_path}/?.jsonl") == [f"{tmp_path}/a.jsonl", f"{tmp_path}/b.jsonl"]
    assert expand(tmp_path / "x[1].jsonl") == [f"{tmp_path}/x[1].jsonl"]


def test_a_store_that_is_built_again_replaces_the_old_one(tmp_path, llmjp_vocabulary):
    path = write_lines(tmp_path / "a.jsonl", conversations(20))
    first = build_examples(path, llmjp_vocabulary, "v1.1", tmp_path / "s").fingerprint
    write_lines(path, conversations(20, seed=1))
    second = build_examples(path, llmjp_vocabulary, "v1.1", tmp_path / "s")
    assert held(TokenStore(tmp_path / "s")) == held(second)
    assert first != second.fingerprint
    names = {"s.bin", "s.idx", "s.mask", "s.json", "s.places.npy", "a.jsonl"}
    assert {p.name for p in tmp_path.iterdir()} == names


def test_a_file_that_changes_while_it_is_read_is_seen(tmp_path, llmjp_vocabulary, monkeypatch):
    path = write_lines(tmp_path / "a.jsonl", conversations(5))
    original = example_store.read_records

    def growing(read):
        yield from original(read)
        with path.open("a") as file:
            file.write(json.dumps(conversations(1)[0]) + "\n")

    monkeypatch.setattr(example_store, "read_records", growing)
    with pytest.raises(UserError, match=r"a\.jsonl changed while it was read"):
        build_examples(path, llmjp_vocabulary, "v1.1", tmp_path / "s", kind="examples")
    assert not (tmp_path / "s.idx").exists()


def test_building_and_reading_need_neither_tensorflow_nor_numba(tmp_path, tiny_vocabulary):
    path = write_lines(tmp_path / "a.jsonl", conversations(5))
    code = f"""
import sys
for name in ("tensorflow", "seqio", "numba", "jax"):
    sys.modules[name] = None
from llmjp_jax.inputs import ExamplesConfig, open_examples
from llmjp_jax.tokenizer import load_vocabulary
config = ExamplesConfig(train_files={str(path)!r})
vocabulary = load_vocabulary({str(tiny_vocabulary)!r})
options = dict(sequence_length=256, batch_size=2, vocabulary=vocabulary)
print(open_examples(config, {str(tmp_path)!r}, None, **options).batch(0)["tokens"].shape)
"""
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ
    )
    assert found.stdout.strip() == "(2, 256)", found.stderr
