"""The whole path, by the tool: what was planted comes out and is told so, what was not does not, and a kill costs little."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from llmjp_jax import decoding
from llmjp_jax.inputs import TokenStore, batch_at, where
from llmjp_jax.search import build_index
from tests.search.memorization.conftest import PLANTED, STEPS, TASK
from tools import memorization

REPOSITORY = Path(__file__).resolve().parents[3]
ALL = (
    "answers.jsonl", "items.jsonl", "summary.json", "summary.md", "memorization.png",
)  # fmt: skip


def arguments(memorised, output_dir, **changes) -> list[str]:
    options = {"run": memorised.model_dir, "index": memorised.index, "output_dir": output_dir, "prefix_lengths": "16,32", "samples": 24,
               "held_out": 16, "texts": memorised.texts, "batch_size": 8}  # fmt: skip
    return [f"--{name}={value}" for name, value in (options | changes).items() if value is not None]


def items_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]


def tokens_of(memorised, split: str, parts: list) -> list[int]:
    """The ids of documents' parts, joined, from the store."""
    store = TokenStore(memorised.folder / "cache" / TASK / split)
    assert all(name.startswith(f"{TASK}/{split}/") for name, _, _ in parts)
    pieces = [store[int(name.split("/")[2])][start:stop] for name, start, stop in parts]
    return np.concatenate(pieces).tolist()


@pytest.fixture(scope="module")
def results(memorised, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    memorization.main(arguments(memorised, folder))
    return folder


@pytest.fixture(scope="module")
def rows(memorised) -> np.ndarray:
    """[steps, rows, L + 1]: all that the run saw, read as the trainer does."""
    batches = [batch_at(memorised.inputs, step) for step in range(STEPS)]
    return np.stack([np.hstack([batch["tokens"], batch["targets"][:, -1:]]) for batch in batches])


def steps_with(rows: np.ndarray, ids: list[int]) -> list[int]:
    """The step of every row that holds these ids in a row, by looking into all."""
    windows = np.lib.stride_tricks.sliding_window_view(rows, len(ids), axis=2)
    return np.nonzero((windows == ids).all(-1).any(-1))[0].tolist()


def test_a_planted_string_is_extractable_and_another_is_not(results, memorised, rows):
    items = {item["source"]: item for item in items_of(results) if item["group"] == "text"}
    planted, unplanted = (items[f"strings.jsonl, line {line}"] for line in (1, 2))
    for prefix in planted["prefixes"].values():
        assert prefix["extractable"] and prefix["matched"] == 50 and prefix["bleu"] == 1
        assert prefix["perplexity"] < 1.2 and prefix["min_k"] > -1
        assert prefix["written"] == planted["continuation"] and PLANTED.endswith(
            planted["continuation"].strip()
        )
    for prefix in unplanted["prefixes"].values():
        # Inside its words it is right often: these it knows. Their order it does not.
        assert not prefix["extractable"] and prefix["matched"] < 25 and prefix["bleu"] < 0.7
        assert prefix["perplexity"] > 2 and prefix["min_k"] < -3
    seen = steps_with(rows, planted["continuation_ids"])
    assert planted["documents"] == planted["occurrences"] == 60
    assert planted["times_seen"] == len(seen) > 100 and planted["last_step"] == max(seen)
    assert planted["all_looked_at"]
    assert unplanted["documents"] == unplanted["times_seen"] == 0 and unplanted["last_step"] is None


def test_what_is_said_of_trained_rows_agrees_with_the_batches(results, memorised, rows):
    items = [item for item in items_of(results) if item["group"] == "trained"]
    assert len(items) == len({(item["step"], item["row"]) for item in items}) == 24
    crossing = 0
    for item in items:
        wanted = item["continuation_ids"]
        assert rows[item["step"], item["row"], 32:82].tolist() == wanted
        assert tokens_of(memorised, "train", item["parts"]) == wanted
        if not item["crosses"]:
            found = steps_with(rows, wanted)
            assert item["documents"] == item["occurrences"] == 60
        else:
            # The place in the stream: every row whose window has all of it.
            (span,) = where(memorised.inputs, item["step"])[item["row"]].spans
            start = span.start + 32
            found = [
                step
                for step in range(STEPS)
                for sample in where(memorised.inputs, step)
                if sample.spans[0].start <= start and start + 50 <= sample.spans[0].stop
            ]
            crossing += 1
        assert item["times_seen"] == len(found) and item["last_step"] == max(found) >= item["step"]
    assert 0 < crossing < 24


def test_held_out_places_are_cut_from_the_validation_split(results, memorised):
    store = TokenStore(memorised.folder / "cache" / TASK / "validation")
    stream = store.tokens(0, store.num_tokens)
    windows = np.lib.stride_tricks.sliding_window_view(stream, 50)
    items = [item for item in items_of(results) if item["group"] == "held_out"]
    assert len(items) == 16
    for item in items:
        assert (windows == item["continuation_ids"]).all(-1).any()
        assert tokens_of(memorised, "validation", item["parts"]) == item["continuation_ids"]
        assert not any(prefix["extractable"] for prefix in item["prefixes"].values())
        assert item["last_step"] is None and item["documents"] == 0


def test_the_summary_counts_the_items(results):
    items, summary = items_of(results), json.loads((results / "summary.json").read_text())
    for group in ("trained", "held_out", "text"):
        some = [item for item in items if item["group"] == group]
        for length in ("16", "32"):
            figures = summary["groups"][group]["prefixes"][length]
            answers = [item["prefixes"][length] for item in some]
            assert figures["items"] == len(answers)
            assert figures["extractable"]["count"] == sum(one["extractable"] for one in answers)
            assert figures["bleu"]["mean"] == pytest.approx(np.mean([one["bleu"] for one in answers]))  # fmt: skip
            logarithms = np.log([one["perplexity"] for one in answers])
            assert figures["perplexity"]["mean"] == pytest.approx(np.exp(logarithms.mean()))
            assert figures["min_k"]["mean"] == pytest.approx(np.mean([one["min_k"] for one in answers]))  # fmt: skip
    for kind in ("by_frequency", "by_last_step"):
        assert sum(one["samples"] for one in summary[kind]) == 24
    assert {one["name"] for one in summary["by_frequency"]} == {"crosses", "10–99"}
    assert set(summary["auc"]) == {"16", "32"} and min(summary["auc"].values()) > 0.5
    page = (results / "summary.md").read_text()
    assert "crosses a document's end" in page and "| strings.jsonl, line 1 | 60 | 60 |" in page
    assert (results / "memorization.png").read_bytes()[:4] == b"\x89PNG"


def test_only_what_the_checkpoint_has_seen_is_drawn_and_counted(memorised, rows, tmp_path):
    memorization.main(arguments(memorised, tmp_path, step=45, samples=6, held_out=0, every=15))
    items = items_of(tmp_path)
    assert {item["step"] for item in items if item["group"] == "trained"} <= {0, 15, 30}
    planted = next(item for item in items if item["source"] == "strings.jsonl, line 1")
    seen = steps_with(rows[:45], planted["continuation_ids"])
    assert planted["times_seen"] == len(seen) and planted["last_step"] == max(seen) < 45


@pytest.mark.slow
def test_a_killed_study_goes_on_and_asks_nothing_twice(memorised, tmp_path, monkeypatch):
    flags = arguments(memorised, tmp_path, samples=140, held_out=0, texts=None)
    process = subprocess.Popen(
        [sys.executable, "tools/memorization.py", *flags], cwd=REPOSITORY, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    path, deadline = tmp_path / "answers.jsonl", time.monotonic() + 200
    while not path.exists() or path.read_bytes().count(b"\n") < 65:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = path.read_bytes()
    kept = kept[: kept.rfind(b"\n") + 1]
    assert {file.name for file in tmp_path.iterdir()} == {"answers.jsonl"}
    generate, asked = decoding.generate, []

    def counted(decoder, prompts, **options):
        asked.extend(map(tuple, prompts))
        return generate(decoder, prompts, **options)

    monkeypatch.setattr(decoding, "generate", counted)
    memorization.main(flags)
    assert path.read_bytes().startswith(kept)
    answers = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    assert sorted(answer["index"] for answer in answers) == list(range(280))
    assert len(asked) == 280 - (kept.count(b"\n") - 1) < 280
    asked.clear()
    memorization.main(flags)
    assert not asked and {file.name for file in tmp_path.iterdir()} == set(ALL)


# Mistakes


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prefix_lengths": "100,200"}, "--prefix_lengths= of at most 46"),
        ({"prefix_lengths": "16,x"}, "--prefix_lengths=16,x must be whole numbers"),
        ({"step": 7}, "no checkpoint of step 7; it has 45, 90"),
        ({"step": "last"}, "--step=last must be a whole number or 'best'"),
        ({"samples": -1}, "--samples"),
        ({"samples": 0, "texts": None, "held_out": None}, "nothing to ask"),
        ({"texts": "missing.jsonl"}, "missing.jsonl"),
        ({"index": "nowhere"}, "nowhere is no index"),
        ({"run": "nowhere"}, "nowhere"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(memorised, tmp_path, capsys, changes, sentence):
    with pytest.raises(SystemExit) as stopped:
        memorization.main(arguments(memorised, tmp_path / "out", **changes))
    error = capsys.readouterr().err.splitlines()[-1]
    assert stopped.value.code == 2 and error.startswith("error: ") and sentence in error
    assert not (tmp_path / "out").exists()


def test_a_text_that_is_too_short_for_every_prefix_is_named(memorised, tmp_path, capsys):
    path = tmp_path / "short.jsonl"
    path.write_text(json.dumps({"text": PLANTED}) + "\n" + json.dumps({"text": "he read a book"}))
    with pytest.raises(SystemExit):
        memorization.main(arguments(memorised, tmp_path / "out", texts=path))
    assert "short.jsonl line 2 has " in capsys.readouterr().err


def test_an_index_of_other_text_is_refused(memorised, tiny_cache, tiny_vocabulary, tmp_path, capsys):  # fmt: skip
    for name, sentence in (
        ("tiny_ja", f"lacks {TASK}/train"),
        ("tiny_en", "is another store than the run was trained on"),
    ):
        build_index(
            tmp_path / name, [tiny_cache / name / "train"], tiny_vocabulary, processes=1, decoded_text=True,
        )  # fmt: skip
        with pytest.raises(SystemExit):
            memorization.main(arguments(memorised, tmp_path / "out", index=tmp_path / name))
        assert sentence in capsys.readouterr().err
