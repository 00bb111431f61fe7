"""A build in a process of its own, to be killed. No test is in here: the process must not need pytest."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

# One clean process imports TensorFlow once and is forked for each build. Forking the tests' own process would now and
# then hang: a child that is killed takes the locks it holds with it.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["tests.inputs.killed_build", "llmjp_jax.inputs.build", "llmjp_jax.tasks"]
)


def start_build(
    cache_dir: Path,
    files: list[Path],
    vocabulary: Path,
    *,
    kill_at_rename: int = 0,
    batch_bytes: int = 1000,
    overwrite: bool = False,
) -> multiprocessing.Process:
    """Starts to build the training split of Task `ja`, with progress saved after each batch; returns as work begins."""
    begun = _CONTEXT.Event()
    arguments = (begun, cache_dir, files, vocabulary, kill_at_rename, batch_bytes, overwrite)
    process = _CONTEXT.Process(target=_build, args=arguments)
    process.start()
    assert begun.wait(timeout=300), "the process did not start"
    return process


def _build(begun, cache_dir, files, vocabulary, kill_at_rename, batch_bytes, overwrite) -> None:
    from llmjp_jax import tasks
    from llmjp_jax.inputs import build, tokenizing
    from llmjp_jax.tokenizer import load_vocabulary

    tokenizing._BATCH_BYTES, build._SAVE_EVERY = batch_bytes, 0.0
    tasks.register_jsonl_task("ja", {"train": files}, load_vocabulary(vocabulary))
    if kill_at_rename:
        _kill_at_rename(kill_at_rename)
    begun.set()
    build.cache_task("ja", cache_dir, ["train"], num_threads=1, overwrite=overwrite)


def _kill_at_rename(nth: int) -> None:
    """Kills this process just before its nth rename."""
    count = 0

    def killing(original):
        def rename(*arguments):
            nonlocal count
            count += 1
            if count == nth:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments)

        return rename

    os.replace = killing(os.replace)  # Path.replace calls it too
