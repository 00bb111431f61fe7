"""The cache of one's own files: built once by many processes at once, built again when anything changed, never half."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import time

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.inputs import build_examples, cached_examples, example_cache
from llmjp_jax.tokenizer import load_vocabulary
from tests.inputs.example_files import (
    barrier,
    conversations,
    preferences,
    start_cached_build,
    write_lines,
)
from tests.inputs.small_corpora import contents


@pytest.fixture
def vocabulary(tiny_vocabulary):
    return load_vocabulary(tiny_vocabulary)


@pytest.fixture
def path(tmp_path):
    return write_lines(tmp_path / "a.jsonl", conversations(200))


@pytest.fixture
def builds(monkeypatch) -> list:
    """Grows by one with every build."""
    done, original = [], example_cache.build_examples

    def counted(*arguments, **options):
        done.append(arguments)
        return original(*arguments, **options)

    monkeypatch.setattr(example_cache, "build_examples", counted)
    return done


def same(store, other) -> bool:
    ignored = {"sources"}
    one, two = ({k: v for k, v in s.manifest.items() if k not in ignored} for s in (store, other))
    return one == two and store.fingerprint == other.fingerprint


def test_the_second_time_nothing_is_built(tmp_path, path, vocabulary, builds):
    first = cached_examples(path, vocabulary, "v1.1", cache_dir=tmp_path / "cache")
    again = cached_examples(str(path), vocabulary, "v1.1", cache_dir=tmp_path / "cache")
    assert len(builds) == 1 and again.prefix == first.prefix
    assert first.prefix.parent.parent == tmp_path / "cache" / "examples"
    assert same(first, build_examples(path, vocabulary, "v1.1", tmp_path / "s"))


def test_whatever_changes_the_store_has_a_store_of_its_own(
    tmp_path, path, vocabulary, other_vocabulary, builds
):
    cache = {"cache_dir": tmp_path / "cache"}
    other = write_lines(tmp_path / "b.jsonl", conversations(200, seed=1))
    pairs = write_lines(tmp_path / "p.jsonl", preferences(9))
    stores = [
        cached_examples(path, vocabulary, "v1.1", **cache),
        cached_examples(path, vocabulary, "v1.0", **cache),
        cached_examples(path, vocabulary, "v1.1", bos=True, **cache),
        cached_examples(path, load_vocabulary(other_vocabulary), "v1.1", **cache),
        cached_examples(other, vocabulary, "v1.1", **cache),
        cached_examples([path, other], vocabulary, "v1.1", **cache),
        cached_examples([other, path], vocabulary, "v1.1", **cache),
        cached_examples(pairs, vocabulary, "v1.1", **cache),
    ]
    assert len({store.prefix for store in stores}) == len(builds) == len(stores)
    moved = shutil.copy(path, tmp_path / "moved.jsonl")
    assert cached_examples(moved, vocabulary, "v1.1", **cache).prefix == stores[0].prefix
    write_lines(path, conversations(200, seed=2))  # of about the same size
    assert cached_examples(path, vocabulary, "v1.1", **cache).prefix not in [
        s.prefix for s in stores
    ]


def test_without_a_folder_it_is_the_users_own(tmp_path, path, vocabulary, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    store = cached_examples(path, vocabulary, "v1.1")
    assert store.prefix.parent.parent == tmp_path / "xdg" / "llmjp_jax" / "examples"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    store = cached_examples(path, vocabulary, "v1.1")
    assert store.prefix.parent.parent == tmp_path / "home" / ".cache" / "llmjp_jax" / "examples"


def test_five_processes_that_ask_at_once_build_once(tmp_path, path, tiny_vocabulary):
    together = barrier(5)
    started = [
        start_cached_build([path], tiny_vocabulary, tmp_path / "cache", wait=together)
        for _ in range(5)
    ]
    results = [results.get(timeout=120) for _, results in started]
    for process, _ in started:
        process.join()
        assert process.exitcode == 0
    assert sum(built for built, *_ in results) == 1
    assert len({tuple(store) for _, *store in results}) == 1
    assert len(list((tmp_path / "cache" / "examples").iterdir())) == 2  # the store and its lock


def test_without_locks_two_that_build_at_once_still_end_with_one_whole_store(
    tmp_path, path, vocabulary, monkeypatch
):
    monkeypatch.setattr(example_cache, "locked", lambda folder: contextlib.nullcontext(False))
    inner = []
    original = example_cache.build_examples

    def overtaken(*arguments, **options):
        store = original(*arguments, **options)
        if not inner:
            inner.append(None)
            inner[0] = cached_examples(path, vocabulary, "v1.1", cache_dir=tmp_path / "cache")
        return store

    monkeypatch.setattr(example_cache, "build_examples", overtaken)
    store = cached_examples(path, vocabulary, "v1.1", cache_dir=tmp_path / "cache")
    assert store.prefix == inner[0].prefix and same(store, inner[0])
    assert [p.name for p in (tmp_path / "cache" / "examples").iterdir()] == [
        store.prefix.parent.name
    ]


@pytest.mark.parametrize("nth", range(1, 9))
def test_a_build_killed_at_any_rename_leaves_nothing_that_is_believed(
    tmp_path, path, tiny_vocabulary, vocabulary, nth
):
    # Places, manifest, new index, .bin, .mask, .idx, and the folder.
    cache, renames = tmp_path / "cache", 7
    process, _ = start_cached_build([path], tiny_vocabulary, cache, kill_at_rename=nth)
    process.join()
    killed = process.exitcode == -signal.SIGKILL
    folders = [p for p in (cache / "examples").iterdir() if not p.name.startswith(".")]
    assert len(folders) == (not killed)
    assert killed == (nth <= renames)
    store = cached_examples(path, vocabulary, "v1.1", cache_dir=cache)
    whole = build_examples(path, vocabulary, "v1.1", tmp_path / "whole")
    assert same(store, whole)
    left = {p.name for p in (cache / "examples").iterdir()}
    assert left == {store.prefix.parent.name, f".{store.prefix.parent.name}.lock"}


@pytest.mark.slow
def test_a_build_killed_at_random_moments_leaves_nothing_that_is_believed(
    tmp_path, tiny_vocabulary, vocabulary
):
    path = write_lines(tmp_path / "long.jsonl", conversations(1000))
    whole = build_examples(path, vocabulary, "v1.1", tmp_path / "whole")
    seed = random.randrange(10**6)
    choose, partly = random.Random(seed), 0
    for attempt in range(12):
        cache = tmp_path / f"cache{attempt}"
        together = barrier(2)
        process, _ = start_cached_build([path], tiny_vocabulary, cache, wait=together)
        together.wait(timeout=120)
        time.sleep(choose.uniform(0.0, 0.4))
        process.kill()
        process.join()
        partly += bool(list(cache.glob("examples/.*.tmp/*.part")))
        assert same(cached_examples(path, vocabulary, "v1.1", cache_dir=cache), whole), seed
    assert partly, "no kill fell into a build"


@pytest.mark.parametrize("suffix", [".bin", ".idx", ".mask", ".json"])
@pytest.mark.parametrize("damage", ["cut", "removed"])
def test_a_damaged_store_is_built_again(tmp_path, path, vocabulary, builds, suffix, damage):
    cache = {"cache_dir": tmp_path / "cache"}
    store = cached_examples(path, vocabulary, "v1.1", **cache)
    before = contents(store.prefix.parent)
    file = store.prefix.with_name(f"examples{suffix}")
    file.write_bytes(file.read_bytes()[:-3]) if damage == "cut" else file.unlink()
    cached_examples(path, vocabulary, "v1.1", **cache)
    assert len(builds) == 2 and contents(store.prefix.parent) == before


def test_a_bad_record_leaves_nothing_but_the_lock(tmp_path, path, vocabulary):
    with path.open("a") as file:
        file.write('{"instruction": "x"}\n')
    with pytest.raises(UserError, match=r"a\.jsonl, line 201"):
        cached_examples(path, vocabulary, "v1.1", cache_dir=tmp_path / "cache")
    assert [p.suffix for p in (tmp_path / "cache" / "examples").iterdir()] == [".lock"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path, path, vocabulary):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match="cannot write .*cache.*give another CACHE_DIR"):
        cached_examples(path, vocabulary, "v1.1", cache_dir=tmp_path / "cache")
