"""tools/trace.py --text: what of a file stands in the corpus, when a run that was really trained saw it, and mistakes in one sentence."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmjp_jax.models import ModelConfig
from llmjp_jax.search import build_index
from llmjp_jax.search.trace import Trace
from llmjp_jax.tokenizer import load_vocabulary
from llmjp_jax.training import train
from tests.corpus.pipeline.report_page import Page
from tests.search.conftest import (  # noqa: F401 - fixtures
    small_corpora,
    small_index_folder,
)
from tests.search.traced_runs import MODEL, arguments_of, captured
from tools import trace as tool

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS, MADE = 110, 70
MADE_UP = "ゑこのぶんしょうはどこにもそんざいしませんゑ"
MARKUP = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def sentences(small_corpora) -> list[str]:  # noqa: F811
    """Documents of ja/train that are long enough to be spans and stand there once."""
    texts = small_corpora.texts["ja", "train"]
    found = [text for text in texts if len(re.findall(r"\w", text)) > 18 and "".join(texts).count(text) == 1]  # fmt: skip
    return [text for text in found if text.isprintable()][:15]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, small_corpora):  # noqa: F811
    """The folder of a run over ja/train that was stopped before its end, and the text of each (step, row) as the step had it."""
    directory = tmp_path_factory.mktemp("trained") / "run"
    arguments = arguments_of("plain", small_corpora, directory) | {
        "total_steps": STEPS, "sequence_length": 64, "model": ModelConfig(**MODEL | {"vocab_size": 2000}),
    }  # fmt: skip
    batches = {}
    with captured(batches, stop_at=MADE), pytest.raises(KeyboardInterrupt):
        train(**arguments)
    vocabulary = load_vocabulary(small_corpora.vocabulary)
    rows = {
        (step, row): vocabulary.decode([*batch["tokens"][row], batch["targets"][row, -1]])
        for step, batch in batches.items()
        for row in range(len(batch["tokens"]))
    }
    return directory, rows


@pytest.fixture
def text(tmp_path, sentences) -> Path:
    """A file of sentences of the corpus, markup and words that are nowhere."""
    path = tmp_path / "answer.txt"
    path.write_text("\n".join([MADE_UP, *sentences, MARKUP]), encoding="utf-8")
    return path


def printed(capsys, *arguments) -> str:
    tool.main([str(argument) for argument in arguments])
    return capsys.readouterr().out


def said(shown: str) -> list[dict[tuple[int, int], bool]]:
    """Of each span {(step, row): all of it} of the sentences that tell its steps."""
    found = []
    for entry in re.split(r"\n\[\d+\] ", shown)[1:]:
        rows = re.findall(r"step ([\d,]+) \(row (\d+)(, in part)?\)", entry)
        found.append({(int(step.replace(",", "")), int(row)): not part for step, row, part in rows})
    return found


def test_every_step_that_is_told_is_one_whose_batch_had_the_text(
    capsys, text, sentences, trained, small_index_folder  # noqa: F811
):  # fmt: skip
    run, batches = trained
    shown = printed(capsys, f"--text={text}", f"--index={small_index_folder}", f"--run={run}")
    for sentence, rows in zip(entries(shown), said(shown), strict=True):
        assert sentence in sentences
        made = {place for place, whole in rows.items() if whole and place[0] < MADE}
        assert made == {place for place, row in batches.items() if sentence in row}
        for place in {place for place, whole in rows.items() if not whole and place[0] < MADE}:
            cut = range(1, len(sentence))
            row = batches[place]
            assert any(row.startswith(sentence[n:]) or row.endswith(sentence[:n]) for n in cut)
    told = said(shown)
    assert len(told) == len(sentences) and sum(map(bool, told)) > 10
    assert "The run saw it at step" in shown and "will see it at step" in shown


def entries(shown: str) -> list[str]:
    """The text of each span of the list."""
    return re.findall(r"\n\[\d+\] [^\n]*\n    ([^\n]*)\n", shown)


def test_without_a_run_the_documents_are_told_and_no_steps(capsys, text, sentences, small_index_folder):  # noqa: F811  # fmt: skip
    shown = printed(capsys, f"--text={text}", f"--index={small_index_folder}")
    assert sorted(entries(shown)) == sorted(sentences)
    assert "CC-ja" in shown and "train.jsonl, line" in shown and "ja/train/" in shown
    assert "The run" not in shown and "\x1b" not in shown and shown.endswith("\n") and not shown.endswith("\n\n")  # fmt: skip
    assert f"\n{MADE_UP}\n[" in shown and f"\n{MARKUP}\n" in shown


@pytest.mark.parametrize("with_run", [False, True])
def test_a_page_is_written_whole_and_shows_markup_as_text(
    capsys, tmp_path, text, sentences, trained, small_index_folder, with_run  # noqa: F811
):  # fmt: skip
    output = tmp_path / "new" / "page.html"
    flags = [f"--run={trained[0]}"] if with_run else []
    shown = printed(capsys, f"--text={text}", f"--index={small_index_folder}", f"--output={output}", *flags)  # fmt: skip
    assert shown == f"{output}\n"
    page = Page(output.read_text(encoding="utf-8"))
    assert MARKUP in page.text and page.named("script") == []
    assert all(sentence in page.text for sentence in sentences)
    assert ("The run saw it at step" in page.text) == with_run
    assert [path.name for path in output.parent.iterdir()] == ["page.html"]


def test_moved_stores_are_found_where_cache_dir_says(capsys, tmp_path, text, trained, small_corpora, small_index_folder):  # noqa: F811  # fmt: skip
    moved = tmp_path / "moved"
    shutil.copytree(small_corpora.cache, moved)
    flags = [f"--text={text}", f"--index={small_index_folder}", f"--run={trained[0]}"]
    assert printed(capsys, *flags, f"--cache_dir={moved}") == printed(capsys, *flags)
    assert Trace.open(trained[0], cache_dir=moved).sources == ("ja",)


def refused(capsys, *arguments) -> str:
    with pytest.raises(SystemExit) as ended:
        tool.main([str(argument) for argument in arguments])
    assert ended.value.code == 2
    out, error = capsys.readouterr()
    assert out == "" and "Traceback" not in error
    return error


@pytest.mark.parametrize(
    "content, message",
    [
        (None, r"error: there is no file .*answer.txt"),
        (b"", r"error: .*answer.txt is empty; give a file with a text in it"),
        (b"\xff\xfea", r"error: .*answer.txt is not UTF-8 \(byte 0\)"),
        (b"a" * 100_001, r"error: the text has 100,001 characters, and 100,000 are the most"),
    ],
)
def test_a_file_that_is_no_text_is_refused_in_a_sentence(capsys, tmp_path, small_index_folder, content, message):  # noqa: F811  # fmt: skip
    path = tmp_path / "answer.txt"
    if content is not None:
        path.write_bytes(content)
    output = tmp_path / "page.html"
    error = refused(capsys, f"--text={path}", f"--index={small_index_folder}", f"--output={output}")
    assert re.match(message, error) and error.count("\n") == 1 and not output.exists()


def test_a_text_needs_an_index(capsys, tmp_path, text):
    assert refused(capsys, f"--text={text}") == "error: --text needs --index\n"
    assert "is no index" in refused(capsys, f"--text={text}", f"--index={tmp_path}")
    assert "--json is not for --text" in refused(capsys, f"--text={text}", "--index=x", "--json")


def test_an_index_of_other_stores_than_the_runs_is_refused(capsys, tmp_path, text, trained, small_corpora):  # noqa: F811  # fmt: skip
    build_index(tmp_path / "index", small_corpora.prefixes[1:], small_corpora.vocabulary, processes=1)  # fmt: skip
    capsys.readouterr()
    error = refused(capsys, f"--text={text}", f"--index={tmp_path / 'index'}", f"--run={trained[0]}")  # fmt: skip
    assert error.startswith("error: the index has none of the stores that")


def test_a_place_that_cannot_be_written_to_is_named(capsys, tmp_path, text, small_index_folder):  # noqa: F811  # fmt: skip
    output = tmp_path / "file" / "page.html"
    (tmp_path / "file").touch()
    error = refused(capsys, f"--text={text}", f"--index={small_index_folder}", f"--output={output}")
    assert error.startswith("error: cannot write to")


def test_the_command_runs_by_itself(tmp_path, text, small_index_folder):  # noqa: F811
    command = [sys.executable, "tools/trace.py", f"--text={text}", f"--index={small_index_folder}"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
    assert done.returncode == 0 and "stand in the corpus word for word" in done.stdout
    assert done.stderr == ""
