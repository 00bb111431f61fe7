"""Embedding an index: each text once, on after a kill, on after the index has grown, and never with two models at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.search import CorpusIndex, DocumentId, Where, build_index
from llmjp_jax.search.dense import DenseIndex, build_dense
from llmjp_jax.search.dense import part_writer as writer
from llmjp_jax.search.dense.embedding import Embedder

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path, small_index_folder) -> Path:
    """An index of its own, without vectors."""
    return Path(shutil.copytree(small_index_folder, tmp_path / "index"))


@pytest.fixture
def embedded(monkeypatch) -> list[str]:
    """What goes through a model from now on."""
    texts: list[str] = []
    documents = Embedder.documents

    def record(self, some, batch_size=32):
        texts.extend(some)
        return documents(self, some, batch_size)

    monkeypatch.setattr(Embedder, "documents", record)
    return texts


def parts_of(folder: Path) -> dict[str, dict[str, bytes]]:
    """The contents of all parts. The graph is left out: several threads link it in any order."""
    parts = folder / "dense" / "parts"
    return {
        path.name: {
            file.name: file.read_bytes() for file in path.iterdir() if file.suffix != ".usearch"
        }
        for path in sorted(parts.iterdir())
    }


def vectors_of(folder: Path) -> int:
    return sum(len(files["vectors.bin"]) // 384 for files in parts_of(folder).values())


def build(folder: Path, model: Path, **options):
    with CorpusIndex(folder) as index:
        return build_dense(index, model, **options)


def test_every_document_with_a_word_has_a_passage_and_every_text_one_vector(
    dense_folder, cross_lingual, small_corpora
):
    texts = {(s, p, n): t for (s, p), ts in small_corpora.texts.items() for n, t in enumerate(ts)}
    embedder = Embedder(cross_lingual)
    found: set[tuple] = set()
    for path in (dense_folder / "dense" / "parts").iterdir():
        shard = json.loads((path / "part.json").read_text())["identity"]["shard"]
        passages = np.load(path / "passages.npy")
        vectors = np.fromfile(path / "vectors.bin", np.float16).reshape(-1, 192)
        said: dict[str, int] = {}
        for vector, row, start, stop in passages.tolist():
            key = (shard["subset"], shard["split"], shard["first"] + row)
            found.add(key)
            assert said.setdefault(texts[key][start:stop], vector) == vector
        assert sorted(said.values()) == list(range(len(vectors)))
        ordered = sorted(said, key=said.__getitem__)
        np.testing.assert_array_equal(vectors, embedder.documents(ordered))
    silent = {key for key in texts if not embedder.documents([texts[key].strip()]).any()}
    assert found == set(texts) - silent
    assert {texts[key].strip() for key in silent} <= {"", "aaaaaaa", "あ"}


def test_a_long_document_has_passages_that_the_model_reads_whole(folder, bert):
    model = build(folder, bert, where=Where(subsets=("code",)))
    assert model.passage_tokens == 38
    embedder = Embedder(bert)
    with CorpusIndex(folder) as index:
        for path in (folder / "dense" / "parts").iterdir():
            first = json.loads((path / "part.json").read_text())["identity"]["shard"]["first"]
            passages = np.load(path / "passages.npy")
            assert len(np.unique(passages[:, 1])) * 20 < len(passages)
            some = passages[:200].tolist()
            texts = [
                index.document(DocumentId("code", "train", first + row)).text[start:stop]
                for _, row, start, stop in some
            ]
            assert max(embedder.count_tokens(texts)) <= 38


def test_a_second_run_embeds_nothing(folder, cross_lingual, embedded):
    build(folder, cross_lingual)
    before = parts_of(folder)
    embedded.clear()
    build(folder, cross_lingual)
    assert embedded == ["."]  # which tells the number of dimensions
    assert parts_of(folder) == before


def test_a_killed_run_goes_on_and_ends_with_the_same_vectors(
    folder, dense_folder, cross_lingual, embedded, monkeypatch
):
    script = f"""
        import sys, time
        sys.path.insert(0, {str(REPOSITORY)!r})
        from llmjp_jax.search import CorpusIndex
        from llmjp_jax.search.dense import build_dense, part_writer
        from llmjp_jax.search.dense.embedding import Embedder
        part_writer.BLOCK, part_writer.SAVE_SECONDS = 64, 0
        documents = Embedder.documents
        Embedder.documents = lambda *a: time.sleep(0.02) or documents(*a)
        build_dense(CorpusIndex({str(folder)!r}), {str(cross_lingual)!r})
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stderr=subprocess.DEVNULL)  # fmt: skip
    parts = folder / "dense" / "parts"
    saved = None
    for _ in range(3000):
        whole = [path for path in parts.glob("*") if not path.name.startswith(".")]
        states = list(parts.glob(".*/state.json"))
        if whole and states and (saved := json.loads(states[0].read_text())["state"])["row"] > 0:
            break
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (work,) = parts.glob(".*.work")
    saved = json.loads((work / "state.json").read_text())["state"]
    done = sum(json.loads((p / "part.json").read_text())["counts"]["vectors"] for p in whole)
    assert saved["vectors"] > 0
    with (work / "vectors.bin").open("ab") as file:
        file.write(b"half a vector that was being written")
    embedded.clear()
    build(folder, cross_lingual)
    assert len(embedded) - 1 <= vectors_of(dense_folder) + 10 - done - saved["vectors"]
    assert parts_of(folder) == parts_of(dense_folder)


def test_a_kill_while_vectors_are_linked_loses_none(folder, dense_folder, cross_lingual, embedded, monkeypatch):  # fmt: skip
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(writer, "write_graph", stop)
        with pytest.raises(KeyboardInterrupt):
            build(folder, cross_lingual)
    assert len(embedded) > 100
    build(folder, cross_lingual)
    assert (
        len(embedded) - 2 <= vectors_of(dense_folder) + 10
    )  # the dots, and texts without a vector
    assert parts_of(folder) == parts_of(dense_folder)


def test_stores_that_were_added_are_embedded_alone(tmp_path, small_corpora, cross_lingual, embedded):  # fmt: skip
    folder = tmp_path / "index"
    build_index(folder, small_corpora.prefixes[:2], small_corpora.vocabulary, processes=1)
    build(folder, cross_lingual)
    build_index(folder, small_corpora.prefixes, small_corpora.vocabulary, processes=1)
    with CorpusIndex(folder) as index:
        with pytest.raises(UserError, match="no vectors yet of en/train, code/train"):
            DenseIndex(index).nearest("猫")
        assert DenseIndex(index).nearest("猫", Where(subsets=("ja",))).hits
        embedded.clear()
        build_dense(index, cross_lingual)
        assert not set(embedded) & set(small_corpora.texts["ja", "train"])
        assert set(small_corpora.texts["en", "train"][:100]) <= set(embedded)
        assert {hit.document.subset for hit in DenseIndex(index).nearest("cat").hits} & {"en"}


def test_a_store_that_was_indexed_again_is_embedded_again(folder, cross_lingual, small_corpora):
    build(folder, cross_lingual)
    name = next(path.name for path in (folder / "dense" / "parts").glob("en.*"))
    described = folder / "shards" / name / "shard.json"
    content = json.loads(described.read_text())
    content["identity"]["fingerprint"] = "0" * 64
    described.write_text(json.dumps(content))
    with CorpusIndex(folder) as index:
        with pytest.raises(UserError, match="no vectors yet of en/train"):
            DenseIndex(index).nearest("cat")
        build_dense(index, cross_lingual)
        assert DenseIndex(index).nearest("cat").hits


def test_another_model_is_refused_until_all_is_embedded_again(folder, cross_lingual, bert):
    build(folder, cross_lingual)
    with pytest.raises(UserError, match="has vectors already, made with the model .*cross-lingual"):
        build(folder, bert)
    with CorpusIndex(folder) as index:
        with pytest.raises(UserError, match="bert is not the model that the vectors"):
            DenseIndex(index, bert)
        assert build_dense(index, bert, overwrite=True, where=Where(("en",))).dimensions == 32
        assert DenseIndex(index).nearest("The cat.", Where(("en",))).hits
        with pytest.raises(UserError, match="no vectors yet of ja/train"):
            DenseIndex(index).nearest("The cat.")


def test_other_passages_are_refused(folder, cross_lingual):
    build(folder, cross_lingual, where=Where(splits=("validation",)))
    with pytest.raises(UserError, match="passages of 128 tokens"):
        build(folder, cross_lingual, passage_tokens=64)


def test_two_processes_do_not_embed_one_index(folder, cross_lingual):
    import fcntl

    (folder / "dense").mkdir()
    with (folder / "dense" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is embedding"):
            build(folder, cross_lingual)
    build(folder, cross_lingual, where=Where(splits=("validation",)))


@pytest.mark.parametrize("options", [{"passage_tokens": 0}, {"batch_size": 0}])
def test_sizes_below_one_are_refused(folder, cross_lingual, options):
    with pytest.raises(UserError, match="must be at least 1"):
        build(folder, cross_lingual, **options)
