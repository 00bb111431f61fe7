"""JSON lines of conversations and pairs, and a build of them in a process of its own, to be killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
from pathlib import Path

from tests.inputs.small_corpora import SENTENCES

# Forked from a clean process: a child that is killed takes with it the locks it holds, not those of the tests.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.inputs.example_files", "llmjp_jax.inputs"])


def conversations(count: int, seed: int = 0) -> list[dict]:
    choose = random.Random(seed)

    def said() -> str:
        return "".join(choose.choices(SENTENCES, k=choose.randint(1, 5)))

    made = []
    for number in range(count):
        if number % 3 == 0:
            made.append({"instruction": said(), "input": said(), "output": said()})
        elif number % 3 == 1:
            roles = ("human", "gpt") * choose.randint(1, 3)
            made.append({"conversations": [{"from": role, "value": said()} for role in roles]})
        else:
            made.append({"messages": [{"role": "user", "content": said()}, {"role": "assistant", "content": said()}]})  # fmt: skip
    return made


def preferences(count: int, seed: int = 0) -> list[dict]:
    choose = random.Random(seed)
    return [
        {"prompt": f"{n}", "chosen": choose.choice(SENTENCES), "rejected": choose.choice(SENTENCES)}
        for n in range(count)
    ]


def write_lines(path: Path, records) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), "utf-8")
    return path


def start_cached_build(files, vocabulary: Path, cache_dir: Path, *, wait=None, kill_at_rename=0):
    """Starts `cached_examples`; returns (process, queue of its result). `wait`: a barrier passed just before.

    With `kill_at_rename`, the process kills itself just before its nth rename of a file or folder.
    """
    results = _CONTEXT.Queue()
    arguments = (files, vocabulary, cache_dir, wait, kill_at_rename, results)
    process = _CONTEXT.Process(target=_build, args=arguments)
    process.start()
    return process, results


def barrier(parties: int):
    return _CONTEXT.Barrier(parties)


def _build(files, vocabulary, cache_dir, wait, kill_at_rename, results) -> None:
    from llmjp_jax.inputs import cached_examples, example_cache
    from llmjp_jax.tokenizer import load_vocabulary

    built = []
    original = example_cache.build_examples

    def counted(*arguments, **options):
        built.append(1)
        return original(*arguments, **options)

    example_cache.build_examples = counted
    vocabulary = load_vocabulary(vocabulary)
    if kill_at_rename:
        _kill_at_rename(kill_at_rename)
    if wait is not None:
        wait.wait(timeout=120)
    store = cached_examples(files, vocabulary, "v1.1", cache_dir=cache_dir, num_threads=1)
    results.put((len(built), str(store.prefix), store.fingerprint, len(store)))


def _kill_at_rename(nth: int) -> None:
    count = 0

    def killing(original):
        def rename(*arguments):
            nonlocal count
            count += 1
            if count == nth:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments)

        return rename

    # Path.replace and Path.rename call them.
    os.replace, os.rename = killing(os.replace), killing(os.rename)
