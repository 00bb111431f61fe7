"""A trace opens from run.json alone, wherever the run and its stores lie, and says in a sentence why it cannot."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.inputs import ExamplesConfig, open_examples, open_inputs, recorded_inputs
from llmjp_jax.search import DocumentId
from llmjp_jax.search.trace import Trace
from llmjp_jax.search.trace_run import steps_taken
from llmjp_jax.tokenizer import load_vocabulary
from tests.search.traced_runs import LENGTH, ROWS, edited_run

OPTIONS = dict(sequence_length=LENGTH, batch_size=ROWS, seed=3, document_mask=False, order="windows")  # fmt: skip


@pytest.fixture
def run(tmp_path, traced_world) -> Path:
    """FOLDER/runs/model with a run's record, which names FOLDER/runs/cache as it was seen from FOLDER."""
    shutil.copytree(traced_world.cache, tmp_path / "runs" / "cache")
    folder = tmp_path / "runs" / "model"
    folder.mkdir()
    inputs = open_inputs(tmp_path / "runs" / "cache", "mix", "train", total_steps=50, **OPTIONS)
    data = recorded_inputs(
        inputs, cache_dir="runs/cache", mixture_or_task_name="mix", examples=None, total_steps=50, **OPTIONS,
    )  # fmt: skip
    write_record(folder, data, inputs)
    return folder


def write_record(folder: Path, data: dict, inputs) -> None:
    record = {
        "model": {}, "total_steps": 50, "vocabulary": "gone/tokenizer.model", "data": data,
        "data_fingerprint": inputs.fingerprint, "identity": {"data": inputs.identity},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))


def refused(*arguments) -> str:
    with pytest.raises(UserError) as raised:
        Trace.open(*arguments)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_relative_cache_is_found_from_any_folder_and_after_a_move(run, tmp_path, monkeypatch):
    rows = Trace.open(run).rows(7)
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere" / "model"
    assert "if they have moved, give the folder of its token stores as cache_dir" in refused(moved)
    assert Trace.open(moved, tmp_path / "elsewhere" / "cache").rows(7) == rows
    (tmp_path / "a").mkdir()
    (tmp_path / "elsewhere").rename(tmp_path / "a" / "runs")
    for here in (tmp_path, tmp_path / "a", Path("/")):
        monkeypatch.chdir(here)
        assert Trace.open(tmp_path / "a" / "runs" / "model").rows(7) == rows
    monkeypatch.chdir(tmp_path / "a" / "runs")
    assert Trace.open("model").rows(7) == rows


def test_it_takes_no_jax_no_gin_and_no_tensorflow(run):
    code = (
        f"import sys; from llmjp_jax.search.trace import Trace, DocumentId; t = Trace.open({str(run)!r}); t.rows(3); "
        "assert t.seen(DocumentId('ja', 'train', 100)); "
        "print([name for name in ('jax', 'gin', 'tensorflow', 'torch', 'tantivy', 'numba') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("packing", [True, False])
def test_examples_of_a_mixture_open_again(packing, traced_world, tmp_path):
    config = ExamplesConfig(max_length=14, packing=packing, buckets=None if packing else (8, 16))
    vocabulary = load_vocabulary(traced_world.vocabulary)
    sizes = {name: OPTIONS[name] for name in ("sequence_length", "batch_size", "seed")}
    inputs = open_examples(config, traced_world.cache, "tuning", vocabulary=vocabulary, **sizes)
    data = recorded_inputs(
        inputs, cache_dir=traced_world.cache, mixture_or_task_name="tuning", examples=config, total_steps=50, **OPTIONS,
    )  # fmt: skip
    write_record(tmp_path, data, inputs)
    trace = Trace.open(tmp_path)
    assert set(trace.sources) == {"dolly", "careful"}
    assert trace.fingerprints == {s.name: s.store.fingerprint for s in inputs.sources}


# What is refused.


def test_stores_that_are_not_the_runs_are_refused_with_the_difference(run, traced_world, tmp_path):
    cache = tmp_path / "runs" / "cache"
    (cache / "mix.mixture.json").write_text('{"weights": {"ja": 4, "en": 4, "code": 1}}')
    sentence = refused(run)
    assert "not those that the run" in sentence and "sources.ja.weight was 5 and is 4" in sentence
    assert "as cache_dir" in sentence
    shutil.copy(traced_world.cache / "mix.mixture.json", cache)
    for suffix in (".bin", ".idx", ".json"):
        shutil.copy(cache / "en" / f"train{suffix}", cache / "ja" / f"train{suffix}")
    sentence = refused(run)
    assert "sources.ja.fingerprint was" in sentence
    assert Trace.open(run, traced_world.cache).rows(0)


def test_missing_stores_are_one_sentence(run, tmp_path):
    shutil.rmtree(tmp_path / "runs" / "cache" / "en")
    assert "there is no token store of the train split of en" in refused(run)
    shutil.rmtree(tmp_path / "runs" / "cache")
    assert "as cache_dir" in refused(run)
    assert f"there is no folder {tmp_path / 'nowhere'}" in refused(run, tmp_path / "nowhere")


def test_what_is_no_run_of_this_version_is_one_sentence(run, tmp_path):
    assert "has no run.json; give a run's MODEL_DIR" in refused(tmp_path)
    older = edited_run(run, tmp_path / "older", data=None)
    assert "an earlier version; start the run's own command again" in refused(older)
    converted = edited_run(run, tmp_path / "converted", data=None, identity=None)
    assert "holds a converted model, of which no training is known" in refused(converted)
    data = json.loads((run / "run.json").read_text())["data"]
    for number, wrong in enumerate(({}, data | {"examples": {"colour": 1}}, data | {"order": 7})):
        assert refused(edited_run(run, tmp_path / f"wrong_{number}", data=wrong))
    (run / "run.json").write_text("{")
    assert "restore the file" in refused(run)


def test_an_unknown_source_step_or_document_is_one_sentence(run):
    trace = Trace.open(run)
    for step in (-1, 50, 10**9):
        with pytest.raises(UserError, match="which has 50 steps, 0 to 49; give one of these"):
            trace.rows(step)
    with pytest.raises(UserError, match="no source 'cod'; the nearest is code, of ja, en, code"):
        trace.store("cod")
    with pytest.raises(UserError, match="ja has 134 documents and no document 134"):
        trace.seen(DocumentId("ja", "train", 134))


def test_the_copy_of_the_vocabulary_in_the_run_is_taken(run, traced_world):
    with pytest.raises(UserError, match="copy the tokenizer to that folder"):
        _ = Trace.open(run).vocabulary
    shutil.copy(traced_world.vocabulary, run / "tokenizer.model")
    assert Trace.open(run).vocabulary.vocab_size == 400


# How far it came.


def test_the_steps_taken_are_those_of_the_last_checkpoint_or_metrics(run):
    assert steps_taken(run) == 0
    metrics = run / "metrics.jsonl"
    lines = [json.dumps({"step": step, "loss": 1.0, "pad": "x" * 90}) for step in range(1, 2001)]
    metrics.write_text("\n".join(lines) + "\n")
    assert steps_taken(run) == 2000
    metrics.write_text("\n".join(lines) + '\n{"step": 2001, "lo')
    assert steps_taken(run) == 2000, "a line that a kill cut short"
    for name in ("100", "2400", "2500.orbax-checkpoint-tmp"):
        (run / "checkpoints" / name).mkdir(parents=True)
    assert steps_taken(run) == Trace.open(run).trained_steps == 2400


# An index of the same stores.


class Info:
    def __init__(self, fingerprint: str):
        self.fingerprint = fingerprint


def test_an_index_of_other_stores_is_refused(run):
    trace = Trace.open(run)
    mine = {(name, "train"): Info(told) for name, told in trace.fingerprints.items()}
    trace.check_stores(mine)
    trace.check_stores({("ja", "train"): mine["ja", "train"], ("fr", "train"): Info("?"), ("ja", "validation"): Info("?")})  # fmt: skip
    with pytest.raises(UserError, match="none of the stores that .* was trained on"):
        trace.check_stores({("fr", "train"): Info("?"), ("ja", "validation"): Info("?")})
    with pytest.raises(UserError, match="another store en/train than"):
        trace.check_stores(mine | {("en", "train"): Info("?")})
