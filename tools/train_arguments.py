"""The arguments of `train` for programs that look at a run without starting it: its step, but not its data or folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.errors import UserError  # noqa: E402
from llmjp_jax.launch import parse_flags, read_arguments  # noqa: E402

# What a step does not depend on, with its macros.
_UNNEEDED = {
    "model_dir": "MODEL_DIR",
    "vocabulary": "VOCABULARY",
    "cache_dir": "CACHE_DIR",
    "mixture_or_task_name": "MIXTURE_OR_TASK_NAME",
    "initial_checkpoint_path": "INITIAL_CHECKPOINT_PATH",
}


def train_arguments(flags: list[str]) -> dict[str, Any]:
    """The keyword arguments that gin flags give to `llmjp_jax.training.train`; the places of its data may be missing.

    Raises:
      UserError: a mistake in the flags or files.
    """
    parsed = parse_flags(flags, "", "gin_configs/quickstart.gin", None)
    for flag in ("coordinator_address", "hosts"):
        if getattr(parsed, flag) is not None:
            raise UserError(f"--{flag}: this runs in one process; leave it out")
    return read_arguments("llmjp_jax.training.train", parsed, _UNNEEDED).build()
