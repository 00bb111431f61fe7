"""How XLA compiles a run: the options that it is given, and the folder that keeps its programs for the next start."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from llmjp_jax.errors import UserError
from llmjp_jax.parallel import replicated


def check_compiler_options(options: Mapping[str, Any], mesh: jax.sharding.Mesh) -> None:
    """Compiles next to nothing for the mesh with each option.

    Args:
      options: XLA's names (xla_...) and values: bool, int, float or str.

    Raises:
      UserError: XLA for this kind of device does not know a name, or cannot read its value.
    """
    number = jax.ShapeDtypeStruct((), jnp.float32, sharding=replicated(mesh))
    for name, value in options.items():
        if not isinstance(value, bool | int | float | str):
            raise UserError(
                f"compiler_options[{name!r}] = {value!r} must be True, False, a number or a text"
            )
        try:
            jax.jit(jnp.negative, compiler_options={name: value}).lower(number).compile()
        except jax.errors.JaxRuntimeError as error:
            if "INVALID_ARGUMENT" not in str(error):
                raise
            reason = str(error).removeprefix("INVALID_ARGUMENT: ").splitlines()[0].rstrip(".")
            raise UserError(
                f"compiler_options[{name!r}] = {value!r} is refused by XLA for "
                f"{mesh.devices.flat[0].platform}: {reason}; correct or remove it"
            ) from None


def keep_programs(folder: str | None, model_dir: str | os.PathLike) -> str | None:
    """Lets JAX keep compiled programs in a folder, and find them there at the next start; None: nowhere.

    What takes JAX less than a second to compile is not kept (its setting jax_persistent_cache_min_compile_time_secs).
    The programs are code that is run: the folder must be one that only trusted users can write to.

    Args:
      folder: 'auto' is $JAX_COMPILATION_CACHE_DIR, or else llmjp_jax/xla in the user's cache folder (~/.cache).
      model_dir: the run's; the folder must not lie in it.

    Returns:
      None, or why programs are not kept though they were to be.

    Raises:
      UserError: the folder is in `model_dir`.
    """
    if folder == "auto":
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        folder = jax.config.jax_compilation_cache_dir or f"{cache}/llmjp_jax/xla"
    trouble = None
    if folder is not None and "://" not in folder:  # else a bucket's, which JAX reads itself
        folder = os.path.realpath(os.path.expanduser(folder))  # noqa: PTH111
        if Path(folder).is_relative_to(Path(model_dir).resolve()):
            raise UserError(
                f"compilation_cache = {folder!r} lies in MODEL_DIR; give a folder outside, for all runs together"
            )
        trouble = _trouble(Path(folder))
        if trouble:
            folder = None
    if folder != jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", folder)
        reset_cache()  # what was compiled before has opened the other folder
    return trouble


def _trouble(folder: Path) -> str | None:
    """Why a folder cannot be written to, as a line for the user; None where it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return (
            f"compiled programs are not kept for the next start: cannot write to {folder} ({error.strerror}); "
            "train.compilation_cache or JAX_COMPILATION_CACHE_DIR names another folder"
        )
