"""The folder of a sentence-embedding model, as files: whether it may be loaded, and by what it is known again. Loading is `embedding`.

A folder of sentence-transformers has a modules.json; a folder of transformers has a config.json and no modules.json. Weights are
read from safetensors alone, because a pickle can run code when it is opened; and no Python of the folder is run.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

from llmjp_jax.errors import UserError
from llmjp_jax.files import sha256_file

MODULES = "modules.json"
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
# What lies beside a model and is not read: other frameworks' weights, pages about it, what version control keeps.
_OTHER_FOLDERS = ("onnx", "openvino")
_OTHER_SUFFIXES = (*_PICKLES, ".h5", ".msgpack", ".ot", ".onnx", ".md", ".png", ".jpg", ".svg")


def check_model_folder(folder: Path) -> bool:
    """Whether the folder says how it makes one vector of a text (it is of sentence-transformers), or is a plain encoder.

    Raises:
      UserError: it is not there, is no model, wants code of its own, or has its weights in a pickle.
    """
    if not folder.is_dir():
        raise UserError(
            f"there is no folder {folder}; give that of a sentence-embedding model on this machine (nothing is downloaded)"
        )
    complete = (folder / MODULES).is_file()
    if not complete and not (folder / "config.json").is_file():
        raise UserError(
            f"{folder} is no sentence-embedding model: it has neither {MODULES} nor config.json; give the folder of one"
        )
    parts = [folder, *(folder / path for path in _module_paths(folder))] if complete else [folder]
    for part in dict.fromkeys(parts):
        _refuse_pickles(part)
    if not any(any(part.glob("*.safetensors")) for part in parts):
        raise UserError(f"{folder} has no weights in safetensors; save the model so")
    return complete


def fingerprint_model(folder: Path) -> str:
    """The sha256 of all files that make up a model, by their names and contents."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        if name.parts[0] in _OTHER_FOLDERS or any(part.startswith(".") for part in name.parts):
            continue
        if path.suffix.lower() in _OTHER_SUFFIXES:
            continue
        total.update(f"{name.as_posix()}\0{sha256_file(path)}\n".encode())
    return total.hexdigest()


def _module_paths(folder: Path) -> list[str]:
    """The folders of the modules, below that of the model."""
    try:
        modules: Any = json.loads((folder / MODULES).read_bytes())
        described = [(module["type"], module["path"]) for module in modules]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / MODULES} is no list of modules ({error!r}); save the model again") from None  # fmt: skip
    for kind, path in described:
        if not str(kind).startswith("sentence_transformers."):
            raise UserError(
                f"{folder / MODULES} names the class {kind!r}, which is code of its own, and no such code is run; give a model "
                "whose modules are all of sentence_transformers"
            )
        if PurePosixPath(str(path)).is_absolute() or ".." in PurePosixPath(str(path)).parts:
            raise UserError(f"{folder / MODULES} names {path!r}, which lies outside of the model")
    return [str(path) for _, path in described]


def _refuse_pickles(part: Path) -> None:
    pickled = sorted(path for path in part.glob("*") if path.suffix.lower() in _PICKLES)
    if pickled and not any(part.glob("*.safetensors")):
        raise UserError(
            f"{pickled[0]} may be a pickle, which can run code when it is opened; save the weights as safetensors"
        )
