"""One side of a benchmark in a process of its own: how the benchmark talks to it, and how it times and measures itself.

Each side is built once and then asked for steps, turn by turn, so that noise of the machine meets all sides alike
while threads, allocator and device memory are its own. Messages are JSON lines over the process's standard streams.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from llmjp_jax.errors import UserError, exit_on_user_error


class Side(Protocol):
    """What a process builds: facts about itself, and steps on demand."""

    def describe(self) -> dict[str, Any]:
        """What is known before the first step."""

    def run(self, steps: int) -> dict[str, Any]:
        """Does so many more steps: {"seconds": [...], "losses": [...], "peak_memory_bytes": ...}."""


class SideProcess:
    """A running side, seen from the benchmark; `description` is what its `Side.describe` returned.

    Args:
      script: the program, in tools/, that calls `serve`.
      options: for its `build`; `threads` among them.
      environment: variables that it gets beside the benchmark's own.
    """

    def __init__(self, script: str, options: Mapping[str, Any], environment: Mapping[str, str]):
        self._script = script
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / script), json.dumps(options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(options["threads"]), **environment},
        )  # fmt: skip
        self.description = self._reply()

    def run(self, steps: int) -> dict[str, Any]:
        self._process.stdin.write(json.dumps({"steps": steps}) + "\n")
        self._process.stdin.flush()
        return self._reply()

    def close(self) -> None:
        """Ends the process; a second time does nothing."""
        self._process.stdin.close()
        self._process.wait()

    def _reply(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        code = self._process.wait()
        if code == 2:  # it has printed its sentence
            raise SystemExit(2)
        raise UserError(f"tools/{self._script} ended with exit code {code}; its messages are above")


def serve(build: Callable[[dict[str, Any]], Side]) -> None:
    """The life of a side's process; `build` imports what is heavy, after the process has been bound to its cores.

    Each reply also says how many seconds of all cores together a step took: a measure that other programs on the
    machine disturb less.
    """
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints must not come between the replies
    options = json.loads(sys.argv[1])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options["threads"]])
    with exit_on_user_error():
        side = build(options)
        replies.write(json.dumps(side.describe()) + "\n")
        for line in sys.stdin:
            steps = json.loads(line)["steps"]
            before = time.process_time()
            reply = side.run(steps)
            reply["processor_seconds"] = (time.process_time() - before) / steps
            replies.write(json.dumps(reply) + "\n")


def step_seconds(
    start: Callable[[Any], Any], finish: Callable[[Any], None] | None, batches: list[Any]
) -> list[float]:
    """The time of each step, from the end of the step before to its own end.

    `start` sets a step going and returns what `finish` waits for; as in the training loop, the next step is started
    before the last one is waited for. With `finish` None a step has ended when `start` returns.
    """
    ends = [time.perf_counter()]
    running = []
    for batch in batches:
        running.append(start(batch))
        if finish is None:
            ends.append(time.perf_counter())
        elif len(running) > 1:
            finish(running[-2])
            ends.append(time.perf_counter())
    if finish is not None:
        finish(running[-1])
        ends.append(time.perf_counter())
    return [end - before for before, end in itertools.pairwise(ends)]


def peak_resident_bytes() -> int:
    """The most memory of this process that lay in RAM since `forget_peak`, or since it began."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM")


def forget_peak() -> None:
    """Lets `peak_resident_bytes` start anew from the present."""
    Path("/proc/self/clear_refs").write_text("5")
