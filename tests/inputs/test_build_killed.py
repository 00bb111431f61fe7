"""Builds of stores that are killed or interrupted, and gone on with. Imports SeqIO, and with it TensorFlow."""

from __future__ import annotations

import json
import random
import signal
import time

import pytest

from llmjp_jax.corpus import write_documents
from llmjp_jax.files import sha256_file
from llmjp_jax.inputs import TokenStore
from llmjp_jax.tokenizer import load_vocabulary

pytest.importorskip("seqio")

from llmjp_jax import tasks  # noqa: E402
from llmjp_jax.inputs import build, tokenizing  # noqa: E402
from tests.inputs.killed_build import start_build  # noqa: E402
from tests.inputs.small_corpora import contents, corpus, texts  # noqa: E402


@pytest.fixture
def slow_build(monkeypatch):
    """Small batches and a saved progress after each of them, so that a kill falls between many of them."""
    monkeypatch.setattr(tokenizing, "_BATCH_BYTES", 1000)
    monkeypatch.setattr(build, "_SAVE_EVERY", 0.0)


@pytest.mark.slow
def test_a_build_killed_at_random_moments_ends_in_the_same_bytes(tmp_path, vocabulary, slow_build):
    documents, seed = 2000, random.randrange(10**6)
    files = [corpus(tmp_path / "long.jsonl", documents, 1)]
    tasks.register_jsonl_task("ja", {"train": files}, vocabulary)
    build.cache_task("ja", tmp_path / "whole", splits=["train"])
    expected = contents(tmp_path / "whole" / "ja")
    choose = random.Random(seed)
    cache, left = tmp_path / "killed", set()
    progress = cache / "ja" / "train.progress.json"
    for _ in range(12):
        process = start_build(cache, files, vocabulary.path)
        time.sleep(choose.uniform(0.0, 0.25))
        process.kill()
        process.join()
        if process.exitcode == 0:
            break
        if progress.exists():
            left.add(json.loads(progress.read_bytes())["counts"][".ends"])
    build.cache_task("ja", cache, splits=["train"])
    assert contents(cache / "ja") == expected, f"seed {seed}"
    # Otherwise nothing was tested: some kill must have left a part of the documents.
    assert any(0 < count < documents for count in left), left


@pytest.mark.parametrize("nth", range(1, 9))
def test_a_build_killed_at_any_rename_ends_in_the_same_bytes(tmp_path, ja, vocabulary, nth):
    build.cache_task("ja", tmp_path / "whole", splits=["train"])
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    renames = 7  # two saves of progress, one a file; then places, manifest, new index, .bin, .idx
    process = start_build(
        tmp_path / "killed", files, vocabulary.path, kill_at_rename=nth, batch_bytes=10**6
    )
    process.join()
    assert process.exitcode == (-signal.SIGKILL if nth <= renames else 0)
    assert (tmp_path / "killed" / "ja" / "train.idx").exists() == (nth > renames)
    build.cache_task("ja", tmp_path / "killed", splits=["train"])
    assert contents(tmp_path / "killed" / "ja") == contents(tmp_path / "whole" / "ja")


@pytest.mark.parametrize("nth", range(1, 8))
def test_a_killed_rebuild_never_leaves_old_and_new_mixed(tmp_path, vocabulary, nth):
    path = corpus(tmp_path / "a.jsonl", 30, 1)
    tasks.register_jsonl_task("ja", {"train": path}, vocabulary)
    folder = tmp_path / "cache" / "ja"
    build.cache_task("ja", tmp_path / "cache")
    old = [ids.tolist() for ids in TokenStore(folder / "train")]
    # The same documents turned round: every size is as before, only the contents tell.
    write_documents(path, [{"text": text} for text in reversed(texts(30, 1))])

    start_build(
        tmp_path / "cache", [path], vocabulary.path, kill_at_rename=nth, overwrite=True
    ).join()
    if (folder / "train.idx").exists():
        store = TokenStore(folder / "train")
        turned = store.manifest["sources"][0]["sha256"] == sha256_file(path)
        assert [ids.tolist() for ids in store] == (old[::-1] if turned else old)
    build.cache_task("ja", tmp_path / "cache", overwrite=True)
    build.cache_task("ja", tmp_path / "whole")
    assert contents(folder) == contents(tmp_path / "whole" / "ja")


def test_a_build_interrupted_under_another_vocabulary_begins_again(
    tmp_path, ja, other_vocabulary, slow_build, monkeypatch
):
    stop_after(monkeypatch, 5)
    with pytest.raises(KeyboardInterrupt):
        build.cache_task("ja", tmp_path / "cache", splits=["train"])
    monkeypatch.undo()
    assert (tmp_path / "cache" / "ja" / "train.progress.json").exists()
    files = {"train": [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]}
    tasks.register_jsonl_task("ja", files, load_vocabulary(other_vocabulary))
    build.cache_task("ja", tmp_path / "cache", splits=["train"])
    build.cache_task("ja", tmp_path / "whole", splits=["train"])
    assert contents(tmp_path / "cache" / "ja") == contents(tmp_path / "whole" / "ja")


def test_a_task_without_files_goes_on_too(tmp_path, ja, slow_build, monkeypatch):
    monkeypatch.setattr(tasks, "plain_text_source", lambda task: None)
    build.cache_task("ja", tmp_path / "whole", splits=["train"])
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        with pytest.raises(KeyboardInterrupt):
            build.cache_task("ja", tmp_path / "cache", splits=["train"])
    saved = json.loads((tmp_path / "cache" / "ja" / "train.progress.json").read_bytes())
    assert 0 < saved["progress"]["position"] < 100
    build.cache_task("ja", tmp_path / "cache", splits=["train"])
    assert contents(tmp_path / "cache" / "ja") == contents(tmp_path / "whole" / "ja")


def stop_after(patched: pytest.MonkeyPatch, chunks: int) -> None:
    """The user's Ctrl-C after some chunks were added."""
    original, added = build.TokenStoreWriter.add_documents, []

    def add(self, *arguments):
        if len(added) == chunks:
            raise KeyboardInterrupt
        added.append(1)
        return original(self, *arguments)

    patched.setattr(build.TokenStoreWriter, "add_documents", add)
