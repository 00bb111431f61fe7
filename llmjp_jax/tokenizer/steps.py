"""Steps of a long procedure, each with one file for a result: what is finished, from the same inputs, is not done again."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llmjp_jax.files import atomic_write, sha256_file

FORMAT = 3  # raise it when the same files and settings come to give another model


class Steps:
    """The results of steps in one folder, `NAME` and beside it `NAME.json`, the record of what made it.

    What another `FORMAT` has made counts as not done.

    Args:
      folder: made when it is not there.
      log: told in a line what is done and what was found finished.
    """

    def __init__(self, folder: Path, log: Callable[[str], None]):
        self.folder = folder
        self._log = log

    def run(
        self,
        name: str,
        make: Callable[[Path], Any],
        *,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str] | None = None,
    ) -> tuple[Path, str]:
        """The step's file and its sha256; `make(path)` writes it, whole or not at all, unless it is there already.

        Args:
          settings: everything besides the inputs that the result depends on, as JSON.
          inputs: name -> sha256 of what is read.
        """
        path, record_path = self.folder / name, self.folder / f"{name}.json"
        remove_leftovers(path)
        wanted = _digest(
            {"format": FORMAT, "settings": dict(settings), "inputs": dict(inputs or {})}
        )
        found = _read(record_path)
        if found.get("fingerprint") == wanted and path.is_file():
            sha256 = sha256_file(path)
            if found.get("sha256") == sha256:
                self._log(f"{name}: finished before")
                return path, sha256
        self._log(f"{name} ...")
        make(path)
        sha256 = sha256_file(path)
        with atomic_write(record_path, "w") as file:
            json.dump({"fingerprint": wanted, "sha256": sha256, "settings": dict(settings)}, file)
        return path, sha256


def remove_leftovers(path: Path) -> None:
    """Removes what `atomic_write` left of `path` where its process was killed: `.NAME.PID.tmp`."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        leftover.unlink(missing_ok=True)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # no JSON, or no UTF-8
        return {}
    return record if isinstance(record, dict) else {}
