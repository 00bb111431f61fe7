"""Putting Tasks and Mixtures into SeqIO's registry, and finding them there by name."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import seqio

from llmjp_jax.errors import UserError
from llmjp_jax.tasks.sources import JsonlSource
from llmjp_jax.tokenizer import Vocabulary

# A Task of a JsonlSource with exactly these can be tokenised in batches, without tf.data.
_TEXT_PREPROCESSORS = (seqio.preprocessors.tokenize, seqio.preprocessors.append_eos)

# SeqIO's registry is global and refuses a name twice; what we put in may be replaced by us, nothing else.
_OURS: set[str] = set()


def register_jsonl_task(
    name: str,
    files: Mapping[str, str | os.PathLike | Sequence[str | os.PathLike]],
    vocabulary: Vocabulary,
) -> seqio.Task:
    """Registers a Task of documents as JSON lines, each ended by the vocabulary's end-of-document token.

    Registering a name again replaces it, so that a notebook's cell can run twice.

    Args:
      name: letters, digits, `_`, `.`, `:`.
      files: for each split (`train`, `validation`), one JSONL file or several.
      vocabulary: from `load_vocabulary`.

    Raises:
      UserError: the name belongs to a Task or Mixture registered elsewhere, or SeqIO refuses it.
    """
    return add_task(
        name,
        source=JsonlSource(files),
        preprocessors=list(_TEXT_PREPROCESSORS),
        output_features={"targets": seqio.Feature(vocabulary=vocabulary, add_eos=True)},
    )


def add_task(name: str, **fields) -> seqio.Task:
    """Puts a Task of ours into SeqIO's registry, in place of one of ours that has the name.

    Raises:
      UserError: the name belongs to a Task or Mixture registered elsewhere, or SeqIO refuses it.
    """
    _make_room(name)
    try:
        task = seqio.TaskRegistry.add(name, **{"metric_fns": [], **fields})
    except ValueError as error:
        raise UserError(f"SeqIO cannot register Task {name}: {error}; change the name") from error
    _OURS.add(name)
    return task


def register_mixture(name: str, weights: Mapping[str, int]) -> seqio.Mixture:
    """Registers a Mixture of registered Tasks.

    SeqIO itself draws examples at these rates. Token stores are mixed by windows of equal length, so there the same
    numbers are shares of the tokens.
    """
    _make_room(name)
    try:
        mixture = seqio.MixtureRegistry.add(name, list(weights.items()))
    except ValueError as error:
        raise UserError(f"SeqIO cannot register Mixture {name}: {error}") from error
    _OURS.add(name)
    return mixture


def get_task_or_mixture(name: str, module: str | None = None) -> seqio.Task | seqio.Mixture:
    """A registered Task or Mixture.

    Args:
      name: its name.
      module: a module to import first, because it registers Tasks; it may lie in the working directory.

    Raises:
      UserError: there is no such module, or nothing has the name.
    """
    if module is not None:
        _import(module)
    for registry in (seqio.MixtureRegistry, seqio.TaskRegistry):
        if name in registry.names():
            return registry.get(name)
    known = sorted([*seqio.MixtureRegistry.names(), *seqio.TaskRegistry.names()])
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(known) or 'none'}"
    raise UserError(
        f"no Task or Mixture is named {name} ({hint}); name the module that registers it with --module"
    )


def plain_text_source(task: seqio.Task) -> JsonlSource | None:
    """The Task's source, if the Task is JSONL text as it stands, tokenised and ended: nothing that needs tf.data."""
    plain = tuple(task.preprocessors) == _TEXT_PREPROCESSORS
    plain = plain and type(task.source) is JsonlSource and task.output_features["targets"].add_eos
    return task.source if plain else None


def _import(module: str) -> None:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        # An import inside the module that fails is that module's own matter, and keeps its traceback.
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise UserError(
            f"there is no module {module}; run from the folder that holds it, or correct --module"
        ) from None


def _make_room(name: str) -> None:
    for registry in (seqio.TaskRegistry, seqio.MixtureRegistry):
        if name not in registry.names():
            continue
        if name not in _OURS:
            raise UserError(
                f"other code has registered the name {name} with SeqIO; choose another name"
            )
        registry.remove(name)
