"""How fast a step could be: arithmetic, memory and links, each at the data sheet's full speed.

No run reaches these times. They say which of the four binds, and rank layouts against each other. Arithmetic is counted by
our own formula; what goes over the links comes from the compiled program, or before that from `expected_collectives`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from llmjp_jax.models import train_flops_per_token
from llmjp_jax.models.flops import matmul_parameters
from llmjp_jax.parallel import Collective, one_collective
from llmjp_jax.training.plan_job import Job
from llmjp_jax.training.plan_memory import Share

# What the estimate takes for granted, printed beside it.
ASSUMPTIONS = (
    "arithmetic at the data sheet's bfloat16 peak; causal attention counted by half unless the backend computes all of it",
    "memory: kernels read once for each pass over a part of the batch, activations written and read once, Adam in float32",
    "links: each collective has those of its own mesh axes to itself, as rings over the torus, both ways where it closes",
    "'overlapped' is the largest of the four terms, 'in turn' their sum: a step lies between, and above",
)


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Seconds of a step for each resource; network is None where the data sheet does not give its speed.

    Attributes:
      model_flops: of a step on all devices, causal, forward and backward: what utilisation is measured by.
      peak_flops: of all devices.
    """

    compute: float
    memory: float
    links: float
    network: float | None
    model_flops: float
    peak_flops: float

    @property
    def overlapped(self) -> float:
        """Seconds of a step when all four go on at once."""
        return max(self.compute, self.memory, self.links, self.network or 0.0)

    @property
    def in_turn(self) -> float:
        """Seconds when each waits for the others."""
        return self.compute + self.memory + self.links + (self.network or 0.0)

    @property
    def bound(self) -> str:
        """The resource that binds."""
        terms = {
            "compute": self.compute,
            "memory": self.memory,
            "links": self.links,
            "network": self.network or 0.0,
        }
        return max(terms, key=terms.get)

    def utilisation(self, seconds: float) -> float:
        """Model FLOPs utilisation of a step of so many seconds."""
        return self.model_flops / (seconds * self.peak_flops)


def roofline(job: Job, found: Iterable[Collective]) -> Roofline:
    """The terms of a step whose collectives are known. The job's device must have a data sheet."""
    sheet, found = job.data_sheet, list(found)
    networks = [one.network_seconds for one in found]
    return Roofline(
        compute=executed_flops(job) / (sheet.peak_flops * job.device_count),
        memory=memory_bytes(job) / sheet.memory_bandwidth,
        links=sum(one.seconds for one in found),
        network=None if None in networks else sum(networks),
        model_flops=train_flops_per_token(job.model, job.sequence_length, causal=True) * job.tokens,
        peak_flops=sheet.peak_flops * job.device_count,
    )


def executed_flops(job: Job) -> float:
    """Of a step on all devices, with what remat repeats and what the attention backend does not skip."""
    model, length = job.model, job.sequence_length
    causal = model.attention in ("splash", "splash_interpret", "cudnn")
    flops = train_flops_per_token(model, length, causal=causal)
    blocks = flops - 6.0 * model.embed * model.padded_vocab_size
    scores = blocks - 6.0 * (matmul_parameters(model) - model.embed * model.padded_vocab_size)
    again = {"none": 0.0, "dots": scores / 3, "full": blocks / 3}[model.remat]
    return (flops + again) * job.tokens


def memory_bytes(job: Job) -> float:
    """What one device reads from and writes to its memory in a step."""
    model, share = job.model, Share(job)
    passes = 3 if model.remat != "full" else 4
    kernels = share.layer_kernels() * model.layers * passes * job.accumulation
    # Each product reads its operand and writes its result, forward once and backward twice, again where repeated.
    stream, heads, mlp = share.length_whole(), share.heads(1), share.mlp(1)
    products = (
        4 * stream + 2 * heads * (2 * model.heads + 2 * model.kv_heads) + 2 * mlp * (share.ups + 1)
    )
    scores = share.scores(2 if model.attention in ("xla", "reference", "blocked") else 0) * 2
    activations = (products + scores) * model.layers * passes * job.accumulation
    logits = share.logits_of_a_part() * 4 * job.accumulation
    held = share.trained()
    adam = 7 * held + 2 * held * job.accumulation
    return float(kernels + activations + logits + adam)


def expected_collectives(job: Job) -> list[Collective]:
    """What the layout makes the step send, before XLA is asked.

    Kernels gathered over `fsdp` for each pass and their gradients scattered, those of the output matrix for each chunk
    of the loss; gradients summed over `data` and `replica`; the stream gathered and scattered around both halves of a
    block over `tensor`; keys and values gathered over `context`; tokens gathered and sums scattered over `expert`.
    """
    model, share = job.model, Share(job)
    parts, layers, chunks = job.accumulation, model.layers, model.loss_chunks
    passes = 2 if model.remat != "full" else 3
    kernels, stream = share.layer_kernels(), share.length_whole()
    matrix = share((None, "vocab"), (model.embed, model.padded_vocab_size), share.itemsize)
    table = model.padded_vocab_size * model.embed * share.itemsize
    found: list[Collective] = []
    learned = int(model.lora is None)  # what is frozen has no gradient

    def add(kind, operation, size, axes, runs):
        wide = tuple(axis for axis in axes if job.sizes[axis] > 1)
        if wide and size and runs:
            one = one_collective(kind, operation, size, job.group(wide), job.interconnect)
            found.append(one.times(runs))

    # Where one group is the whole machine, XLA sums whole arrays: in place of scattering, and in three dimensions in
    # place of gathering too. Seen with libtpu 0.0.42 on v4 (fsdp 128 of 128; not 64, 32), v5p (64 of 64), v5e (256 of
    # 256: sums, but gathers; not 64).
    whole = job.sizes["fsdp"] == job.device_count
    gather = "all-reduce" if whole and job.data_sheet.torus == 3 else "all-gather"
    scatter = "all-reduce" if whole else "reduce-scatter"
    add(gather, "kernels", kernels, ("fsdp",), 2 * layers * parts)
    add(scatter, "gradients of kernels", kernels, ("fsdp",), learned * layers * parts)
    add(gather, "output matrix", matrix, ("fsdp",), chunks * parts)
    add(scatter, "its gradient, in float32", 2 * matrix, ("fsdp",), learned * chunks * parts)
    add("all-gather", "embedding", table, ("fsdp", "tensor"), parts)
    add("all-reduce", "its gradient", table, ("data", "fsdp", "tensor"), learned * parts)
    add("all-gather", "stream before products", stream, ("tensor",), 2 * passes * layers * parts)
    add("reduce-scatter", "stream after products", stream, ("tensor",), 2 * passes * layers * parts)
    add("all-reduce", "gradients", share.trained(), ("replica", "data"), parts)
    keys = share.heads(2 * model.kv_heads) * job.sizes["context"]
    add("all-gather", "keys and values", keys, ("context",), (passes + 1) * layers * parts)
    if model.experts:
        group = stream * job.sizes["expert"]
        add(
            "all-gather",
            "tokens of a group of experts",
            group,
            ("expert",),
            passes * layers * parts,
        )
        add("reduce-scatter", "what they say", group, ("expert",), passes * layers * parts)
    return found
