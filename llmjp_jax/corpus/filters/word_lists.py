"""Word lists by name or path: HojiChar's, LLM-jp's, or the user's own. What is done with the words is elsewhere.

The names, and where their words are, stand in `data/word_lists.toml`. A file has one word a line, in UTF-8.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmjp_jax.corpus.manifests import load_manifest
from llmjp_jax.errors import UserError

_MANIFEST = "word_lists"


@functools.cache
def load_word_list(word_list: str, folder: str | os.PathLike | None = None) -> tuple[str, ...]:
    """The words of a list, in its order, repeated ones too: the order decides which of two words a match counts as.

    Space around a word is removed; empty lines, and lines of space alone, are left out. (The reference takes a line of
    space for an empty word, which matches everywhere.)

    Args:
      word_list: a name of `data/word_lists.toml` (`hojichar_adult`, `llm_jp_adult`, ...) or the path of a file.
      folder: `DIR/word_lists` after `python tools/download.py word_lists --output_dir=DIR`: needed for LLM-jp's lists.

    Raises:
      UserError: there is no list of this name, it is not downloaded, or its file is broken or has no words.
    """
    lists = load_manifest(_MANIFEST)["lists"]
    if word_list not in lists:
        return _words(_own_file(word_list, lists))
    source = lists[word_list]
    if "words" in source:
        return tuple(source["words"])
    if "package" in source:
        return _words(_package_folder(source["package"]) / source["member"])
    return _words(_downloaded(word_list, source["download"], folder))


def _own_file(path: str, lists: Mapping[str, Any]) -> Path:
    if Path(path).is_file():
        return Path(path)
    near = difflib.get_close_matches(path, lists, 1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else f"the named lists are {', '.join(lists)}"
    raise UserError(f"there is no word list {path}, neither of that name nor as a file ({hint})")


def _package_folder(package: str) -> Path:
    # Not imported: a list is a file, and the package's code takes a third of a second.
    found = importlib.util.find_spec(package)
    if found is None:
        raise UserError(
            f"the word list is part of the package {package}, which is not installed; install it with pip"
        )
    return Path(found.submodule_search_locations[0])


def _downloaded(word_list: str, name: str, folder: str | os.PathLike | None) -> Path:
    download = f"python tools/download.py {_MANIFEST} --output_dir=DIR"
    if folder is None:
        raise UserError(
            f"the word list {word_list} must be downloaded: run `{download}` and give DIR/{_MANIFEST} as folder"
        )
    path = Path(folder) / name
    if not path.is_file():
        raise UserError(
            f"the word list {word_list} is not at {path}; run `{download}` and give DIR/{_MANIFEST} as folder"
        )
    files = load_manifest(_MANIFEST)["downloads"]["word_lists"]["files"]
    expected = next(file["sha256"] for file in files if file["url"].endswith(f"/{name}"))
    if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
        raise UserError(
            f"{path} is not LLM-jp's word list: its sha256 is not {expected}; delete it and run `{download}`, "
            "or give the path as word_list to use it as your own"
        )
    return path


def _words(path: Path) -> tuple[str, ...]:
    data = path.read_bytes()
    try:
        # Editors on Windows write a mark at the front.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}, is not UTF-8; save the word list in that encoding"
        ) from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    words = tuple(word for line in lines if (word := line.strip()))
    if not words:
        raise UserError(f"the word list {path} has no words; write one a line")
    return words
