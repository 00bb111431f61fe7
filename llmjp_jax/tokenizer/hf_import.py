"""What a Hugging Face tokenizer.json and the files beside it say: special ids, chat template, LLM-jp's Unigram as SentencePiece."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llmjp_jax.errors import UserError
from llmjp_jax.tokenizer.layout import SPACE
from llmjp_jax.tokenizer.model_proto import add_piece, set_llmjp_rules

MARK = "|LLM-jp>"  # LLM-jp's converter writes `<EOD>` as `<EOD|LLM-jp>`, a name that no ordinary text has

# The normaliser of LLM-jp's converter: a space before the text, then every space as `▁`.
LLMJP_NORMALIZER = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Replace", "pattern": {"Regex": r"(?<!\n)^"}, "content": SPACE},
        {"type": "Replace", "pattern": {"Regex": " "}, "content": SPACE},
    ],
}

_USUAL_NAMES = {
    "pad": ("<pad>", "<PAD|LLM-jp>", "[PAD]"),
    "bos": ("<s>", "<|begin_of_text|>", "<|endoftext|>", "<bos>"),
    "eos": ("</s>", "<|end_of_text|>", "<|endoftext|>", "<eos>"),
    "unk": ("<unk>", "[UNK]"),
}


def read_tokenizer_json(file: Path) -> dict[str, Any]:
    """The parsed file.

    Raises:
      UserError: it is not JSON, or not a tokenizer.
    """
    document = _read_json(file)
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise UserError(f"{file} has no field 'model'; give a tokenizer.json of Hugging Face")
    return document


def sentencepiece_of(document: dict[str, Any]) -> Any | None:
    """The SentencePiece model that a tokenizer.json of LLM-jp's converter was made from; None for any other tokenizer.

    SentencePiece keeps byte pieces out of the text and breaks ties as the .model does; the `tokenizers` library does
    neither, and is several times slower.
    """
    model = document["model"]
    vocab = model.get("vocab")
    added = document.get("added_tokens") or []
    llmjp = (
        model.get("type") == "Unigram"
        and model.get("byte_fallback") is True
        and document.get("normalizer") == LLMJP_NORMALIZER
        and document.get("pre_tokenizer") is None
        and isinstance(vocab, list)
        and all(token["special"] and token["id"] < len(vocab) for token in added)
    )
    if not llmjp:
        return None
    from sentencepiece import sentencepiece_model_pb2

    special, unknown = {token["id"] for token in added}, model.get("unk_id")
    proto = sentencepiece_model_pb2.ModelProto()
    for id, (piece, score) in enumerate(vocab):
        if id in special or id == unknown:
            piece = plain_name(piece)
        add_piece(proto, piece, score, unknown=id == unknown, control=id in special)
    set_llmjp_rules(proto)
    return proto


def plain_name(piece: str) -> str:
    """`<EOD|LLM-jp>` as the .model has it: `<EOD>`."""
    return piece.removesuffix(MARK) + ">" if piece.endswith(MARK) else piece


def special_ids_beside(file: Path, document: dict[str, Any]) -> dict[str, int]:
    """Ids by role (pad, bos, eos, unk) from tokenizer_config.json, then special_tokens_map.json, then by usual names."""
    ids = _ids_by_name(document)
    found: dict[str, int] = {}
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        beside = file.with_name(name)
        config = _read_json(beside) if beside.is_file() else {}
        if not isinstance(config, dict):
            raise UserError(f"{beside} is not a JSON object; copy it again, or remove it")
        for role in _USUAL_NAMES:
            token = config.get(f"{role}_token")
            token = token.get("content") if isinstance(token, dict) else token
            if token is None or role in found:
                continue
            if token not in ids:
                raise UserError(
                    f"{beside} names {role}_token {token!r}, which {file.name} does not have; correct one of them"
                )
            found[role] = ids[token]
    if not found and sentencepiece_of(document) is None:
        for role, names in _USUAL_NAMES.items():
            known = [ids[name] for name in names if name in ids]
            if known:
                found[role] = known[0]
    return found


def read_chat_template(directory: Path) -> str | None:
    """The chat template of a model's folder, where transformers looks for it: a file of its own, else tokenizer_config.json.

    Raises:
      UserError: tokenizer_config.json is damaged.
    """
    own, config = directory / "chat_template.jinja", directory / "tokenizer_config.json"
    if own.is_file():
        return own.read_text(encoding="utf-8")
    content = _read_json(config) if config.is_file() else {}
    if not isinstance(content, dict):
        raise UserError(f"{config} is not a JSON object; copy it again, or remove it")
    found = content.get("chat_template")
    if isinstance(found, list):  # several, by name
        named = [each for each in found if isinstance(each, dict) and each.get("name") == "default"]
        found = named[0].get("template") if named else None
    return found if isinstance(found, str) else None


def _ids_by_name(document: dict[str, Any]) -> dict[str, int]:
    vocab = document["model"].get("vocab", {})
    ids = (
        {piece: id for id, (piece, _) in enumerate(vocab)}
        if isinstance(vocab, list)
        else dict(vocab)
    )
    ids.update({token["content"]: token["id"] for token in document.get("added_tokens") or ()})
    return ids


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not JSON ({error}); copy it again") from None
