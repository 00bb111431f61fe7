"""Plans a run for a TPU slice without having one: compiles the real train step with XLA, or searches for a layout.

  python tools/plan.py --gin_file=gin_configs/v2.0/llm_jp_13b.gin --gin_file=gin_configs/hardware/v4_128.gin
  python tools/plan.py --gin_file=... --topology=v5e:16x16 --search --top=3 --output=plan.md

The gin flags are the launcher's (--gin_file, --gin.NAME=VALUE ...); MODEL_DIR, vocabulary and stores are not needed. Compiling
needs libtpu: pip install -e '.[tpu]'. A 13B model takes a minute or a few for each layout. Exits 2 where nothing fits.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.util
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# A plan needs no device.
os.environ["JAX_PLATFORMS"] = "cpu"

from llmjp_jax.errors import UserError, exit_on_user_error  # noqa: E402
from llmjp_jax.files import atomic_write  # noqa: E402

_PACKAGES = ("jax", "jaxlib", "libtpu", "flax", "optax")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--topology", metavar="NAME", help="in place of the hardware file's, as v4:4x4x8"
    )
    parser.add_argument(
        "--search",
        action="store_true",
        help="try mesh shapes, remat and parts a batch; XLA compiles the best few",
    )
    parser.add_argument(
        "--top", type=int, default=3, metavar="N", help="how many of them (default: 3)"
    )
    parser.add_argument("--output", metavar="FILE", help="also write a report, .md or .json")
    given = list(sys.argv[1:] if arguments is None else arguments)
    options, gin_flags = parser.parse_known_args(given)
    with exit_on_user_error():
        run(options, gin_flags, given)


def run(options: argparse.Namespace, gin_flags: list[str], given: list[str]) -> None:
    output = Path(options.output) if options.output else None
    if output and output.suffix not in (".md", ".json"):
        raise UserError(f"--output={options.output} must end in .md or .json")
    if options.top < 1:
        raise UserError(f"--top={options.top} must be at least 1")
    from tools.train_arguments import train_arguments

    arguments = train_arguments(gin_flags)
    made = _made(given) if output else None
    from llmjp_jax.training import plan

    job = _job(arguments, options)
    if options.search:
        lines, records = _search(job, options.top)
    else:
        lines, records = plan.plan(job)
    if output:
        _write(output, lines, records, made)


def _job(arguments: dict, options: argparse.Namespace):
    from llmjp_jax.parallel import MeshConfig
    from llmjp_jax.training.plan_job import Job

    mesh = arguments.get("mesh") or MeshConfig()
    if options.topology:
        mesh = dataclasses.replace(
            mesh, topology=options.topology, device_kind=None, device_count=None
        )
    if options.search:
        if mesh.topology is None:
            raise UserError(
                "--search needs a TPU topology: add --topology=v4:4x4x8 or a hardware file that has one"
            )
        # The sizes asked for need not fit another slice; those that a search does not change are kept.
        mesh = dataclasses.replace(mesh, data=-1, fsdp=1, tensor=1)
    return Job.of({**arguments, "mesh": mesh})


def _search(job, top: int):
    from llmjp_jax.training import plan
    from llmjp_jax.training.plan_search import search

    tried = search(job, top, plan.tell)
    best = tried[0]
    if best.reached is None:
        raise UserError(
            f"XLA refused all {len(tried)} layouts that were tried: {best.outcome.message}"
        )
    lines = [*plan.ranking_lines(tried), "", *plan.tried_lines(best)]
    print("\n".join(lines))
    return lines, [plan.record(one) for one in tried]


def _made(given: list[str]) -> dict:
    """How a report is made; asked before minutes of compiling, while the code is what it says."""
    from llmjp_jax.files import git_commit
    from tools.benchmark_machine import versions

    # An estimate alone needs no libtpu.
    packages = [name for name in _PACKAGES if importlib.util.find_spec(name)]
    return {
        "command": "python tools/plan.py " + shlex.join(given),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "commit": git_commit(),
        "versions": versions(*packages),
    }


def _write(output: Path, lines: list[str], records: list[dict], made: dict) -> None:
    with atomic_write(output, "w") as file:
        if output.suffix == ".json":
            json.dump({**made, "plan": lines, "layouts": records}, file, indent=1)
            return
        packages = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
        file.write(
            f"# Plan\n\n```\n{made['command']}\n```\n\n{made['date']}, commit {made['commit']}; {packages}.\n\n"
        )
        file.write("```\n" + "\n".join(lines) + "\n```\n")


if __name__ == "__main__":
    main()
