"""Making an index: in parallel, on from where it was killed, extended; and what is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.inputs import TokenStore, TokenStoreWriter
from llmjp_jax.search import CorpusIndex, DocumentId, build_index
from llmjp_jax.search.folder import SHARDS
from llmjp_jax.search.indexing import prefixes_of
from llmjp_jax.tokenizer import load_vocabulary
from tests.search.small_corpora import write_store

REPOSITORY = Path(__file__).resolve().parents[2]


def shape(folder: Path) -> dict[str, bytes]:
    """What an index is, but for the names that Tantivy gives to its files."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "tantivy" not in path.parts and path.name != ".lock"
    }


def test_processes_and_one_make_the_same_index(tmp_path, small_corpora, small_index_folder):
    build_index(
        tmp_path / "index",
        small_corpora.prefixes,
        small_corpora.vocabulary,
        processes=3,
        shard_tokens=20_000,
    )
    assert shape(tmp_path / "index") == shape(small_index_folder)
    with CorpusIndex(tmp_path / "index") as index, CorpusIndex(small_index_folder) as other:
        for query in ("です", "the ", "self.", "\n"):
            assert index.find_text(query, limit=99).hits == other.find_text(query, limit=99).hits
            assert index.rank(query or "a", limit=9).hits == other.rank(query or "a", limit=9).hits


def test_shards_are_of_the_size_that_was_asked_and_hold_each_document_once(
    small_index_folder, small_corpora
):
    described = [
        json.loads(path.read_bytes()) for path in (small_index_folder / SHARDS).glob("*/shard.json")
    ]
    for subset, split in small_corpora.texts:
        store = TokenStore(small_corpora.cache / subset / split)
        parts = sorted(
            (one["identity"]["first"], one["identity"]["stop"], one["tokens"])
            for one in described
            if (one["identity"]["subset"], one["identity"]["split"]) == (subset, split)
        )
        assert [first for first, _, _ in parts] == [0, *(stop for _, stop, _ in parts[:-1])]
        assert parts[-1][1] == len(store)
        for first, stop, tokens in parts:
            assert tokens <= 20_000 or stop - first == 1
    assert len(described) > len(small_corpora.texts) + 2


def test_an_index_is_whole_without_its_stores(tmp_path, small_corpora):
    moved = tmp_path / "copy"
    shutil.copytree(small_corpora.cache.parent, moved)
    prefix = write_store(
        moved / "own",
        "mine",
        "train",
        ["ある文。", "別の文。"],
        load_vocabulary(small_corpora.vocabulary),
    )
    build_index(
        tmp_path / "index", [prefix], moved / "tokenizer.model", licences={"mine": "CC0-1.0"}
    )
    shutil.rmtree(moved)
    (tmp_path / "index").rename(tmp_path / "elsewhere")
    with CorpusIndex(tmp_path / "elsewhere") as index:
        assert index.find_text("別の").hits[0].document == DocumentId("mine", "train", 1)
        assert (
            index.vocabulary.decode(index.document(DocumentId("mine", "train", 0)).tokens)
            == "ある文。"
        )
        assert index.stores["mine", "train"].licence == "CC0-1.0"


def test_an_index_can_be_extended_and_what_it_has_is_left_alone(tmp_path, small_corpora):
    folder, (first, second, *_) = tmp_path / "index", small_corpora.prefixes
    build_index(folder, [first], small_corpora.vocabulary, processes=1)
    before = {
        path: path.stat().st_mtime_ns for path in (folder / SHARDS).rglob("*") if path.is_file()
    }
    build_index(folder, [first, second], small_corpora.vocabulary, processes=1)
    with CorpusIndex(folder) as index:
        assert list(index.stores) == [("ja", "train"), ("ja", "validation")]
    assert (
        before.items()
        <= {
            path: path.stat().st_mtime_ns for path in (folder / SHARDS).rglob("*") if path.is_file()
        }.items()
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_build_goes_on_and_leaves_no_process(
    tmp_path, small_corpora, small_index_folder, processes
):
    folder = tmp_path / "index"
    program = (
        "import sys; from llmjp_jax.search import build_index\n"
        "if __name__ == '__main__':\n"
        f"    build_index({str(folder)!r}, {[str(p) for p in small_corpora.prefixes]!r}, {str(small_corpora.vocabulary)!r}, "
        f"processes={processes}, shard_tokens=20_000)\n"
    )
    (tmp_path / "build.py").write_text(program)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(
        [sys.executable, tmp_path / "build.py"], env=environment, stderr=subprocess.DEVNULL
    )
    finished = lambda: [p for p in (folder / SHARDS).glob("*") if not p.name.startswith(".")]  # noqa: E731
    deadline = time.monotonic() + 60
    while len(finished()) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in finished()}
    assert 3 <= len(done) < len(list((small_index_folder / SHARDS).iterdir()))
    assert not psutil.wait_procs(workers, timeout=20)[1]
    with pytest.raises(UserError, match="is no index"):
        CorpusIndex(folder)
    build_index(
        folder, small_corpora.prefixes, small_corpora.vocabulary, processes=1, shard_tokens=20_000
    )
    assert done.items() <= {path: path.stat().st_mtime_ns for path in finished()}.items()
    assert shape(folder) == shape(small_index_folder)


def test_a_store_that_changed_is_indexed_again_only_when_asked(tmp_path, small_corpora):
    vocabulary = load_vocabulary(small_corpora.vocabulary)
    prefix = write_store(tmp_path / "cache", "mine", "train", ["古い文。"], vocabulary)
    build_index(tmp_path / "index", [prefix], small_corpora.vocabulary)
    write_store(tmp_path / "cache", "mine", "train", ["新しい文。", "もう一つ。"], vocabulary)
    with pytest.raises(UserError, match="--overwrite"):
        build_index(tmp_path / "index", [prefix], small_corpora.vocabulary)
    with CorpusIndex(tmp_path / "index") as index:
        assert index.contains_text("古い")
    build_index(tmp_path / "index", [prefix], small_corpora.vocabulary, overwrite=True)
    with CorpusIndex(tmp_path / "index") as index:
        assert not index.contains_text("古い")
        assert index.count_text("文").documents == 1


def test_a_store_of_ids_alone_is_searched_by_what_they_decode_to(tmp_path, small_corpora):
    vocabulary = load_vocabulary(small_corpora.vocabulary)
    (tmp_path / "fold").mkdir()
    writer = TokenStoreWriter(tmp_path / "fold" / "train", np.uint16)
    for text in ("最初の文書。", "次の\n文書。"):
        writer.add([*vocabulary.encode(text), vocabulary.eos_id])
    writer.commit(None)
    build_index(tmp_path / "index", [tmp_path / "fold" / "train"], small_corpora.vocabulary)
    with CorpusIndex(tmp_path / "index") as index:
        hit = index.find_text("\n文書").hits[0]
        assert (hit.document, hit.before, hit.after) == (
            DocumentId("fold", "train", 1),
            "次の",
            "。",
        )
        assert hit.licence is None and hit.source == "document 1 of the token store"
        assert index.stores["fold", "train"].text == "decoded"


def test_a_source_that_is_gone_or_has_changed_is_named(tmp_path, small_corpora):
    vocabulary = load_vocabulary(small_corpora.vocabulary)
    prefix = write_store(tmp_path / "cache", "mine", "train", ["文。"], vocabulary)
    source = tmp_path / "corpora" / "mine" / "train.jsonl"
    source.write_bytes(source.read_bytes() + b"\n")
    with pytest.raises(UserError, match=r"train.jsonl has changed .*--decoded_text"):
        build_index(tmp_path / "index", [prefix], small_corpora.vocabulary)
    source.unlink()
    with pytest.raises(UserError, match=r"train.jsonl, which is not there; .*--decoded_text"):
        build_index(tmp_path / "index", [prefix], small_corpora.vocabulary)
    build_index(tmp_path / "index", [prefix], small_corpora.vocabulary, decoded_text=True)
    with CorpusIndex(tmp_path / "index") as index:
        assert index.contains_text("文。")


def test_another_vocabulary_is_refused(tmp_path, small_corpora, tiny_vocabulary):
    with pytest.raises(UserError, match="is another"):
        build_index(tmp_path / "index", small_corpora.prefixes, tiny_vocabulary)
    build_index(tmp_path / "index", small_corpora.prefixes[1:2], small_corpora.vocabulary)
    with pytest.raises(UserError, match="another vocabulary"):
        build_index(tmp_path / "index", [], tiny_vocabulary)


def test_two_builders_do_not_share_a_folder(tmp_path, small_corpora):
    import fcntl

    (tmp_path / "index").mkdir()
    with (tmp_path / "index" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is building"):
            build_index(tmp_path / "index", small_corpora.prefixes, small_corpora.vocabulary)


def test_a_folder_with_other_files_is_left_alone(tmp_path, small_corpora):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="holds other files"):
        build_index(tmp_path, small_corpora.prefixes, small_corpora.vocabulary)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    "name", ["text.bin", "ids.bin", "ids.starts.npy", "shard.json", "tantivy/meta.json"]
)
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_damaged_part_is_named(tmp_path, small_corpora, name, how):
    build_index(tmp_path / "index", small_corpora.prefixes[1:2], small_corpora.vocabulary)
    (path,) = (tmp_path / "index" / SHARDS).glob(f"*/{name}")
    content = path.read_bytes()
    path.unlink()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="ja.validation.0000000000 of the index is damaged"):
        CorpusIndex(tmp_path / "index")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '{"format": 99}',
        '{"format": 1, "vocabulary": "", "stores": [{"licences": [], "files": [], "shards": ["../x"]}]}',
    ],
)
def test_an_index_file_that_is_not_whole_is_named(tmp_path, content):
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(UserError, match="index.json"):
        CorpusIndex(tmp_path)


@pytest.mark.parametrize("name", ["ja_cc/CC-MAIN-2013", "日本語", ".hidden", "a%2Fb"])
def test_a_subset_may_have_any_name_that_a_run_gives_it(tmp_path, small_corpora, name):
    vocabulary = load_vocabulary(small_corpora.vocabulary)
    prefix = write_store(tmp_path / "cache", "mine", "train", ["ある文。"], vocabulary)
    for _ in range(2):  # what is there stays
        build_index(tmp_path / "index", {prefix: (name, "train")}, small_corpora.vocabulary)
    with CorpusIndex(tmp_path / "index") as index:
        hit = index.find_text("ある").hits[0]
        assert hit.document == DocumentId(name, "train", 0) == DocumentId.parse(str(hit.document))
        assert index.document(hit.document).text == "ある文。"


def test_stores_of_a_mixture_have_the_names_of_its_tasks(tmp_path, small_corpora):
    vocabulary = load_vocabulary(small_corpora.vocabulary)
    write_store(tmp_path / "cache" / "cc", "2013", "train", ["ある文。"], vocabulary)
    (tmp_path / "cache" / "all.mixture.json").write_text('{"weights": {"cc/2013": 1}}')
    found = prefixes_of(tmp_path / "cache", ["all"], ["train", "validation"])
    assert found == {tmp_path / "cache" / "cc" / "2013" / "train": ("cc/2013", "train")}
    with pytest.raises(UserError, match="none of the splits validation"):
        prefixes_of(tmp_path / "cache", ["all"], ["validation"])


def test_the_licences_that_documents_name_are_told(small_index):
    assert {key: store.licence_words for key, store in small_index.stores.items()} == {
        ("ja", "train"): "CC-ja", ("ja", "validation"): "CC-ja", ("en", "train"): "CC-en", ("code", "train"): "CC-code",
    }  # fmt: skip
