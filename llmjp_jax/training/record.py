"""What a run was: run.json, the operative gin and the tokenizer beside the checkpoints; and whether it may go on."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

import llmjp_jax
from llmjp_jax.checkpoints import read_run, saved_steps
from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write, git_commit
from llmjp_jax.inputs import Examples, ExamplesConfig, Inputs, Stages
from llmjp_jax.models import parameter_count, train_flops_per_token
from llmjp_jax.parallel import MeshConfig, Topology
from llmjp_jax.tokenizer import Vocabulary, save_tokenizer
from llmjp_jax.training.start import Origin
from llmjp_jax.training.trainer import Trainer

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def run_record(trainer: Trainer, inputs: Inputs | Stages | Examples, vocabulary: Vocabulary, total_steps: int,
               origin: Origin, examples: ExamplesConfig | None, data: Mapping[str, Any]) -> dict[str, Any]:  # fmt: skip
    """Everything that run.json says about a run, with `identity`: what a continuation must agree in.

    `data` is what `inputs.recorded_inputs` says: where the data lie, and so no part of the identity.
    """
    model, length = trainer.model, trainer.sequence_length
    return {
        "llmjp_jax": llmjp_jax.__version__,
        "git_commit": git_commit(),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "model": dataclasses.asdict(model),
        "parameters": parameter_count(model),
        "flops_per_token": {
            "causal": train_flops_per_token(model, length, causal=True),
            "full": train_flops_per_token(model, length, causal=False),
        },
        "mesh": dict(trainer.mesh.shape),
        "devices": {
            "kind": trainer.mesh.devices.flat[0].device_kind,
            "count": trainer.mesh.size,
            "processes": jax.process_count(),
        },
        "accumulation": trainer.accumulation,
        "compiler_options": dict(trainer.compiler_options or {}),
        "total_steps": total_steps,
        "total_tokens": total_steps * trainer.batch_size * length,
        "vocabulary": str(vocabulary.path),
        "data": data,
        "data_fingerprint": inputs.fingerprint,
        "base": None if model.lora is None else origin.under,
        "template": examples and (examples.template or _template_of(inputs)),
        "identity": {
            "model": model.identity(),
            "optimizer": dataclasses.asdict(trainer.optimizer),
            "data": inputs.identity,
            "vocabulary": vocabulary.fingerprint,
            "seed": trainer.seed,
            "z_loss": trainer.z_loss,
            "router_loss": trainer.router_loss or None,
            "dtype": model.dtype,
            "initial_checkpoint_path": origin.path,
            "initial_checkpoint_step": origin.step,
            "objective": None
            if trainer.objective is None
            else dataclasses.asdict(trainer.objective),
        },
    }


def _template_of(inputs: Examples) -> str | None:
    """The template of stores that were built before; None where they differ."""
    names = {(source.store.manifest or {}).get("template") for source in inputs.sources}
    return names.pop() if len(names) == 1 else None


def write_record(
    model_dir: Path, record: dict, vocabulary: Vocabulary, operative_config: str | None
) -> None:
    """Writes run.json, operative.gin and the tokenizer's file; only the first process does.

    Raises:
      OSError: the folder is read-only or full.
    """
    if jax.process_index() != 0:
        return
    # First of all: a folder without it is taken for somebody else's.
    with atomic_write(model_dir / "run.json", "w") as file:
        json.dump(record, file, indent=1, ensure_ascii=False)
    save_tokenizer(vocabulary, model_dir)
    if operative_config is not None:
        with atomic_write(model_dir / "operative.gin", "w") as file:
            file.write(operative_config)


def check_continuation(model_dir: Path, record: dict) -> int:
    """The step to go on from: that of the newest checkpoint, or 0 for a new run.

    Raises:
      UserError: the folder holds something else, a run whose model, data or optimizer were others (with the fields
        that differ, and their old and new values), or one that has taken more steps than are asked for.
    """
    if not (model_dir / "run.json").exists():
        others = [path.name for path in model_dir.glob("[!.]*")] if model_dir.is_dir() else []
        if others:
            raise UserError(
                f"{model_dir} holds other files ({others[0]}) and no run; give a new or empty MODEL_DIR"
            )
        return 0
    old = read_run(model_dir).get("identity")
    if old is None:
        raise UserError(
            f"{model_dir} holds a converted model, which has no optimizer state to go on with; "
            "give a new MODEL_DIR, and this one as INITIAL_CHECKPOINT_PATH"
        )
    # Through JSON, so that tuples and lists, and the like, compare equal.
    changes = _differences(old, json.loads(json.dumps(record["identity"])))
    if changes:
        raise UserError(
            f"{model_dir} holds a run with another configuration: {'; '.join(changes)}; "
            "give a new MODEL_DIR, or undo the change to continue"
        )
    begun = max(saved_steps(model_dir), default=0)
    if begun > record["total_steps"]:
        raise UserError(
            f"{model_dir} is already at step {begun}, beyond total_steps = {record['total_steps']}; "
            "raise TRAIN_STEPS or give a new MODEL_DIR"
        )
    return begun


def headline(record: dict, mesh: MeshConfig, begun: int) -> str:
    """What a run says first; with a second line where the machine is not the one that its mesh was made for."""
    kind, count = record["devices"]["kind"], record["devices"]["count"]
    line = (
        f"{record['parameters']:,} parameters on {count} x {kind}, mesh {record['mesh']}; "
        f"steps {begun} to {record['total_steps']}"
    )
    made_for = Topology(mesh.topology).device_kind if mesh.topology else mesh.device_kind
    if made_for in (None, kind):
        return line
    return f"{line}\nthe configuration was made for {mesh.topology or made_for}, this is {kind}"


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        changes = []
        for key in sorted(set(old) | set(new)):
            inner = f"{path}.{key}" if path else key
            changes += _differences(old.get(key), new.get(key), inner)
        return changes
    return [] if old == new else [f"{path} was {old!r} and is {new!r}"]
