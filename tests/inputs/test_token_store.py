"""TokenStore and TokenStoreWriter: Megatron's own files both ways, damage, and size."""

from __future__ import annotations

import json
import struct
import tracemalloc

import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.inputs import TokenStore, TokenStoreWriter, token_dtype
from llmjp_jax.inputs.token_store import HEADER, MAGIC

NAMES = ["ja_v22", "en_v22", "code_v22", "ja_v21", "multi_seq"]


def sequences_of(contents: dict) -> list[list[list[int]]]:
    return contents.get("documents") or [[ids] for ids in contents["ids"]]


@pytest.fixture(scope="module")
def megatron(shared_data):
    return shared_data / "parity" / "megatron"


@pytest.mark.parametrize("name", NAMES)
def test_megatrons_own_stores_are_read_document_by_document(megatron, name):
    contents = json.loads((megatron / "contents.json").read_bytes())[name]
    documents = [sum(sequences, []) for sequences in sequences_of(contents)]
    store = TokenStore(megatron / name)
    assert store.dtype == contents["dtype"]
    assert [ids.tolist() for ids in store] == documents
    assert store.num_tokens == sum(map(len, documents))
    assert store.tokens(3, 40).tolist() == sum(documents, [])[3:40]
    assert np.asarray(store.document_starts).tolist() == [
        0,
        *np.cumsum([len(d) for d in documents]),
    ]
    assert store.manifest is None and len(store.fingerprint) == 64


@pytest.mark.parametrize("name", NAMES)
def test_rewriting_a_store_of_megatron_gives_its_bytes(megatron, tmp_path, name):
    contents = json.loads((megatron / "contents.json").read_bytes())[name]
    writer = TokenStoreWriter(tmp_path / name, contents["dtype"])
    for sequences in sequences_of(contents):
        writer.add_sequences(sequences)
    writer.commit()
    for suffix in (".bin", ".idx"):
        ours = (tmp_path / f"{name}{suffix}").read_bytes()
        assert ours == (megatron / f"{name}{suffix}").read_bytes()


def test_documents_added_singly_and_together_give_the_same_files(tmp_path):
    documents = [[5, 6, 7], [7], [8, 9, 10, 7]]
    one = TokenStoreWriter(tmp_path / "one", np.uint16)
    for ids in documents:
        one.add(ids)
    one.commit()
    many = TokenStoreWriter(tmp_path / "many", np.uint16)
    many.add_documents(np.concatenate(documents), np.array([3, 1, 4]))
    many.commit()
    for suffix in (".bin", ".idx"):
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"many{suffix}").read_bytes()


def test_every_token_is_in_the_document_that_the_starts_say(make_store, tmp_path):
    writer = TokenStoreWriter(tmp_path / "s", np.int32)
    # Empty documents, empty sequences, several sequences: all the ways to share an offset.
    documents = [
        [[1, 2], [3]],
        [],
        [[]],
        [[4]],
        [[], [5, 6], []],
        [[7]],
    ]
    for sequences in documents:
        writer.add_sequences(sequences)
    writer.commit()
    store = TokenStore(tmp_path / "s")
    assert [ids.tolist() for ids in store] == [sum(d, []) for d in documents]
    assert [store.document_starts.document_of(t) for t in range(7)] == [0, 0, 0, 3, 4, 4, 5]


def test_a_store_of_no_documents_opens(make_store):
    store = make_store("empty", [])
    assert len(store) == 0 and store.num_tokens == 0 and store.tokens(0, 5).size == 0


def test_the_type_of_ids_changes_where_megatrons_does():
    assert token_dtype(65499) == np.uint16
    assert token_dtype(65500) == np.int32


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64", "uint16"])
def test_every_integer_type_survives(tmp_path, dtype):
    ids = [0, 7, np.iinfo(dtype).max]
    writer = TokenStoreWriter(tmp_path / "s", dtype)
    writer.add(ids)
    writer.commit()
    assert TokenStore(tmp_path / "s")[0].tolist() == ids


def test_an_id_that_the_type_cannot_hold_is_refused(tmp_path):
    writer = TokenStoreWriter(tmp_path / "s", np.uint16)
    with pytest.raises(UserError, match="outside uint16"):
        writer.add([70000])


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda p: cut(p / "s.bin", -1), r"s\.bin is truncated"),
        (lambda p: (p / "s.bin").write_bytes((p / "s.bin").read_bytes() + b"x"), "is too long"),
        (lambda p: cut(p / "s.idx", -8), r"s\.idx has \d+ bytes, but its header promises"),
        (lambda p: cut(p / "s.idx", 20), "ends inside its header"),
        (lambda p: cut(p / "s.idx", 0), "not a Megatron index"),
        (lambda p: patch(p / "s.idx", 0, b"NOTMEGATR"), "not a Megatron index"),
        (lambda p: patch(p / "s.idx", 9, struct.pack("<Q", 2)), "has version 2"),
        (lambda p: patch(p / "s.idx", 17, b"\x07"), "dtype code 7"),
        (lambda p: patch(p / "s.idx", -8, struct.pack("<q", 1)), "sequences 0 to 1 of 2"),
        (lambda p: (p / "s.bin").unlink(), r"no file .*s\.bin"),
        (lambda p: (p / "s.idx").unlink(), r"no file .*s\.idx"),
    ],
)
def test_a_damaged_store_is_refused_in_one_sentence(make_store, tmp_path, damage, message):
    make_store("s", [[1, 2, 3], [4, 5]])
    damage(tmp_path)
    with pytest.raises(UserError, match=message) as raised:
        TokenStore(tmp_path / "s")
    assert "\n" not in str(raised.value)


def test_a_manifest_of_another_store_is_refused(make_store):
    store = make_store("s", [[1, 2, 3]], manifest={"documents": 1, "tokens": 5})
    with pytest.raises(UserError, match="1 documents of 5 tokens"):
        _ = store.manifest


def test_a_store_of_a_hundred_million_documents_opens_without_being_read(tmp_path):
    documents = 10**8
    lengths_at = HEADER.size
    pointers_at = lengths_at + 4 * documents
    boundaries_at = pointers_at + 8 * documents
    with (tmp_path / "s.idx").open("wb") as file:  # a sparse file: two gigabytes of holes
        file.write(HEADER.pack(MAGIC, 1, 8, documents, documents + 1))
        file.seek(boundaries_at - 8)
        file.write(struct.pack("<q", 100))
        file.seek(pointers_at - 4)
        file.write(struct.pack("<i", 3))
        file.seek(boundaries_at + 8 * (documents - 1))
        file.write(struct.pack("<qq", documents - 1, documents))
    (tmp_path / "s.bin").write_bytes(bytes(106))
    tracemalloc.start()
    store = TokenStore(tmp_path / "s")
    assert (len(store), store.num_tokens) == (documents, 53)
    assert store.fingerprint and store.document_starts[documents] == 53
    assert store.document_starts[documents - 1 : documents + 1].tolist() == [50, 53]
    assert store.document_starts.document_of(51) == documents - 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6, f"{peak / 1e6:.0f} MB were copied"


def test_a_writer_goes_on_after_its_last_saved_progress(tmp_path):
    first = TokenStoreWriter(tmp_path / "s", np.uint16)
    first.add([1, 2, 7])
    first.save_progress({"line": 1})
    first.add([3, 4, 5, 7])  # not saved: a kill may leave any part of it
    first.close()
    second = TokenStoreWriter(tmp_path / "s", np.uint16, resume=True)
    assert (second.progress, second.documents, second.tokens) == ({"line": 1}, 1, 3)
    second.add([8, 7])
    second.commit({"documents": 2, "tokens": 5})
    assert [ids.tolist() for ids in TokenStore(tmp_path / "s")] == [[1, 2, 7], [8, 7]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.bin", "s.idx", "s.json"]


def test_parts_that_lost_saved_bytes_are_not_gone_on_with(tmp_path):
    first = TokenStoreWriter(tmp_path / "s", np.uint16)
    first.add([1, 2, 7])
    first.save_progress({"line": 1})
    first.close()
    cut(tmp_path / "s.bin.part", -2)
    assert TokenStoreWriter(tmp_path / "s", np.uint16, resume=True).progress is None


def test_two_processes_cannot_write_one_store(tmp_path):
    first = TokenStoreWriter(tmp_path / "s", np.uint16)
    with pytest.raises(UserError, match="another process is building"):
        TokenStoreWriter(tmp_path / "s", np.uint16, resume=True)
    first.add([1, 7])
    first.commit()
    assert len(TokenStore(tmp_path / "s")) == 1


def cut(path, size: int) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:size])


def patch(path, offset: int, replacement: bytes) -> None:
    data = bytearray(path.read_bytes())
    offset %= len(data)
    data[offset : offset + len(replacement)] = replacement
    path.write_bytes(data)


def test_a_mask_lies_beside_its_tokens_and_goes_when_the_store_is_replaced(tmp_path):
    writer = TokenStoreWriter(tmp_path / "s", np.uint16, masked=True)
    writer.add([5, 6, 7], mask=[0, 1, 1])
    writer.add_documents(np.array([8, 9, 7]), np.array([1, 2]), mask=np.array([1, 0, 1]))
    writer.commit()
    store = TokenStore(tmp_path / "s")
    assert store.mask.tolist() == [0, 1, 1, 1, 0, 1] and store.mask.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        store.mask[0] = 1
    plain = TokenStoreWriter(tmp_path / "s", np.uint16)
    plain.add([5, 6, 7])
    plain.commit()
    assert TokenStore(tmp_path / "s").mask is None


def test_a_mask_is_given_exactly_where_it_belongs(tmp_path):
    masked = TokenStoreWriter(tmp_path / "m", np.uint16, masked=True)
    plain = TokenStoreWriter(tmp_path / "p", np.uint16)
    for writer, mask in ((masked, None), (plain, [1, 1])):
        with pytest.raises(ValueError, match="a mask is given exactly when"):
            writer.add([5, 7], mask=mask)
    for mask in ([1], [1, 2], [1, 1, 1]):
        with pytest.raises(ValueError, match="a 0 or a 1 for each id"):
            masked.add([5, 7], mask=mask)
    with pytest.raises(ValueError, match="a document with a mask is one sequence"):
        masked.add_sequences([[5], [7]])


def test_a_mask_is_part_of_the_fingerprint(tmp_path):
    from tests.inputs.example_stores import write_store

    fingerprints = {
        write_store(tmp_path / name, [[5, 6, 7]], [mask], kind=kind).fingerprint
        for name, mask, kind in (
            ("a", [0, 0, 1], "examples"),
            ("b", [0, 1, 1], "examples"),
            ("c", [0, 1, 1], "pairs"),
        )
    }
    assert len(fingerprints) == 3
