"""The command of corpus search: what it prints, and what it refuses in a sentence."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools import search_corpus

REPOSITORY = Path(__file__).resolve().parents[2]


def run(capsys, *arguments) -> str:
    search_corpus.main([str(argument) for argument in arguments])
    return capsys.readouterr().out


def test_an_index_of_a_mixture_is_made_and_asked(tmp_path, capsys, tiny_cache, tiny_vocabulary):
    out = run(capsys, "index", "--index", tmp_path / "index", "--cache_dir", tiny_cache, "--mixture_or_task_name=tiny", "--vocabulary", tiny_vocabulary, "--licence=tiny_ja=CC0-1.0")  # fmt: skip
    assert "train/train" not in out
    assert out.count("documents") == 4 and "licence CC0-1.0" in out and "times its text" in out


def test_modes_find_what_they_say(capsys, small_index_folder):
    def ask(*arguments):
        return json.loads(run(capsys, "query", "--index", small_index_folder, "--json", *arguments))

    text = ask("です", "--limit=2", "--subset=ja")
    assert text["documents"] > 100 and len(text["hits"]) == 2 and text["hits"][0]["match"] == "です"
    assert [store["subset"] for store in text["stores"]] == ["ja", "ja"]
    ids = ask("--mode=ids", "7", "--split=validation", "--limit=0")
    assert ids["documents"] == ids["occurrences"] == 200 and ids["hits"] == []
    assert ask("--mode=tokens", "です") == ask("--mode=tokens", "です") | {
        "seconds": pytest.approx(0, abs=9)
    }
    assert ask("--mode=ranked", "a black dog", "--limit=1")["hits"][0]["score"] > 0


def test_a_query_is_read_from_a_file_and_control_characters_are_written_out(
    tmp_path, capsys, small_index_folder
):
    (tmp_path / "query").write_bytes("一行目\n二行目\r\n".encode())
    out = run(capsys, "query", "--index", small_index_folder, "--file", tmp_path / "query")
    assert "1 document, 1 occurrence" in out
    assert "[一行目\\n二行目\\r\\n]三行目\\t終わり\\u3000全角\\u2028行\\x1c情報\\x85" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["query", "--index", "INDEX"], "give what to look for"),
        (["query", "--index", "INDEX", ""], "nothing to look for"),
        (["query", "--index", "INDEX", "--file", "nowhere"], "there is no file nowhere"),
        (["query", "--index", "INDEX", "--file", "LATIN"], "is not UTF-8"),
        (["query", "--index", "INDEX", "--mode=ids", "5 x"], "'x' is no token id"),
        (["query", "--index", "INDEX", "a", "--subset=jp"], "has no subset 'jp'"),
        (["query", "--index", "INDEX", "a", "--limit=-1"], "at least 0"),
        (["query", "--index", "nowhere", "a"], "nowhere is no index"),
        (["index", "--index", "new", "--vocabulary", "MODEL"], "name what to index"),
        (["index", "--index", "new", "--vocabulary", "MODEL", "--mixture_or_task_name=x"], "needs --cache_dir"),
        (["index", "--index", "new", "--vocabulary", "MODEL", "--store=nowhere/train"], "there is no file"),
        (["index", "--index", "new", "--vocabulary", "MODEL", "--store=ja=nowhere"], "SUBSET/SPLIT=PREFIX"),
        (["index", "--index", "new", "--vocabulary", "nowhere", "--store=a/train"], "there is no vocabulary"),
        (["index", "--index", "INDEX", "--vocabulary", "MODEL", "--store", "STORE", "--licence=ja"], "TASK=LICENCE"),
        (["index", "--index", "INDEX", "--vocabulary", "MODEL", "--store", "STORE", "--licence=xx=CC"], "none of the stores"),
        (["index", "--index", "INDEX", "--vocabulary", "MODEL", "--store", "STORE", "--processes=0"], "at least 1"),
        (["serve", "--index", "nowhere"], "nowhere is no index"),
        (["serve", "--index", "INDEX", "--run", "nowhere"], "nowhere"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(
    tmp_path, monkeypatch, capsys, small_corpora, small_index_folder, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin").write_bytes(b"\xe9t\xe9")
    places = {"INDEX": small_index_folder, "MODEL": small_corpora.vocabulary, "STORE": small_corpora.prefixes[0], "LATIN": "latin"}  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        search_corpus.main([str(places.get(argument, argument)) for argument in arguments])
    out = capsys.readouterr()
    assert ended.value.code == 2
    assert out.err.startswith("error: ") and sentence in out.err and out.err.count("\n") == 1


def test_an_unfinished_pipe_is_no_traceback(small_index_folder):
    command = f"{sys.executable} tools/search_corpus.py query --index {small_index_folder} --limit 3000 a | head -n 1"
    found = subprocess.run(command, shell=True, cwd=REPOSITORY, capture_output=True, text=True)
    assert "Traceback" not in found.stderr
