"""The input benchmark: how fast batches come out of a token store, and how soon the first one of a far step does.

The peer is what a PyTorch user of the same store would write: a map-style Dataset of memory-mapped windows, shuffled by
a permutation in memory, in a DataLoader with the default collation, in this process (`num_workers=0`), as ours is here.
"""

from __future__ import annotations

import argparse
import datetime
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from llmjp_jax.errors import UserError
from llmjp_jax.files import git_commit
from llmjp_jax.inputs import Inputs, TokenStoreWriter, batch_at, open_inputs
from tools.benchmark_machine import machine, versions

FAR_STEP = 10_000_000
# Shares and document length of the synthetic stores: three sources as in the quick start, web pages of 500 tokens.
_WEIGHTS = {"ja": 50, "en": 45, "code": 5}
_DOCUMENT_TOKENS = 500


def measure_inputs(options: argparse.Namespace) -> dict[str, Any]:
    """Times `batch_at` over the stores of a cache folder, or over random ones made for this.

    Returns:
      Tokens per second on one core, seconds until the first batch of step 0 and of step 10^7, and the peer's speed.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    surroundings = machine(1)
    with tempfile.TemporaryDirectory(prefix="benchmark") as directory:
        cache_dir, name = options.cache_dir, options.mixture_or_task_name
        if cache_dir is None:
            cache_dir, name = directory, "random"
            _write_stores(Path(directory), options.tokens)
        elif name is None:
            raise UserError("--cache_dir needs --mixture_or_task_name, a name that was built there")

        def opened() -> Inputs:
            return open_inputs(
                cache_dir, name, "train", options.sequence_length, options.batch_size
            )

        first = {step: _first_batch(opened, step, options.rounds) for step in (0, FAR_STEP)}
        inputs = opened()
        sides = {"ours": _batches(inputs)}
        if not options.no_peer:
            sides["torch"] = _torch_batches(inputs)
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        for _ in tqdm(range(options.rounds), desc="rounds", leave=False):
            for side, batches in sides.items():
                start = time.perf_counter()
                for _ in range(options.steps):
                    next(batches)
                seconds[side].append((time.perf_counter() - start) / options.steps)
    tokens = options.batch_size * options.sequence_length
    report = {
        "benchmark": "inputs",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": options.commit or git_commit(),
        "machine": surroundings,
        "versions": versions("numpy", "torch") if not options.no_peer else versions("numpy"),
        "batch_size": options.batch_size,
        "sequence_length": options.sequence_length,
        "store_tokens": sum(source.store.num_tokens for source in inputs.sources),
        "sources": len(inputs.sources),
        "first_batch_seconds": {"step 0": first[0], f"step {FAR_STEP}": first[FAR_STEP]},
    }
    for side, times in seconds.items():
        report[side] = {
            "batch_seconds": {"median": statistics.median(times), "best": min(times)},
            "tokens_per_second": tokens / statistics.median(times),
        }
    if not options.no_peer:
        speeds = [report[side]["tokens_per_second"] for side in ("ours", "torch")]
        report["comparison"] = {"speed": speeds[0] / speeds[1]}
    return report


def _write_stores(directory: Path, tokens: int) -> None:
    """Stores of random ids, `tokens` in all, and their mixture."""
    random = np.random.default_rng(0)
    for task, weight in _WEIGHTS.items():
        (directory / task).mkdir()
        writer = TokenStoreWriter(directory / task / "train", np.int32)
        for _ in range(tokens * weight // 100 // _DOCUMENT_TOKENS):
            writer.add(random.integers(0, 97_000, _DOCUMENT_TOKENS))
        writer.commit()
    weights = ", ".join(f'"{task}": {weight}' for task, weight in _WEIGHTS.items())
    (directory / "random.mixture.json").write_text(f'{{"weights": {{{weights}}}}}')


def _first_batch(opened, step: int, rounds: int) -> float:
    """The median time from opening the stores to a step's batch."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        batch_at(opened(), step)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _batches(inputs: Inputs):
    step = 0
    while True:
        yield batch_at(inputs, step)
        step += 1


def _torch_batches(inputs: Inputs):
    import torch

    torch.set_num_threads(1)
    length = inputs.sequence_length
    arrays = [
        np.memmap(f"{source.store.prefix}.bin", source.store.dtype) for source in inputs.sources
    ]
    windows = [(len(array) - 1) // length for array in arrays]
    ends = np.cumsum(windows)

    class Windows(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return int(ends[-1])

        def __getitem__(self, index: int):
            source = int(np.searchsorted(ends, index, side="right"))
            start = (index - int(ends[source]) + windows[source]) * length
            window = arrays[source][start : start + length + 1].astype(np.int64)
            return window[:-1], window[1:]

    loader = torch.utils.data.DataLoader(
        Windows(), batch_size=inputs.batch_size, shuffle=True, drop_last=True
    )
    while True:
        yield from loader
