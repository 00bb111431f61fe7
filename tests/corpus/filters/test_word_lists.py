"""Word lists: where their words come from, and what is said when they are not there."""

import hashlib
import importlib.util
import shutil
import subprocess
import sys

import pytest

from llmjp_jax.corpus.filters.word_lists import load_word_list
from llmjp_jax.corpus.manifests import load_manifest
from llmjp_jax.errors import UserError


@pytest.fixture(autouse=True)
def _no_list_is_remembered():
    load_word_list.cache_clear()
    yield
    load_word_list.cache_clear()


def test_hojichars_lists_are_those_of_its_package():
    sizes = {"adult": 1000, "discrimination": 100, "violence": 50, "advertisement": 20}
    for name, least in sizes.items():
        words = load_word_list(f"hojichar_{name}")
        assert len(words) > least
        assert all(word and word == word.strip() for word in words)


def test_hojichar_is_not_imported_for_its_lists():
    code = (
        "import sys; from llmjp_jax.corpus.filters.word_lists import load_word_list;"
        "load_word_list('hojichar_adult'); sys.exit('hojichar' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(("name", "size"), [("llm_jp_domains", 13), ("llm_jp_extensions", 66)])
def test_words_in_the_manifest_make_llm_jps_file(name, size):
    words = load_word_list(name)
    assert len(words) == size
    data = "".join(f"{word}\n" for word in words).encode()
    assert hashlib.sha256(data).hexdigest() == load_manifest("word_lists")["lists"][name]["sha256"]


def test_the_headings_are_18():
    assert len(set(load_word_list("llm_jp_footnotes"))) == 18


@pytest.mark.parametrize(
    ("name", "lines"), [("adult", 1462), ("discrimination", 150), ("violence", 73)]
)
def test_downloaded_lists_are_llm_jps(shared_data, name, lines):
    folder = shared_data / "parity" / "corpus_filters" / "dict"
    words = load_word_list(f"llm_jp_{name}", folder)
    assert len(words) == lines
    assert list(words) == (folder / f"ja_{name}_keywords.txt").read_text("utf-8").splitlines()
    # What LLM-jp left out of HojiChar's list; the order is the same.
    assert [word for word in load_word_list(f"hojichar_{name}") if word in words] == list(words)


def test_manifest_names_the_bytes_of_the_files(shared_data):
    folder = shared_data / "parity" / "corpus_filters" / "dict"
    for file in load_manifest("word_lists")["downloads"]["word_lists"]["files"]:
        data = (folder / file["url"].rpartition("/")[2]).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (file["sha256"], file["bytes"])


def test_every_downloaded_list_is_a_file_of_the_manifest():
    manifest = load_manifest("word_lists")
    files = {
        file["url"].rpartition("/")[2] for file in manifest["downloads"]["word_lists"]["files"]
    }
    assert {
        fields["download"] for fields in manifest["lists"].values() if "download" in fields
    } == files


def test_a_file_of_ones_own_has_one_word_a_line(tmp_path):
    path = tmp_path / "own.txt"
    path.write_bytes("\ufeff毒\r\n\r\n  ア ス \r\n　\r\n毒".encode())
    assert load_word_list(str(path)) == ("毒", "ア ス", "毒")


def test_a_list_that_is_not_downloaded_names_the_command(tmp_path):
    fix = r"run `python tools/download\.py word_lists --output_dir=DIR` and give DIR/word_lists as folder"
    with pytest.raises(UserError, match=f"llm_jp_adult must be downloaded: {fix}"):
        load_word_list("llm_jp_adult")
    with pytest.raises(UserError, match=f"llm_jp_adult is not at {tmp_path}/ja_adult.*; {fix}"):
        load_word_list("llm_jp_adult", tmp_path)


def test_a_changed_download_is_refused(tmp_path, shared_data):
    source = shared_data / "parity" / "corpus_filters" / "dict" / "ja_violence_keywords.txt"
    path = tmp_path / source.name
    shutil.copyfile(source, path)
    assert load_word_list("llm_jp_violence", tmp_path)
    load_word_list.cache_clear()
    with path.open("a") as file:
        file.write("more\n")
    with pytest.raises(UserError, match=f"{path} is not LLM-jp's word list.*sha256"):
        load_word_list("llm_jp_violence", tmp_path)
    assert load_word_list(str(path))[-1] == "more"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "has no words; write one a line"),
        (b" \n\t\n", "has no words"),
        (b"ok\n\x82\xa0\n", "line 2, is not UTF-8"),
    ],
)
def test_a_broken_file_is_named(tmp_path, data, message):
    path = tmp_path / "own.txt"
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"{path}.*{message}"):
        load_word_list(str(path))


def test_an_unknown_name_shows_the_known_ones(tmp_path):
    with pytest.raises(
        UserError, match="no word list llm_jp_violense.*did you mean llm_jp_violence"
    ):
        load_word_list("llm_jp_violense")
    with pytest.raises(UserError, match="the named lists are hojichar_adult, "):
        load_word_list(str(tmp_path / "9"))


def test_without_hojichar_its_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="package hojichar, which is not installed"):
        load_word_list("hojichar_adult")
