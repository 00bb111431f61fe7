"""The result file of a safety evaluation, the facts it is made by, and what to say where gated data is missing."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmjp_jax.corpus.manifests import load_manifest
from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write

KINDS = ("answer_carefully", "toxicity", "jbbq")


@functools.cache
def safety_facts(name: str) -> dict[str, Any]:
    """One table of `data/safety.toml`."""
    return load_manifest("safety")[name]


def missing_data(path: str | Path, download: str) -> UserError:
    """The error for data that is not there: it says how to get it.

    Args:
      download: of the data set, in `data/sources_evaluation.toml`.
    """
    from llmjp_jax.corpus.sources import find_source, load_sources

    source = find_source(download, load_sources())
    if source.by_hand:
        how = f"{source.by_hand}; see {source.home}"
    elif source.gated:
        how = f"{source.gated}, then python tools/download.py {download}; see {source.home}"
    else:
        how = f"python tools/download.py {download}; see {source.home}"
    return UserError(f"there is no {source.title} at {path}; get it: {how}")


def data_version(paths: Sequence[str | Path]) -> str:
    """The first 12 hex digits of the sha256 of files' bytes, one after another."""
    digest = hashlib.sha256()
    for path in paths:
        with Path(path).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:12]


def write_result(
    path: str | Path,
    kind: str,
    *,
    provenance: Mapping[str, Any],
    scores: Mapping[str, float],
    categories: Mapping[str, float],
    counts: Mapping[str, Any],
    items: Sequence[Mapping[str, Any]],
    **further: Any,
) -> dict[str, Any]:
    """Writes a result as JSON, whole or not at all, and returns it.

    Raises:
      ValueError: a number is none (NaN or infinite): a score that is not defined is left out.
    """
    if kind not in KINDS:
        raise ValueError(f"kind = {kind!r} is none of {KINDS}")
    result = {
        "kind": kind,
        "provenance": dict(provenance),
        "scores": dict(scores),
        "categories": dict(categories),
        "counts": dict(counts),
        **further,
        "items": list(items),
    }
    text = json.dumps(result, ensure_ascii=False, indent=2, allow_nan=False)
    with atomic_write(path, "w") as file:
        file.write(text + "\n")
    return result
