"""What a run will take, before it takes it: parameters, arithmetic, memory, what XLA makes of it, and hours.

With a TPU topology (`MeshConfig.topology`) the real train step is compiled for it by XLA, without a TPU; for other
devices the estimates stand alone. No device is touched.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import jax

from llmjp_jax.errors import UserError
from llmjp_jax.models import ModelConfig, parameter_count, train_flops_per_token
from llmjp_jax.parallel import by_kind
from llmjp_jax.training.plan_compile import Compiled, Refused
from llmjp_jax.training.plan_job import Job
from llmjp_jax.training.plan_memory import bytes_per_device
from llmjp_jax.training.plan_roofline import ASSUMPTIONS, Roofline
from llmjp_jax.training.plan_search import Tried, attempt, estimate, memory_limit, nearest, verdict

Say = Callable[[str], None]
_GIB = 2**30


def dry_run(**arguments: Any) -> None:
    """Prints the plan of `train` with the same arguments; reads and writes nothing.

    Raises:
      UserError: a size that its mesh axis does not divide, libtpu is missing, or the step does not fit the topology.
    """
    # A plan needs no device, and on a machine that has some they may be in use.
    jax.config.update("jax_platforms", "cpu")
    plan(Job.of(arguments))


def tell(text: str) -> None:
    """A line of progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def show(text: str) -> None:
    """A line of the plan, on standard output."""
    print(text, flush=True)


def plan(job: Job, say: Say = tell, show: Say = show) -> tuple[list[str], list[dict[str, Any]]]:
    """Shows the plan line by line, the estimates before XLA is asked.

    Returns:
      The lines, and what of them a program may want to read; see `record`.

    Raises:
      UserError: see `dry_run`; a refused step's error has XLA's figure and the nearest layout that fits.
    """
    lines: list[str] = []

    def add(more: list[str]) -> None:
        lines.extend(more)
        for line in more:
            show(line)

    add([*run_lines(job), *memory_lines(job), *hour_lines(job)])
    if job.topology is None:
        why = f"{job.device_kind} is" if job.device_kind else "the devices are"
        add(
            [
                f"XLA              not asked: {why} no TPU topology; memory above is an estimate alone"
            ]
        )
        if job.data_sheet is not None:
            add([estimated_verdict(job)])
        return lines, []
    say(f"compiling the step for {job.device_count} x {job.device_kind}; 13B take minutes")
    tried = attempt(estimate(job), say)
    if isinstance(tried.outcome, Refused):
        raise UserError(refusal_sentence(job, tried.outcome, nearest(job, say)))
    add([*xla_lines(tried), *roofline_lines(job, tried.reached)])
    return lines, [record(tried)]


def estimated_verdict(job: Job) -> str:
    """That the step fits by the estimate alone, where XLA cannot be asked.

    Raises:
      UserError: it does not.
    """
    total, limit = sum(bytes_per_device(job).values()) / _GIB, memory_limit(job) / _GIB
    if total > limit:
        raise UserError(
            f"by estimate the step does not fit: {total:.1f} of {limit:.1f} GiB of each {job.device_kind}; share the "
            "parameters out (parallel.MeshConfig.fsdp), compute a batch in more parts (training.train.accumulation), or set "
            "models.ModelConfig.remat = 'full'"
        )
    return f"verdict          fits by estimate, with {limit - total:.2f} GiB to spare"


def tried_lines(tried: Tried) -> list[str]:
    """The whole plan of a layout that XLA has compiled."""
    job = tried.candidate.job
    return [
        *run_lines(job), *memory_lines(job), *hour_lines(job), *xla_lines(tried), *roofline_lines(job, tried.reached),
    ]  # fmt: skip


def refusal_sentence(job: Job, refused: Refused, other: Tried | None) -> str:
    """What does not fit, by XLA's own figure, and what to do."""
    if other is None:
        fix = (
            "none of the nearest layouts fits either; try tools/plan.py --search, or a larger slice"
        )
    else:
        fix = (
            f"the nearest layout that fits is {other.candidate.job.describe()} "
            f"({_settings(job, other.candidate.job)}; peak {other.outcome.peak / _GIB:.2f} GiB)"
        )
    return f"the step does not fit {job.mesh.topology}: XLA says '{refused.message}'; {fix}"


def run_lines(job: Job) -> list[str]:
    """The run and its arithmetic."""
    flops = {
        kind: train_flops_per_token(job.model, job.sequence_length, causal=kind == "causal")
        for kind in ("causal", "full")
    }
    sizes = ", ".join(f"{axis} {size}" for axis, size in job.sizes.items() if size > 1)
    where = f" ({job.topology.slices} x {job.mesh.topology})" if job.topology else ""
    model = job.model
    return [
        *model_lines(model),
        f"devices          {job.device_count} x {job.device_kind or 'unnamed'}{where}: {sizes or 'one'}",
        *step_lines(job),
        *stage_lines(job),
        f"FLOPs per token  {flops['causal']:.4g} (causal attention), {flops['full']:.4g} (full attention)",
        f"computed         attention {model.attention}, remat {model.remat}, {model.loss_chunks} loss chunks, {model.dtype}",
    ]


def model_lines(model: ModelConfig) -> list[str]:
    """How many parameters there are and, with adapters, how many of them are trained."""
    count = parameter_count(model)
    lines = [f"model            {count:,} parameters"]
    if model.lora is not None:
        trained = count - parameter_count(dataclasses.replace(model, lora=None))
        lines.append(
            f"trained          {trained:,} parameters in adapters of rank {model.lora.rank} ({trained / count:.2%}); "
            f"the rest is frozen, in {model.dtype}"
        )
    return lines


def step_lines(job: Job) -> list[str]:
    """How long the run is, as far as it is known without its data."""
    row = f"of {job.batch_size:,} x {job.sequence_length:,} tokens ({job.accumulation} parts each)"
    if job.total_steps is None:
        return [f"steps            as many as {job.epochs:g} epochs of the examples have, {row}"]
    return [
        f"steps            {job.total_steps:,} {row}",
        f"tokens           {job.total_steps * job.tokens:,}",
    ]


def stage_lines(job: Job) -> list[str]:
    """Several data sets in turn, and a second decay of the learning rate, by the steps that they begin and end with."""
    lines, first = [], 0
    for number, (name, steps) in enumerate(job.stages, 1):
        last = number == len(job.stages) and job.total_steps is not None
        stop = job.total_steps if last else first + steps
        said = "" if stop - first == steps else f" ({steps:,} were asked for)"
        lines.append(f"data             {name}: steps {first:,} to {stop:,}{said}")
        first = stop
    optimizer = job.options.get("optimizer")
    if optimizer is not None and optimizer.cooldown_start is not None:
        stop = optimizer.cooldown_start + optimizer.cooldown_steps
        lines.append(
            f"second decay     steps {optimizer.cooldown_start:,} to {stop:,}, of {job.total_steps:,}"
        )
    return lines


def memory_lines(job: Job) -> list[str]:
    """The estimate of one device's memory."""
    memory = bytes_per_device(job)
    total = sum(memory.values()) / _GIB
    limit = f", of {memory_limit(job) / _GIB:.2f} GiB" if job.data_sheet else ""
    return [
        *[f"estimate         {size / _GIB:9.3f} GiB per device: {kind}" for kind, size in memory.items()],
        f"estimate         {total:9.3f} GiB per device at the fullest moment{limit}",
    ]  # fmt: skip


def xla_lines(tried: Tried) -> list[str]:
    """What XLA made of the step."""
    found: Compiled = tried.outcome
    job = tried.candidate.job
    peak, limit = found.peak / _GIB, memory_limit(job) / _GIB
    off = tried.candidate.memory / found.peak - 1
    lines = [
        f"XLA memory       {found.arguments / _GIB:9.3f} GiB per device: arguments (state and batch)",
        f"XLA memory       {found.temporaries / _GIB:9.3f} GiB per device: temporaries",
        f"XLA memory       {peak:9.3f} GiB per device: peak, of {limit:.2f}: fits with {limit - peak:.2f} to spare "
        f"(the estimate is {off:+.0%} off)",
        f"XLA compiled in  {found.compile_seconds:.0f} s, traced in {found.trace_seconds:.1f} s",
    ]
    for one in by_kind(found.collectives):
        runs = (
            f"{one.runs:,} a step"
            if one.certain
            else f"{one.runs:,} per execution of the loop body"
        )
        network = f", {one.network_bytes / _GIB:.2f} GiB over DCN" if one.network_bytes else ""
        lines.append(
            f"sends            {one.bytes / _GIB:9.2f} GiB per device: {one.kind} ({runs}{network}), "
            f"{one.seconds:.3g} s at full speed"
        )
    if not found.collectives:
        lines.append("sends            nothing")
    largest = sorted(found.collectives, key=lambda one: -one.seconds - (one.network_seconds or 0))
    lines += [
        f"largest          {one.seconds:9.3g} s: {one.kind} of {one.operation}"
        for one in largest[:3]
    ]
    if found.rematerialized:
        lines += [
            f"WARNING          whole on every device: {name}" for name in found.rematerialized
        ]
    else:
        lines.append(
            "warnings         none of arrays made whole on every device (involuntary rematerialization)"
        )
    return lines


def roofline_lines(job: Job, reached: Roofline) -> list[str]:
    """The bounds of a step's time, with what they take for granted."""
    network = "not known" if reached.network is None else f"{reached.network:.3g}"
    speeds = [job.tokens / seconds for seconds in (reached.in_turn, reached.overlapped)]
    return [
        f"roofline         compute {reached.compute:.3g} s, memory {reached.memory:.3g}, links {reached.links:.3g}, "
        f"DCN {network}: bound by {reached.bound}",
        f"roofline         step {reached.overlapped:.3g} s overlapped, {reached.in_turn:.3g} s in turn: MFU (causal) "
        f"{reached.utilisation(reached.overlapped):.0%} and {reached.utilisation(reached.in_turn):.0%}, "
        f"{speeds[0]:,.0f} to {speeds[1]:,.0f} tokens/s",
        f"roofline         {job.data_sheet.source}",
        *[f"assumed          {line}" for line in ASSUMPTIONS],
    ]


def hour_lines(job: Job) -> list[str]:
    """Hours of the whole run at utilisations that are usual."""
    sheet = job.data_sheet
    if sheet is None:
        return [
            f"time             not known: no data sheet's peak for devices of kind {job.device_kind!r}"
        ]
    flops = train_flops_per_token(job.model, job.sequence_length, causal=True)
    flops *= (job.total_steps or 1000) * job.tokens
    whose = "" if job.total_steps else " for 1,000 steps,"
    return [
        f"time             {flops / (sheet.peak_flops * job.device_count * utilisation) / 3600:,.1f} hours{whose} at "
        f"{utilisation:.0%} of {sheet.peak_flops / 1e12:.0f} TFLOP/s (bfloat16, causal attention)"
        for utilisation in (0.4, 0.5)
    ]


def ranking_lines(tried: list[Tried]) -> list[str]:
    """A search's result, best first."""
    lines = []
    for place, one in enumerate(tried, 1):
        lines += [f"{place:2}. {one.candidate.job.describe()}", f"    {verdict(one)}"]
    return lines


def record(tried: Tried) -> dict[str, Any]:
    """A compiled or refused layout as JSON has it; bytes are of one device, seconds of a step."""
    job, outcome = tried.candidate.job, tried.outcome
    found = dataclasses.asdict(outcome)
    found.pop("collectives", None)
    return {
        "mesh": job.sizes,
        "accumulation": job.accumulation,
        "remat": job.model.remat,
        "loss_chunks": job.model.loss_chunks,
        "estimated_bytes": tried.candidate.memory,
        "fits": tried.reached is not None,
        "xla": found,
        "collectives": [dataclasses.asdict(one) for one in by_kind(getattr(outcome, "collectives", []))],
        "roofline": dataclasses.asdict(tried.reached) if tried.reached else None,
    }  # fmt: skip


def _settings(asked: Job, other: Job) -> str:
    """The gin lines that lead from one layout to the other."""
    changes = [
        f"parallel.MeshConfig.{axis} = {size}"
        for axis, size in other.sizes.items()
        if size != asked.sizes[axis]
    ]
    if asked.accumulation != other.accumulation:
        changes.append(f"training.train.accumulation = {other.accumulation}")
    changes += [
        f"models.ModelConfig.{field} = {getattr(other.model, field)!r}"
        for field in ("remat", "loss_chunks")
        if getattr(asked.model, field) != getattr(other.model, field)
    ]
    return ", ".join(changes)
