"""tools/trace.py: the documents of a step, the steps of a document, and mistakes in one sentence."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llmjp_jax.inputs import TokenStoreWriter, open_inputs, recorded_inputs
from llmjp_jax.search import DocumentId
from llmjp_jax.search.trace import Trace
from llmjp_jax.tokenizer import load_vocabulary
from tools import trace as tool

REPOSITORY = Path(__file__).resolve().parents[2]
OPTIONS = dict(sequence_length=32, batch_size=4, seed=3, document_mask=False, order="windows")
STEPS, MADE = 400, 150
ODD = "\x1b[2J\x1b[31m赤\n\r\t<b>\x07\u202e"


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_cache, tiny_vocabulary) -> Path:
    """The record of a run over three stores, one with text that could steer a terminal, of which 150 steps are made."""
    folder = tmp_path_factory.mktemp("traced")
    cache, vocabulary = folder / "cache", load_vocabulary(tiny_vocabulary)
    shutil.copytree(tiny_cache, cache)
    (cache / "odd").mkdir()
    writer = TokenStoreWriter(cache / "odd" / "train", np.uint16)
    for _ in range(20):
        writer.add([*vocabulary.encode(ODD), vocabulary.eos_id])
    writer.commit()
    (cache / "all.mixture.json").write_text('{"weights": {"tiny_ja": 2, "tiny_en": 1, "odd": 1}}')
    inputs = open_inputs(cache, "all", "train", total_steps=STEPS, **OPTIONS)
    data = recorded_inputs(
        inputs, cache_dir=cache, mixture_or_task_name="all", examples=None, total_steps=STEPS, **OPTIONS
    )  # fmt: skip
    run = folder / "run"
    (run / "checkpoints" / f"{MADE}").mkdir(parents=True)
    shutil.copy(tiny_vocabulary, run / "tokenizer.model")
    record = {
        "model": {}, "total_steps": STEPS, "data": data, "data_fingerprint": inputs.fingerprint,
        "identity": {"data": inputs.identity},
    }  # fmt: skip
    (run / "run.json").write_text(json.dumps(record))
    return run


@pytest.fixture
def printed(run, capsys, monkeypatch):
    """printed(*flags) -> the lines that the tool prints for the run, on a terminal of 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")

    def print_them(*flags: str) -> list[str]:
        tool.main([f"--run={run}", *flags])
        return capsys.readouterr().out.splitlines()

    return print_them


def test_a_step_is_a_table_of_its_documents(run, printed, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    lines = printed("--step=7")
    assert lines[0] == f"step 7 of {STEPS}, made; 4 rows"
    assert lines[1].split() == ["row", "epoch", "document", "tokens", "text"]
    expected = [
        (f"{piece.document}", f"{piece.start}:{piece.stop}")
        for row in Trace.open(run).rows(7)
        for piece in row.pieces
    ]
    body = [line[12:].split(maxsplit=2) for line in lines[2:]]
    assert [(document, tokens) for document, tokens, *_ in body] == expected
    assert [line[0] for line in lines[2:] if line[0] != " "] == ["0", "1", "2", "3"]
    assert all(tool._columns(line) <= 60 for line in lines)
    assert any(line.endswith("…") for line in lines), "what has no room is cut"
    assert printed(f"--step={MADE}")[0].startswith(f"step {MADE} of {STEPS}, still to come")


def test_what_could_steer_a_terminal_is_written_out(printed):
    lines = [
        line for step in range(6) for line in printed(f"--step={step}") if "odd/train/" in line
    ]
    assert any(r"\x1b[2J\x1b[31m赤\n\r\t<b>\x07\u202e" in line for line in lines)
    assert all(line.isprintable() for line in lines)


def test_the_same_as_json_lines_holds_the_whole_text(run, printed):
    rows = [json.loads(line) for line in printed("--step=7", "--json")]
    trace = Trace.open(run)
    assert [
        [(p["document"], p["start"], p["stop"], p["at"]) for p in row["pieces"]] for row in rows
    ] == [[(str(p.document), *p[1:]) for p in row.pieces] for row in trace.rows(7)]
    piece = trace.rows(7)[2].pieces[1]
    ids = trace.store(piece.document.subset)[piece.document.number][piece.start : piece.stop]
    assert rows[2]["pieces"][1]["text"] == trace.vocabulary.decode(ids.tolist())
    assert (rows[2]["step"], rows[2]["row"], rows[2]["source"]) == (7, 2, piece.document.subset)


def test_a_document_is_told_with_what_is_made_and_what_is_to_come(run, printed):
    document = DocumentId("odd", "train", 11)
    found = Trace.open(run).seen(document)
    made = sum(seen.step < MADE for seen in found)
    assert 0 < made < len(found)
    lines = printed(f"--document={document}")
    length = len(Trace.open(run).store("odd")[11])
    assert lines[0] == (
        f"odd/train/11: {length} tokens; seen {made} times in the {MADE} steps made, and to be seen {len(found) - made} times in "
        f"the {STEPS - MADE} to come"
    )
    assert lines[1].startswith(r"\x1b[2J")
    table = [line.split(maxsplit=4) for line in lines[3:]]
    assert table == [
        [f"{s.step}", f"{s.row}", f"{s.epoch}", f"{s.start}:{s.stop}", "seen" if s.step < MADE else "will be seen"]
        for s in found
    ]  # fmt: skip
    told = [json.loads(line) for line in printed(f"--document={document}", "--json")]
    assert told == [
        {"document": "odd/train/11", **s._asdict(), "trained": s.step < MADE} for s in found
    ]


def test_the_text_and_source_of_a_document_come_from_an_index(run, printed, tmp_path, capsys):
    from llmjp_jax.search import build_index

    cache = run.parent / "cache"
    build_index(tmp_path / "index", [cache / "odd" / "train"], run / "tokenizer.model", processes=1)
    lines = printed("--document=odd/train/3", f"--index={tmp_path / 'index'}")
    assert lines[1].endswith("licence unknown") and lines[2].startswith(r"\x1b[2J")
    with pytest.raises(SystemExit):
        printed("--document=tiny_ja/train/3", f"--index={tmp_path / 'index'}")
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags, sentence",
    [
        (["--step=400"], "which has 400 steps, 0 to 399; give one of these"),
        (["--step=-1"], "step -1 is none of the run"),
        (["--document=tiny_jp/train/3"], "no source 'tiny_jp'; the nearest is tiny_ja"),
        (
            ["--document=tiny_ja/validation/3"],
            "never trained on: a run reads the split train alone",
        ),
        (["--document=tiny_ja/train/1500"], "1,500 documents and no document 1500"),
        (["--document=tiny_ja"], "names no document; write SUBSET/SPLIT/NUMBER"),
        (["--step=1", "--index=x"], "--index is not for --step"),
        (["--document=odd/train/1", "--output=x"], "--output is not for --document"),
        (["--step=1", "--cache_dir=nowhere"], "there is no folder nowhere"),
        (["--text=x"], "--text needs --index"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence_and_exit_code_2(flags, sentence, run, capsys):
    with pytest.raises(SystemExit) as ended:
        tool.main([f"--run={run}", *flags])
    output = capsys.readouterr()
    assert ended.value.code == 2 and not output.out
    assert output.err.startswith("error: ") and output.err.count("\n") == 1
    assert sentence in output.err


def test_a_run_is_needed_and_a_reader_that_has_enough_is_no_error(run, capsys):
    with pytest.raises(SystemExit) as ended:
        tool.main(["--step=1"])
    assert ended.value.code == 2 and "--step needs --run" in capsys.readouterr().err
    command = f"{sys.executable} tools/trace.py --run={run} --document=odd/train/1 | head -1"
    found = subprocess.run(["bash", "-c", command], cwd=REPOSITORY, capture_output=True, text=True)
    assert found.stdout.startswith("odd/train/1: ") and not found.stderr
