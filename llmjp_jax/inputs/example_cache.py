"""Stores of one's own files, built once and found again by what they were built from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import llmjp_jax
from llmjp_jax.conversations import get_template
from llmjp_jax.errors import UserError
from llmjp_jax.files import sha256_file
from llmjp_jax.inputs.example_store import Files, build_examples, expand_files, kind_of
from llmjp_jax.inputs.store_writer import describe_source
from llmjp_jax.inputs.stored_arrays import locked
from llmjp_jax.inputs.token_store import TokenStore
from llmjp_jax.tokenizer import Vocabulary

_NAME = "examples"  # of the store in its folder


def cached_examples(
    files: Files,
    vocabulary: Vocabulary,
    template: str,
    *,
    kind: str | None = None,
    bos: bool = False,
    cache_dir: str | os.PathLike | None = None,
    num_threads: int | None = None,
) -> TokenStore:
    """`build_examples`, the first time; after that the store that was built.

    The store lies in a folder whose name is the hash of the files' contents, vocabulary, template and options. The
    folder takes its name by one rename when the store is whole. Several processes may ask at once: one builds and the
    others wait for it, if they share a file system with locks; if not, each builds the same.

    Args:
      cache_dir: the folder `examples` in it is used; None: that of the user, `$XDG_CACHE_HOME/llmjp_jax`
        or `~/.cache/llmjp_jax`.
      files, vocabulary, template, kind, bos, num_threads: see `build_examples`.

    Raises:
      UserError: as `build_examples`, or the folder cannot be written.
    """
    paths = expand_files(files)
    kind = kind or kind_of(paths)
    folder = _cache_folder(cache_dir) / _key(paths, vocabulary, template, kind, bos)
    store = _opened(folder)
    if store is not None:
        return store
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder) as alone:
            store = _opened(folder)
            if store is None:
                if alone:
                    for left in folder.parent.glob(f".{folder.name}.*.tmp"):
                        shutil.rmtree(left, ignore_errors=True)  # of a process that was killed
                temporary = Path(tempfile.mkdtemp(".tmp", f".{folder.name}.", folder.parent))
                try:
                    build_examples(
                        paths, vocabulary, template, temporary / _NAME,
                        kind=kind, bos=bos, num_threads=num_threads,
                    )  # fmt: skip
                    temporary.chmod(0o755)
                    store = _settled(temporary, folder)
                finally:
                    shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"cannot write {folder} ({error.strerror or error}), where the tokenised examples are kept; give another "
            "CACHE_DIR, or make room there"
        ) from error
    return store


def _settled(temporary: Path, folder: Path) -> TokenStore:
    """The store under its name; where there are no locks, another process may have put the same there before."""
    store = _opened(folder)
    if store is None:
        shutil.rmtree(folder, ignore_errors=True)  # one that was damaged
        try:
            temporary.rename(folder)
        except OSError:
            if _opened(folder) is None:
                raise
        store = TokenStore(folder / _NAME)
    return store


def _opened(folder: Path) -> TokenStore | None:
    """The store of a folder, if it is there and whole."""
    if not folder.is_dir():
        return None
    try:
        store = TokenStore(folder / _NAME)
        return store if store.manifest and store.mask is not None else None
    except UserError:
        return None


def _key(paths: list[str], vocabulary: Vocabulary, template: str, kind: str, bos: bool) -> str:
    identity = {
        "package_version": llmjp_jax.__version__,
        "vocabulary": vocabulary.fingerprint,
        "template": dataclasses.asdict(get_template(template)),
        "kind": kind,
        "bos": bos,
        "files": [
            [Path(path).suffix, describe_source(path)["bytes"], sha256_file(path)] for path in paths
        ],
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def _cache_folder(cache_dir: str | os.PathLike | None) -> Path:
    if cache_dir is not None:
        return Path(cache_dir).expanduser() / "examples"
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "llmjp_jax" / "examples"
