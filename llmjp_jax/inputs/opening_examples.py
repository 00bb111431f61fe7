"""From a Task, a Mixture or one's own JSON lines to `Examples`: finds or builds the stores and checks that they fit."""

from __future__ import annotations

import os
from pathlib import Path

from llmjp_jax.errors import UserError
from llmjp_jax.inputs.example_cache import cached_examples
from llmjp_jax.inputs.example_config import ExamplesConfig
from llmjp_jax.inputs.examples import Examples
from llmjp_jax.inputs.opening import Names, open_stores, read_weights
from llmjp_jax.inputs.sources import Source
from llmjp_jax.inputs.token_store import TokenStore
from llmjp_jax.tokenizer import Vocabulary


def open_examples(
    config: ExamplesConfig,
    cache_dir: str | os.PathLike | None,
    mixture_or_task_name: Names | None,
    split: str = "train",
    *,
    sequence_length: int,
    batch_size: int,
    vocabulary: Vocabulary,
    seed: int = 0,
) -> Examples:
    """The `Examples` of a Task or Mixture that `tools/cache_tasks.py` built, or of one's own files.

    A mixture's weights are repetitions: whole numbers, such as 1 and 16.

    Args:
      config: with `train_files`, these alone are read; they are tokenised the first time.
      cache_dir: the folder of the stores; None, with one's own files: that of the user.
      mixture_or_task_name: a name that was built there; None with one's own files.
      split: of the Task or Mixture.
      sequence_length, batch_size, seed: see `Examples`.
      vocabulary: the model's.

    Raises:
      UserError: both or neither of name and files are given; a store is missing or damaged, or was built with another
        vocabulary or template; a file has a bad record.
    """
    if config.train_files:
        if mixture_or_task_name is not None:
            raise UserError(
                f"both mixture_or_task_name = {mixture_or_task_name!r} and ExamplesConfig.train_files = "
                f"{config.train_files!r} are given; give one of them, the other None"
            )
        sources = (_own_files(config, config.train_files, cache_dir, vocabulary),)
    else:
        stores = _task_stores(config, cache_dir, mixture_or_task_name, split, vocabulary)
        weights = read_weights(cache_dir, mixture_or_task_name)
        sources = tuple(Source(task, weights[task], store) for task, store in stores.items())
    return Examples(
        sources=sources,
        sequence_length=sequence_length,
        batch_size=batch_size,
        seed=seed,
        config=config,
    )


def open_validation_examples(
    config: ExamplesConfig,
    cache_dir: str | os.PathLike | None,
    mixture_or_task_name: Names | None,
    *,
    sequence_length: int,
    batch_size: int,
    vocabulary: Vocabulary,
    seed: int = 0,
) -> dict[str, Examples]:
    """The validation examples by Task, each once; those of one's own files under the file's name. Raises as `open_examples`.

    `config.validation_files` take the place of the Tasks' validation splits. Without either there are none.
    """
    if config.validation_files:
        sources = [_own_files(config, config.validation_files, cache_dir, vocabulary)]
    elif config.train_files:
        sources = []
    else:
        stores = _task_stores(
            config, cache_dir, mixture_or_task_name, "validation", vocabulary, required=False
        )
        sources = [Source(task, 1, store) for task, store in stores.items()]
    return {
        source.name: Examples(
            sources=(source,),
            sequence_length=sequence_length,
            batch_size=batch_size,
            seed=seed,
            config=config,
        )
        for source in sources
    }


def _own_files(config: ExamplesConfig, files, cache_dir, vocabulary: Vocabulary) -> Source:
    store = cached_examples(files, vocabulary, config.template, bos=config.bos, cache_dir=cache_dir)
    first = store.manifest["sources"][0]["path"]
    return Source(Path(first).name.split(".")[0] or "examples", 1, store)


def _task_stores(
    config: ExamplesConfig,
    cache_dir,
    name: Names | None,
    split: str,
    vocabulary: Vocabulary,
    required: bool = True,
) -> dict[str, TokenStore]:
    """The stores of a Task or Mixture, of the config's template."""
    if name is None or cache_dir is None:
        raise UserError(
            f"mixture_or_task_name = {name!r} in cache_dir = {cache_dir!r} and ExamplesConfig.train_files = None name no "
            "examples: give TRAIN_FILE, or MIXTURE_OR_TASK_NAME and CACHE_DIR"
        )
    if not isinstance(name, str):
        raise UserError(
            f"mixture_or_task_name = {name!r} are stages, which examples do not have; give one Task or Mixture"
        )
    stores = open_stores(cache_dir, name, split, vocabulary.fingerprint, required)
    for task, store in stores.items():
        built_with = (store.manifest or {}).get("template")
        if built_with and config.template and built_with != config.template:
            raise UserError(
                f"the store {store.prefix} of {task} was built with template {built_with!r}, and the run's is "
                f"{config.template!r}; set TEMPLATE to that, or build it again with tools/cache_tasks.py --overwrite"
            )
    return stores
