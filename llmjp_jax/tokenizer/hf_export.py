"""Writes a `Vocabulary` as the files that `transformers.AutoTokenizer` loads, without code from a third party.

Follows LLM-jp's own converter (github.com/llm-jp/llm-jp-tokenizer, hf/convert_llmjp_unigram_spm_to_hf_fast.py and the
tokenizer_config.json files beside its results): special tokens get names that no text has (`<EOD|LLM-jp>`), v2.x appends
`<EOD>` to what it encodes, v3.x puts `<s>` before it.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write
from llmjp_jax.tokenizer.backends import SentencePieceBackend
from llmjp_jax.tokenizer.hf_import import LLMJP_NORMALIZER, MARK
from llmjp_jax.tokenizer.layout import SPACE, SPECIALS_V2, SPECIALS_V3
from llmjp_jax.tokenizer.vocabulary import Vocabulary

# What a Hugging Face tokenizer may consist of; copied when the vocabulary came from one.
HF_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
)


def save_hf_tokenizer(
    vocabulary: Vocabulary,
    directory: str | os.PathLike,
    *,
    model_max_length: int | None = None,
    chat_template: str | None = None,
) -> None:
    """Writes tokenizer.json, tokenizer_config.json, special_tokens_map.json and tokenizer.model into `directory`.

    A vocabulary that was read from a tokenizer.json is copied as it was, with its companions; so only a .model in
    LLM-jp's v2.x or v3.x layout is converted. The loaded tokenizer gives the vocabulary's own ids, with 7 after (v2.x)
    or 1 before them (v3.x) unless `add_special_tokens=False`; only ties and special tokens' names in the text differ.

    Args:
      model_max_length: the longest text in tokens that the tokenizer of a converted .model warns beyond.
      chat_template: Jinja text for `apply_chat_template`, in place of any that is copied.

    Raises:
      UserError: the model has another layout than LLM-jp's, for which transformers has a converter of its own.
    """
    source, directory = Path(vocabulary.path), Path(directory)
    if not source.is_file():
        raise UserError(
            f"the vocabulary's file {source} is gone; put it back to save the tokenizer"
        )
    names = _special_names(vocabulary)
    if source.suffix == ".json":
        for name in HF_FILES:
            beside = source if name == "tokenizer.json" else source.with_name(name)
            if beside.is_file():
                _copy(beside, directory / name)
    elif names is None:
        raise UserError(
            f"{source} has not LLM-jp's layout (ids 0-7 {' '.join(SPECIALS_V2)}), so it is not converted to a "
            "tokenizer.json; make one with transformers and load the vocabulary from that"
        )
    else:
        _write_json(directory / "tokenizer.json", tokenizer_json(vocabulary))
        _copy(source, directory / "tokenizer.model")
    has_roles = source.suffix == ".json" and source.with_name("tokenizer_config.json").is_file()
    if names is not None and not has_roles:
        _write_roles(directory, names, model_max_length)
    if chat_template is not None:
        _write_chat_template(directory, chat_template)


def save_tokenizer(vocabulary: Vocabulary, directory: str | os.PathLike) -> None:
    """Writes what `load_vocabulary` reads back as the same vocabulary: tokenizer.model, or tokenizer.json and its companions."""
    path = Path(vocabulary.path)
    if path.suffix == ".model":
        _copy(path, Path(directory) / "tokenizer.model")
    else:
        save_hf_tokenizer(vocabulary, directory)


def tokenizer_json(vocabulary: Vocabulary) -> dict[str, Any]:
    """The content of tokenizer.json for a vocabulary in LLM-jp's v2.x or v3.x layout."""
    names = _special_names(vocabulary)
    if names is None:
        raise UserError(f"{vocabulary.path} has not LLM-jp's layout of ids 0-7")
    pieces = [*names, *vocabulary.pieces[len(names) :]]
    if names[4] == "<pad|LLM-jp>":  # v2.x: document, <EOD>
        added, before, after = "<EOD|LLM-jp>", False, True
    else:
        added, before, after = "<s>", True, False
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(id, name) for id, name in enumerate(names)],
        "normalizer": LLMJP_NORMALIZER,
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": _template("A", 0, added, before, after),
            "pair": _template("A", 0, added, before, after)
            + _template("B", 1, added, before, after),
            "special_tokens": {
                added: {"id": added, "ids": [pieces.index(added)], "tokens": [added]}
            },
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "ByteFallback"},
                {"type": "Replace", "pattern": {"Regex": SPACE}, "content": " "},
                {"type": "Fuse"},
                {"type": "Replace", "pattern": {"Regex": r"(?<!\n)^ "}, "content": ""},
            ],
        },
        "model": {
            "type": "Unigram",
            "unk_id": 0,
            "vocab": [list(row) for row in zip(pieces, vocabulary.backend.scores, strict=True)],
            "byte_fallback": True,
        },
    }


def _special_names(vocabulary: Vocabulary) -> list[str] | None:
    """Hugging Face names of ids 0-7; v3.x keeps `<unk> <s> </s>` bare. None when the layout is not LLM-jp's."""
    if not isinstance(vocabulary.backend, SentencePieceBackend):
        return None
    first = tuple(vocabulary.pieces[: len(SPECIALS_V2)])
    if first not in (SPECIALS_V2, SPECIALS_V3):
        return None
    bare = 0 if first == SPECIALS_V2 else 3
    return [name if id < bare else name[:-1] + MARK for id, name in enumerate(first)]


def _write_roles(directory: Path, names: list[str], model_max_length: int | None) -> None:
    """Writes tokenizer_config.json and special_tokens_map.json: which of the eight special tokens plays which role."""
    unk, bos, end, mask, pad, cls, sep, eod = names
    v2 = pad == "<pad|LLM-jp>"
    roles = {
        "unk_token": unk,
        "bos_token": bos,
        "eos_token": eod if v2 else end,
        "pad_token": pad,
        "cls_token": cls,
        "sep_token": sep,
        "mask_token": mask,
        "eod_token": eod if v2 else end,
        # The one of the eight that no role above names; it must be skipped in decoding all the same.
        "additional_special_tokens": [end if v2 else eod],
    }
    config = {
        **roles,
        "clean_up_tokenization_spaces": False,
        "model_max_length": model_max_length or int(1e30),  # transformers' own sign for no limit
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    if not v2:
        config |= {"add_bos_token": True, "add_eos_token": False}
    _write_json(directory / "special_tokens_map.json", roles)
    _write_json(directory / "tokenizer_config.json", config)


def _write_chat_template(directory: Path, chat_template: str) -> None:
    """Into tokenizer_config.json, where transformers of any age looks; newer ones would prefer a file of its own."""
    path = directory / "tokenizer_config.json"
    config = {"tokenizer_class": "PreTrainedTokenizerFast"}
    if path.is_file():
        config = json.loads(path.read_text(encoding="utf-8"))
    _write_json(path, {**config, "chat_template": chat_template})
    (directory / "chat_template.jinja").unlink(missing_ok=True)


def _added_token(id: int, name: str) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": id, "content": name, **flags, "special": True}


def _template(sequence: str, type_id: int, added: str, before: bool, after: bool) -> list[dict]:
    special = [{"SpecialToken": {"id": added, "type_id": type_id}}]
    text = [{"Sequence": {"id": sequence, "type_id": type_id}}]
    return special * before + text + special * after


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_write(path, "w") as file:
        json.dump(content, file, ensure_ascii=False, indent=2)
        file.write("\n")


def _copy(source: Path, target: Path) -> None:
    if target.exists() and source.samefile(target):
        return
    with atomic_write(target) as file, source.open("rb") as original:
        shutil.copyfileobj(original, file)
