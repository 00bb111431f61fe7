"""Other layouts of the same run: which could be faster, and which nearest one fits. Estimates filter, XLA decides."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

from llmjp_jax.errors import UserError
from llmjp_jax.parallel import by_kind
from llmjp_jax.training.plan_compile import Compiled, Refused, compile_step
from llmjp_jax.training.plan_job import Job
from llmjp_jax.training.plan_memory import bytes_per_device
from llmjp_jax.training.plan_roofline import Roofline, expected_collectives, roofline

_REMAT = ("none", "dots", "full")
# More devices than this for one matrix product leave each too little of it.
_MOST_TENSOR = 16
# How much an estimate may exceed the memory before XLA is not even asked: it errs by a few per cent.
_TOLERANCE = 1.05


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A layout with its estimates.

    Attributes:
      memory: bytes of one device. expected: the roofline with the collectives that the layout implies.
    """

    job: Job
    memory: int
    expected: Roofline


@dataclasses.dataclass(frozen=True)
class Tried:
    """A candidate that XLA has compiled or refused; `reached` is the roofline with the program's own collectives."""

    candidate: Candidate
    outcome: Compiled | Refused
    reached: Roofline | None


def estimate(job: Job) -> Candidate:
    """The job as a candidate.

    Raises:
      UserError: a size that its mesh axes do not divide.
    """
    memory = sum(bytes_per_device(job).values())
    return Candidate(job, memory, roofline(job, expected_collectives(job)))


def attempt(candidate: Candidate, say: Callable[[str], None]) -> Tried:
    """The candidate with XLA's verdict."""
    outcome = compile_step(candidate.job, say)
    if isinstance(outcome, Refused):
        return Tried(candidate, outcome, None)
    return Tried(candidate, outcome, roofline(candidate.job, by_kind(outcome.collectives)))


def candidates(job: Job, loss_chunks: tuple[int, ...] = (1, 4, 16)) -> list[Candidate]:
    """Every layout of the job's devices that its sizes allow and that, by estimate, fits.

    Mesh shapes (data, fsdp, tensor; context and expert as asked for), remat, parts of a batch, and chunks of the loss.
    """
    limit = memory_limit(job) * _TOLERANCE
    found = []
    for mesh in _meshes(job):
        rows = job.batch_size // (
            job.sizes["replica"] * mesh["data"] * mesh["fsdp"] * job.sizes["expert"]
        )
        for remat in _REMAT:
            for accumulation in _powers_of_two(rows):
                for chunks in loss_chunks:
                    try:
                        changed = job.changed(
                            mesh=mesh,
                            model={"remat": remat, "loss_chunks": chunks},
                            accumulation=accumulation,
                        )
                        memory = sum(bytes_per_device(changed).values())
                        if memory <= limit:
                            found.append(estimate(changed))
                    except UserError:
                        continue  # a size that does not divide: no layout of this model
    return found


def memory_limit(job: Job) -> float:
    """Bytes of one device that a program may take."""
    return job.data_sheet.program_bytes or job.data_sheet.memory_bytes


def ranked(found: list[Candidate]) -> list[Candidate]:
    """The fastest by estimate first; of each mesh and remat only its best parts and chunks."""
    best: dict[tuple, Candidate] = {}
    for candidate in sorted(found, key=lambda c: c.expected.in_turn):
        best.setdefault((*candidate.job.sizes.values(), candidate.job.model.remat), candidate)
    return list(best.values())


def search(job: Job, top: int, say: Callable[[str], None]) -> list[Tried]:
    """The best `top` layouts, compiled, fastest first by XLA's own collectives; those that it refused come last.

    Raises:
      UserError: libtpu is missing, or no layout fits.
    """
    found = candidates(job)
    order = ranked(found)
    if not order:
        raise UserError(_nothing_fits(job))
    say(
        f"{len(found)} layouts fit by estimate; the best are compiled, {top} that fit or {2 * top} at most"
    )
    tried: list[Tried] = []
    for candidate in order[: 2 * top]:
        say(f"[{len(tried) + 1}] {candidate.job.describe()}: {candidate.memory / 2**30:.1f} GiB, "
            f"{candidate.expected.in_turn:.2f} s expected")  # fmt: skip
        tried.append(attempt(candidate, say))
        say(f"    {verdict(tried[-1])}")
        if sum(one.reached is not None for one in tried) == top:
            break
    return in_order(tried)


def in_order(tried: list[Tried]) -> list[Tried]:
    """Those that fit, the shortest step first, then those that do not."""
    return sorted(tried, key=lambda one: one.reached.in_turn if one.reached else math.inf)


def nearest(job: Job, say: Callable[[str], None], most: int = 4) -> Tried | None:
    """The layout closest to a refused one that XLA compiles; None when the `most` closest by estimate are refused too."""
    chunks = tuple(sorted({job.model.loss_chunks * factor for factor in (1, 2, 4)}))
    asked = bytes_per_device(job)
    others = [
        candidate
        for candidate in candidates(job, chunks)
        if distance(job, candidate.job) > 0 and candidate.memory < sum(asked.values())
    ]
    others.sort(key=lambda c: (distance(job, c.job), c.expected.in_turn))
    limit, tries = math.inf, 0
    for candidate in others:
        # What takes no less than a layout that was refused is refused too.
        if candidate.memory >= limit:
            continue
        if tries == most:
            break
        tries += 1
        say(f"does this fit? {candidate.job.describe()}")
        tried = attempt(candidate, say)
        say(f"    {verdict(tried)}")
        if tried.reached is not None:
            return tried
        limit = candidate.memory
    return None


def distance(a: Job, b: Job) -> float:
    """How much a run changes from one layout to another: remat and parts a batch least, the way products are cut most."""
    change = abs(_REMAT.index(a.model.remat) - _REMAT.index(b.model.remat))
    change += _doublings(a.accumulation, b.accumulation)
    change += 0.5 * _doublings(a.model.loss_chunks, b.model.loss_chunks)
    # From `data` to `fsdp` is one change, although two sizes are others.
    weights = {"data": 1.0, "fsdp": 1.0, "tensor": 3.0, "context": 4.0, "expert": 4.0}
    return change + sum(
        weight * _doublings(a.sizes[axis], b.sizes[axis]) for axis, weight in weights.items()
    )


def verdict(tried: Tried) -> str:
    """What XLA said, in one line."""
    if tried.reached is None:
        return tried.outcome.message
    limit = memory_limit(tried.candidate.job) / 2**30
    return (
        f"fits: peak {tried.outcome.peak / 2**30:.2f} of {limit:.2f} GiB, step {tried.reached.overlapped:.3g} to "
        f"{tried.reached.in_turn:.3g} s at full speed, bound by {tried.reached.bound}"
    )


def _meshes(job: Job) -> Iterator[dict[str, int]]:
    sizes = job.sizes
    each = job.device_count // (sizes["replica"] * sizes["expert"] * sizes["context"])
    for tensor in (size for size in _divisors(each) if size <= _MOST_TENSOR):
        for fsdp in _divisors(each // tensor):
            yield {"data": each // tensor // fsdp, "fsdp": fsdp, "tensor": tensor}


def _divisors(number: int) -> list[int]:
    return [size for size in range(1, number + 1) if number % size == 0]


def _powers_of_two(most: int) -> list[int]:
    return [1 << i for i in range(max(most, 0).bit_length())]


def _doublings(a: int, b: int) -> float:
    return abs(math.log2(a / b))


def _nothing_fits(job: Job) -> str:
    return (
        f"no layout of this run fits the {job.device_count} devices of {job.mesh.topology} by estimate; take a larger "
        "slice, or set MeshConfig.context to split the sequences"
    )
