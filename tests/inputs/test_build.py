"""cache_task: from registered Tasks to stores; interrupted builds are in test_build_killed. Imports SeqIO, and with it TensorFlow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llmjp_jax.corpus import write_documents
from llmjp_jax.errors import UserError
from llmjp_jax.files import repository_root
from llmjp_jax.inputs import TokenStore, batch_at, open_inputs
from llmjp_jax.tokenizer import load_vocabulary

seqio = pytest.importorskip("seqio")

from llmjp_jax import tasks  # noqa: E402
from llmjp_jax.inputs import build, tokenizing  # noqa: E402
from tests.inputs.small_corpora import contents, corpus, texts  # noqa: E402


def test_a_store_holds_each_document_with_its_end_in_order(tmp_path, ja, vocabulary):
    build.cache_task("ja", tmp_path / "cache")
    for split in ("train", "validation"):
        store = TokenStore(tmp_path / "cache" / "ja" / split)
        expected = [[*vocabulary.encode(text), vocabulary.eos_id] for text in ja[split]]
        assert [ids.tolist() for ids in store] == expected
        assert store.dtype == np.uint16
    assert "tensorflow" in sys.modules  # or the test of reading without it would prove nothing


def test_the_manifest_says_what_the_store_was_made_of(tmp_path, ja, vocabulary):
    build.cache_task("ja", tmp_path / "cache")
    store = TokenStore(tmp_path / "cache" / "ja" / "train")
    manifest = store.manifest
    assert manifest["vocabulary"]["fingerprint"] == vocabulary.fingerprint
    assert manifest["text_bytes"] == sum(len(text.encode()) for text in ja["train"])
    assert (manifest["documents"], manifest["tokens"]) == (100, store.num_tokens)
    assert manifest["unknown_tokens"] == 0
    for document, (file, line, offset) in enumerate(store.places.tolist()):
        path = Path(manifest["sources"][file]["path"])
        lines = path.read_bytes().splitlines(keepends=True)
        assert json.loads(lines[line - 1])["text"] == ja["train"][document]
        assert offset == sum(map(len, lines[: line - 1]))


def test_small_batches_and_one_thread_give_the_same_bytes(tmp_path, ja, monkeypatch):
    build.cache_task("ja", tmp_path / "one")
    monkeypatch.setattr(tokenizing, "_BATCH_BYTES", 100)
    build.cache_task("ja", tmp_path / "two", num_threads=1)
    assert contents(tmp_path / "one" / "ja") == contents(tmp_path / "two" / "ja")


def test_seqio_itself_gives_the_same_ids(tmp_path, ja, monkeypatch):
    build.cache_task("ja", tmp_path / "fast")
    monkeypatch.setattr(tasks, "plain_text_source", lambda task: None)
    build.cache_task("ja", tmp_path / "slow")
    for split in ("train", "validation"):
        fast, slow = (TokenStore(tmp_path / way / "ja" / split) for way in ("fast", "slow"))
        assert slow.places is None
        assert [ids.tolist() for ids in fast] == [ids.tolist() for ids in slow]
        assert fast.manifest["text_bytes"] == slow.manifest["text_bytes"]


def test_any_task_is_built_with_its_own_preprocessors(tmp_path, vocabulary, monkeypatch):
    """A function as source, its own steps, and no end token: what its author wrote is what is stored."""
    import tensorflow as tf

    given = texts(30, 5)

    def dataset(split, shuffle_files, seed=None):
        return tf.data.Dataset.from_tensor_slices({"targets": given})

    name = "own_steps"
    if name not in seqio.TaskRegistry.names():
        seqio.TaskRegistry.add(
            name,
            source=seqio.FunctionDataSource(dataset, splits=["train"]),
            preprocessors=[
                lambda ds: ds.map(lambda e: {"targets": tf.strings.join([e["targets"], "?!"])}),
                seqio.preprocessors.tokenize,
            ],
            output_features={"targets": seqio.Feature(vocabulary=vocabulary, add_eos=False)},
            metric_fns=[],
        )
    monkeypatch.setattr(tokenizing, "_BATCH_BYTES", 400)
    build.cache_task(name, tmp_path)
    store = TokenStore(tmp_path / name / "train")
    assert [ids.tolist() for ids in store] == [vocabulary.encode(text + "?!") for text in given]
    assert store.manifest["text_bytes"] == sum(len(text.encode()) + 2 for text in given)
    with pytest.raises(UserError, match=f"other code has registered the name {name}"):
        tasks.register_jsonl_task(name, {"train": "x.jsonl"}, vocabulary)


def test_a_jsonl_task_with_a_step_more_is_not_tokenised_as_it_stands(tmp_path, vocabulary):
    task = seqio.Task(
        "more",
        source=tasks.JsonlSource({"train": "x.jsonl"}),
        preprocessors=[lambda ds: ds, seqio.preprocessors.tokenize, seqio.preprocessors.append_eos],
        output_features={"targets": seqio.Feature(vocabulary=vocabulary)},
    )
    assert tasks.plain_text_source(task) is None


def test_a_mixture_is_built_and_opened_with_its_weights(tmp_path, ja, vocabulary):
    tasks.register_jsonl_task("en", {"train": corpus(tmp_path / "en.jsonl", 50, 4)}, vocabulary)
    tasks.register_mixture("both", {"ja": 60, "en": 40})
    build.cache_task("both", tmp_path / "cache")
    inputs = open_inputs(
        tmp_path / "cache", "both", "train", 32, 4, vocabulary_fingerprint=vocabulary.fingerprint
    )
    assert {source.name: source.weight for source in inputs.sources} == {"ja": 60, "en": 40}
    assert batch_at(inputs, 10**7)["tokens"].max() < vocabulary.vocab_size


def test_seqio_iterates_the_mixture(tmp_path, ja, vocabulary):
    tasks.register_jsonl_task("en", {"train": corpus(tmp_path / "en.jsonl", 50, 4)}, vocabulary)
    tasks.register_mixture("both", {"ja": 60, "en": 40})
    dataset = seqio.get_mixture_or_task("both").get_dataset({"targets": 64}, "train", seed=0)
    expected = {tuple(vocabulary.encode(text)) for text in ja["train"] + texts(50, 4)}
    for example in dataset.take(20).as_numpy_iterator():
        ids = example["targets"].tolist()
        full = ids[-1] == vocabulary.eos_id
        assert tuple(ids[:-1]) in expected if full else len(ids) == 64


def test_rates_become_integers_in_their_exact_proportions():
    assert build.integer_weights({"ja": 50, "en": 45.0, "code": 5}) == {
        "ja": 50,
        "en": 45,
        "code": 5,
    }
    assert build.integer_weights({"a": 0.5, "b": 0.45, "c": 0.05}) == {"a": 10, "b": 9, "c": 1}
    assert build.integer_weights({"a": 0.1, "b": 0.0, "c": 2}) == {"a": 1, "c": 20}


def test_a_finished_store_is_left_alone_and_a_changed_one_is_not_silently_used(
    tmp_path, ja, small_vocabulary, other_vocabulary, monkeypatch
):
    build.cache_task("ja", tmp_path / "cache")
    index = tmp_path / "cache" / "ja" / "train.idx"
    built = index.stat().st_mtime_ns, index.stat().st_ino
    monkeypatch.setattr(build, "jsonl_chunks", None)  # building anything would fail
    build.cache_task("ja", tmp_path / "cache")
    os.utime(tmp_path / "a.jsonl", (1, 1))  # another time, the same bytes
    build.cache_task("ja", tmp_path / "cache")
    assert (index.stat().st_mtime_ns, index.stat().st_ino) == built
    monkeypatch.undo()

    corpus(tmp_path / "a.jsonl", 60, 77)
    with pytest.raises(UserError, match=r"a\.jsonl has changed; build it again with --overwrite"):
        build.cache_task("ja", tmp_path / "cache")
    build.cache_task("ja", tmp_path / "cache", overwrite=True)
    build.cache_task("ja", tmp_path / "cache")

    files = {"train": [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]}
    tasks.register_jsonl_task("ja", files, load_vocabulary(other_vocabulary))
    with pytest.raises(UserError, match=r"another vocabulary .*small\.model"):
        build.cache_task("ja", tmp_path / "cache")


def test_unknown_characters_are_counted_where_there_are_no_bytes_to_fall_back_on(
    tmp_path, other_vocabulary
):
    write_documents(tmp_path / "x.jsonl", [{"text": "The cat 𩸽 sat 鰯"}])
    tasks.register_jsonl_task(
        "x", {"train": tmp_path / "x.jsonl"}, load_vocabulary(other_vocabulary)
    )
    build.cache_task("x", tmp_path)
    store = TokenStore(tmp_path / "x" / "train")
    assert store.manifest["unknown_tokens"] == 2


def test_an_unknown_id_from_a_vocabulary_with_bytes_stops_the_build(
    tmp_path, ja, vocabulary, monkeypatch
):
    monkeypatch.setattr(
        type(vocabulary), "encode_batch", lambda self, batch, n: [[9, 0]] * len(batch)
    )
    assert vocabulary.unk_id == 0
    with pytest.raises(UserError, match="gave <unk>"):
        build.cache_task("ja", tmp_path / "cache")
    assert not (tmp_path / "cache" / "ja" / "train.idx").exists()


def test_a_bad_line_is_named_and_no_store_appears(tmp_path, ja):
    with (tmp_path / "b.jsonl").open("ab") as file:
        file.write(b'{"text": "cut off\n')
    with pytest.raises(UserError, match=r"b\.jsonl, line 41 is not JSON"):
        build.cache_task("ja", tmp_path / "cache")
    assert not list((tmp_path / "cache" / "ja").glob("train.[bij]*[nx]"))


def test_a_missing_file_and_a_split_that_no_task_has_are_named(tmp_path, ja, vocabulary):
    tasks.register_jsonl_task("gone", {"train": tmp_path / "gone.jsonl"}, vocabulary)
    with pytest.raises(UserError, match=r"no file .*gone\.jsonl"):
        build.cache_task("gone", tmp_path / "cache")
    with pytest.raises(UserError, match="none of the splits test; it has train, validation"):
        build.cache_task("ja", tmp_path / "cache", splits=["test"])


def test_the_tool_builds_a_users_own_files(tmp_path, small_vocabulary, monkeypatch, capsys):
    sys.path.insert(0, str(repository_root() / "tools"))
    import cache_tasks

    one, two = corpus(tmp_path / "one.jsonl", 20, 1), corpus(tmp_path / "two.jsonl", 20, 2)
    common = [f"--vocabulary={small_vocabulary}", f"--cache_dir={tmp_path / 'cache'}"]
    files = [f"--jsonl=mine={one}", f"--jsonl=mine:validation={two}", f"--jsonl=yours={two}"]
    weights = ["--weight=mine=3", "--weight=yours=1", "--mixture_or_task_name=ours"]
    cache_tasks.main([*common, *files, *weights])
    assert "mine/train: 20 documents" in capsys.readouterr().out
    inputs = open_inputs(tmp_path / "cache", "ours", "train", 16, 2)
    assert [(source.name, source.weight) for source in inputs.sources] == [
        ("mine", 3),
        ("yours", 1),
    ]

    for arguments, message in [
        ([*common], "name what to build"),
        ([*common, *files], "--weight=mine=... is missing"),
        ([*common, "--jsonl=mine"], "is not NAME[:SPLIT]=FILE"),
        ([*common, "--jsonl=a=gone.jsonl"], "no file gone.jsonl"),
        ([common[1], files[0]], "need --vocabulary"),
        ([*common, "--mixture_or_task_name=quickstrat"], "has a mixture named quickstrat"),
        ([*common, "--mixture_or_task_name=x", "--module=not_there"], "no module not_there"),
    ]:
        with pytest.raises(SystemExit) as stopped:
            cache_tasks.main(arguments)
        assert stopped.value.code == 2
        error = capsys.readouterr().err
        assert message in error and error.startswith("error: ") and error.count("\n") == 1


def test_the_tools_help_needs_nothing_heavy(tmp_path):
    program = """
import sys
for name in ("tensorflow", "seqio", "jax", "numpy"):
    sys.modules[name] = None
sys.path.insert(0, "tools")
import cache_tasks
cache_tasks.main(["--help"])
"""
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=repository_root(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0 and "--mixture_or_task_name" in result.stdout, result.stderr
