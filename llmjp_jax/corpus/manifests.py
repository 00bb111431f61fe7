"""Manifests: the TOML files under `data/` that say where a corpus comes from, what it must hash to, and its licence."""

from __future__ import annotations

import tomllib
from typing import Any

from llmjp_jax.errors import UserError
from llmjp_jax.files import repository_root


def load_manifest(name: str) -> dict[str, Any]:
    """The manifest `data/<name>.toml`.

    Raises:
      UserError: there is none of this name, or it is not TOML.
    """
    folder = repository_root() / "data"
    path = folder / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(manifest_names()) or "none"
        raise UserError(f"there is no manifest {path}; the known ones are: {known}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not TOML: {error}") from None


def manifest_names() -> list[str]:
    """The names of all manifests, sorted."""
    return sorted(path.stem for path in (repository_root() / "data").glob("*.toml"))
