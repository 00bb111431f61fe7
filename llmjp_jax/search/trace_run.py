"""A run directory as a trace reads it: run.json alone, and how far the run came. No arrays, and no JAX.

What `checkpoints` knows of runs is more; importing it takes JAX, and seconds.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from llmjp_jax.errors import UserError
from llmjp_jax.inputs import TrainingInputs, reopened

_TAIL = 1 << 16  # bytes of metrics.jsonl in which the last whole line is looked for


def read_record(run_dir: Path) -> dict[str, Any]:
    """The contents of run.json, with the field `data` that says what the run was trained on.

    Raises:
      UserError: there is none, it is not JSON, or it is a converted model's or that of a run before that field.
    """
    path = run_dir / "run.json"
    if not path.is_file():
        raise UserError(
            f"{run_dir} is not a run directory: it has no run.json; give a run's MODEL_DIR"
        )
    try:
        record = json.loads(path.read_bytes())
    except (ValueError, OSError) as error:
        raise UserError(f"cannot read {path}: {error}; restore the file") from None
    if not isinstance(record, dict) or "model" not in record:
        raise UserError(f"{path} lacks the field 'model'; restore the file")
    if "identity" not in record:
        raise UserError(
            f"{run_dir} holds a converted model, of which no training is known; give the directory of a run"
        )
    if not isinstance(record.get("data"), dict):
        raise UserError(
            f"{path} does not say where the run's data lie: it was written by an earlier version; start the run's own command "
            "again, which adds that and leaves a finished run as it is"
        )
    return record


def open_recorded(
    record: dict[str, Any], run_dir: Path, cache_dir: str | os.PathLike | None
) -> TrainingInputs:
    """The inputs that the run was trained on, once they are known to be the same.

    Raises:
      UserError: a store is missing, or the stores are others than the run read.
    """
    data, where = record["data"], "the folder of its token stores"
    if cache_dir is not None and not Path(cache_dir).is_dir():
        raise UserError(f"there is no folder {cache_dir}, given as cache_dir; give {where}")
    try:
        inputs = reopened(data, run_dir, cache_dir)
    except UserError as error:
        raise UserError(
            f"the data of the run {run_dir} cannot be opened: {error}; if they have moved, give {where} as cache_dir"
        ) from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"{run_dir / 'run.json'} describes its data in an unknown way ({error!r}); use the version that wrote it"
        ) from None
    told = record.get("data_fingerprint")
    if inputs.fingerprint != told:
        read_from = data.get("cache_dir") if cache_dir is None else cache_dir
        raise UserError(
            f"the token stores in {read_from} are not those that the run {run_dir} was trained on (fingerprint "
            f"{inputs.fingerprint[:12]}, the run's is {str(told)[:12]}): {_difference(record, inputs)}; "
            f"give {where} as cache_dir"
        )
    return inputs


def steps_taken(run_dir: Path) -> int:
    """How many steps the run has made: those of its last checkpoint or of its last metrics, whichever is more."""
    folder = run_dir / "checkpoints"
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    saved = max((int(name) for name in names if name.isdigit()), default=0)
    return max(saved, _last_logged(run_dir / "metrics.jsonl"))


def _last_logged(path: Path) -> int:
    """The step of the last whole line, without reading those before it."""
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL))
        lines = file.read().split(b"\n")
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            continue  # cut short by a kill, or by where the tail begins
    return 0


def _difference(record: dict[str, Any], inputs: TrainingInputs) -> str:
    """The first thing that is not as the run had it."""
    told, found = record["identity"].get("data"), json.loads(json.dumps(inputs.identity))
    path: list[str] = []
    while isinstance(told, dict) and isinstance(found, dict):
        changed = next((k for k in {**told, **found} if told.get(k) != found.get(k)), None)
        if changed is None:
            break
        path.append(changed)
        told, found = told.get(changed), found.get(changed)
    return f"{'.'.join(path)} was {_short(told)} and is {_short(found)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:40]}..."
