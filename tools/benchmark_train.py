"""The training benchmark: both sides step in turn, and the figures of all turns become one summary."""

from __future__ import annotations

import argparse
import datetime
import statistics
import tempfile
from typing import Any

from tqdm import tqdm

from llmjp_jax.files import git_commit
from tools.benchmark_machine import machine
from tools.benchmark_process import SideProcess

# glibc's malloc as `llmjp_jax.parallel.keep_freed_memory` sets it; torch gains as much from it.
KEEP_FREED_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str((1 << 31) - 1),
    "MALLOC_TOP_PAD_": str(1 << 28),
}


def measure_train(options: argparse.Namespace, gin_flags: list[str]) -> dict[str, Any]:
    """Times the training step of a configuration, and the peer's.

    Args:
      options: the flags of `tools/benchmark.py train`. gin_flags: those of `llmjp_jax.train`.

    Returns:
      Seconds, bytes, and tokens per second under the names that docs/benchmarks.md explains.

    Raises:
      UserError: a mistake in the flags, or a configuration that the peer cannot compute.
    """
    moment = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    surroundings = machine(options.threads)
    with tempfile.TemporaryDirectory(prefix="benchmark") as directory:
        descriptions, first, turns = _measured(options, gin_flags, directory)
    ours = descriptions["ours"]
    report = {
        "benchmark": "train",
        "date": moment,
        "commit": options.commit or git_commit(),
        "machine": surroundings,
        **{name: ours.pop(name) for name in ("device", "configuration", "flops_per_token")},
        "rounds": options.rounds,
        "steps_per_round": options.steps,
        "one_at_a_time": options.one_at_a_time,
    }
    for name, description in descriptions.items():
        report[name] = _summary(report, description, first[name], turns[name])
    if not options.no_peer:
        report["hf"]["compile_mode"] = options.compile_mode
        report["comparison"] = _comparison(report["ours"], report["hf"], turns)
    return report


def _measured(options: argparse.Namespace, gin_flags: list[str], directory: str):
    """Each side's description, its untimed first steps, and its turns, by its name."""
    names = ["ours"] if options.no_peer else ["ours", "hf"]
    sides: dict[str, SideProcess] = {}
    first, turns = {}, {name: [] for name in names}
    together = not (options.no_peer or options.one_at_a_time)
    groups = [names] if together else [[name] for name in names]
    try:
        for group in groups:
            for name in group:
                sides[name] = _side(name, options, gin_flags, directory, sides)
                first[name] = sides[name].run(options.warmup)
            for number in tqdm(range(options.rounds), desc="rounds", leave=False):
                # Who begins changes from round to round.
                for name in group if number % 2 == 0 else reversed(group):
                    turns[name].append(sides[name].run(options.steps))
            for name in group:
                sides[name].close()
    finally:
        for side in sides.values():
            side.close()
    return {name: side.description for name, side in sides.items()}, first, turns


def _side(name, options, gin_flags, directory, sides) -> SideProcess:
    """The process of a side; the peer's comes after ours, whose weights and job it reads."""
    common = {"threads": options.threads, "directory": directory}
    if name == "ours":
        steps = options.warmup + options.rounds * options.steps
        given = common | {"gin_flags": gin_flags, "steps": steps, "peer": not options.no_peer}
        # Where both sides hold memory of one GPU, neither may take it all in advance.
        alone = options.no_peer or options.one_at_a_time
        return SideProcess(
            "benchmark_ours.py", given, {} if alone else {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        )
    keeps = sides["ours"].description["configuration"]["keeps_freed_memory"]
    given = common | {"compile_mode": options.compile_mode}
    return SideProcess("benchmark_hf.py", given, KEEP_FREED_MEMORY if keeps else {})


def _summary(report: dict, description: dict, first: dict, turns: list[dict]) -> dict[str, Any]:
    seconds = [second for turn in turns for second in turn["seconds"]]
    configuration = report["configuration"]
    tokens = configuration["batch_size"] * configuration["sequence_length"]
    speed = tokens / statistics.median(seconds)
    peak = report["device"]["peak_flops"]
    return {
        **description,
        "step_seconds": {
            "median": statistics.median(seconds),
            "best": min(seconds),
            "median_of_each_round": [statistics.median(turn["seconds"]) for turn in turns],
        },
        "processor_seconds": statistics.median(turn["processor_seconds"] for turn in turns),
        "tokens_per_second": speed,
        "mfu": {
            kind: None if peak is None else speed * flops / peak
            for kind, flops in report["flops_per_token"].items()
        },
        "memory": {**description["memory"], "peak_bytes": turns[-1]["peak_memory_bytes"]},
        "first_losses": first["losses"],
        "last_loss": turns[-1]["losses"][-1],
    }


def _comparison(ours: dict, peer: dict, turns: dict[str, list[dict]]) -> dict[str, Any]:
    """Ours against the peer; a speed above 1 says that we are faster, memory below 1 that we take less."""
    rounds = zip(turns["ours"], turns["hf"], strict=True)
    pairs = [statistics.median(b["seconds"]) / statistics.median(a["seconds"]) for a, b in rounds]
    differences = [
        abs(a - b) for a, b in zip(ours["first_losses"], peer["first_losses"], strict=True)
    ]
    return {
        "speed": peer["step_seconds"]["median"] / ours["step_seconds"]["median"],
        "speed_median_of_rounds": statistics.median(pairs),
        "speed_of_best_steps": peer["step_seconds"]["best"] / ours["step_seconds"]["best"],
        "processor_seconds": peer["processor_seconds"] / ours["processor_seconds"],
        "memory": ours["memory"]["peak_bytes"] / peer["memory"]["peak_bytes"],
        "largest_difference_of_first_losses": max(differences),
    }
