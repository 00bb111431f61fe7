"""Measures speed and prints one JSON object: what ran, on what, how fast, and how fast a peer is on the same machine.

  python tools/benchmark.py train --gin_file=gin_configs/quickstart.gin
  python tools/benchmark.py train --gin_file=gin_configs/runs/pretrain.gin --gin_file=gin_configs/models/gpt2_small.gin \\
      --gin_file=gin_configs/hardware/h200.gin --gin.BATCH_SIZE=16 --gin.SEQUENCE_LENGTH=1024 --gin.TRAIN_STEPS=1000 \\
      --output=gpt2_small.json

`train` takes the flags of `python -m llmjp_jax.train` and times its compiled step on random tokens; no data, vocabulary
or MODEL_DIR is needed. The peer is Hugging Face transformers' model of the same shape under torch.compile, with SDPA
and fused AdamW, from the same initial weights on the same batches. docs/benchmarks.md has what was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.errors import UserError, exit_on_user_error  # noqa: E402
from llmjp_jax.files import atomic_write  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> None:
    options, gin_flags = _parser().parse_known_args(arguments)
    with exit_on_user_error():
        for name in ("steps", "warmup", "rounds", "threads"):
            if getattr(options, name) < 1:
                raise UserError(f"--{name}={getattr(options, name)} must be at least 1")
        if options.threads > len(os.sched_getaffinity(0)):
            raise UserError(
                f"--threads={options.threads} exceeds the {len(os.sched_getaffinity(0))} cores that this process may use"
            )
        from tools.benchmark_train import measure_train

        text = json.dumps(measure_train(options, gin_flags), indent=1)
        if options.output is not None:
            with atomic_write(options.output, "w") as file:
                file.write(text + "\n")
        print(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train = commands.add_parser(
        "train",
        help="the training step",
        description="Times the training step that gin files describe, and a peer's, in alternating rounds. "
        "All flags of `python -m llmjp_jax.train` are taken too.",
        allow_abbrev=False,
    )
    add = train.add_argument
    add("--rounds", type=int, default=8, metavar="N", help="turns that each side gets (8)")
    add("--steps", type=int, default=5, metavar="N", help="timed steps a turn (5)")
    add("--warmup", type=int, default=5, metavar="N",
        help="untimed first steps, whose losses are printed and compared (5)")  # fmt: skip
    add("--peer", choices=("hf",), default="hf", help="whom to compare with (hf)")
    add("--no_peer", action="store_true", help="measure ours alone")
    add("--compile_mode", default="default", metavar="MODE",
        help="of the peer's torch.compile: default, reduce-overhead, max-autotune ...; none: eager")  # fmt: skip
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), metavar="N",
        help="cores that each side may use, alike (all)")  # fmt: skip
    add("--commit", metavar="HASH", help="of the code, where it lies outside a git clone")
    add("--output", metavar="FILE", help="also write the JSON here")
    return parser


if __name__ == "__main__":
    main()
