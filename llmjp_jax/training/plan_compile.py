"""The real train step, compiled by XLA for TPU slices that are not there: what it takes, or XLA's refusal."""

from __future__ import annotations

import dataclasses
import re
import sys
import threading
import time
from collections.abc import Callable

import jax

from llmjp_jax.parallel import Collective, caught_log, read_collectives, rematerialized
from llmjp_jax.training.plan_job import Job

# XLA says it in one of these ways: before it has assigned memory, and after.
_TOO_MUCH = (
    re.compile(r"temporaries \(([\d.]+)([KMGT])\) exceeds available HBM \(([\d.]+)([KMGT])\)"),
    re.compile(r"Used ([\d.]+)([KMGT]) of ([\d.]+)([KMGT]) hbm"),
)
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiled:
    """A step that fits, in bytes of one device, and seconds of the compiling machine.

    Attributes:
      arguments: state and batch. temporaries: as XLA reports them. peak: the most at any moment, XLA's
        `peak_memory_in_bytes`, which decides whether a program fits.
      collectives: what it sends. rematerialized: operations that XLA had to make whole on every device.
    """

    arguments: int
    temporaries: int
    peak: int
    trace_seconds: float
    compile_seconds: float
    collectives: list[Collective]
    rematerialized: list[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refused:
    """A step that does not fit.

    Attributes:
      message: XLA's own sentence. needed, available: its figures in bytes; None where the sentence has none.
    """

    message: str
    needed: float | None
    available: float | None
    compile_seconds: float


def compile_step(
    job: Job, say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True)
) -> Compiled | Refused:
    """Compiles the job's train step for its topology.

    Args:
      say: is told, every twenty seconds, that compilation goes on.

    Raises:
      UserError: libtpu is missing, or a size does not fit the mesh.
    """
    interconnect = job.interconnect
    with caught_log() as log, _Ticking(say):
        trainer = job.trainer()  # asks XLA about the compiler options
        start = time.perf_counter()
        lowered = trainer.step.lower(trainer.abstract_state, trainer.abstract_batch())
        traced = time.perf_counter()
        try:
            compiled = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            return refusal(str(error), time.perf_counter() - traced)
        compile_seconds = time.perf_counter() - traced
    memory = compiled.memory_analysis()
    return Compiled(
        arguments=memory.argument_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        peak=memory.peak_memory_in_bytes,
        trace_seconds=traced - start,
        compile_seconds=compile_seconds,
        collectives=read_collectives(compiled.as_text(), interconnect),
        rematerialized=rematerialized(log),
    )


def refusal(message: str, seconds: float) -> Refused:
    """XLA's RESOURCE_EXHAUSTED, with its figures."""
    needed = available = None
    for pattern in _TOO_MUCH:
        if found := pattern.search(message):
            needed = float(found[1]) * _UNITS[found[2]]
            available = float(found[3]) * _UNITS[found[4]]
            break
    sentence = message[message.index("RESOURCE_EXHAUSTED") :].partition("\n")[0].strip()
    return Refused(message=sentence, needed=needed, available=available, compile_seconds=seconds)


class _Ticking:
    """Says every twenty seconds how long its body has been running."""

    def __init__(self, say: Callable[[str], None]):
        self.say, self.ended = say, threading.Event()

    def __enter__(self):
        threading.Thread(target=self._run, daemon=True).start()

    def __exit__(self, *_):
        self.ended.set()

    def _run(self):
        start = time.perf_counter()
        while not self.ended.wait(20):
            self.say(f"  XLA compiles for {time.perf_counter() - start:.0f} s ...")
