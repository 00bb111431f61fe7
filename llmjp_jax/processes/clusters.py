"""--coordinator_address=auto: what Slurm, a TPU pod, or any cluster that JAX knows says about a run's processes."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping

from llmjp_jax.errors import UserError
from llmjp_jax.processes.place import Place, split_address

# What JAX itself uses on TPU pods.
_TPU_PORT = 8482
_PORT_VARIABLE = "JAX_COORDINATOR_PORT"
_NO_CLUSTER = (
    "there is no cluster here that is known (Slurm, TPU pod, Open MPI, Kubernetes); give --hosts=HOST,HOST, or "
    "HOST:PORT, --process_count and --process_index"
)


def detect(timeout: int) -> Place | None:
    """This process's place in the cluster it runs in; None where only `jax.distributed` itself can tell.

    Raises:
      UserError: there is no cluster, or its variables do not say enough.
    """
    return slurm(os.environ) or tpu_pod(os.environ) or _as_jax_sees_it(timeout)


def slurm(environment: Mapping[str, str]) -> Place | None:
    """The place in a Slurm job step; None outside Slurm.

    Process 0 is on the first node of the step. Source: srun(1), output environment variables.

    Raises:
      UserError: inside a job, but not started by srun.
    """
    job = environment.get("SLURM_JOB_ID")
    if job is None:
        return None
    nodes, index = environment.get("SLURM_STEP_NODELIST"), environment.get("SLURM_PROCID")
    count = environment.get("SLURM_STEP_NUM_TASKS") or environment.get("SLURM_NTASKS")
    if nodes is None or index is None or count is None:
        raise UserError(
            f"this process is in Slurm's job {job}, but srun did not start it; put srun before the command"
        )
    # The same on all, and seldom that of another step: JAX's own choice, moved on by the step.
    step = environment.get("SLURM_STEP_ID", "0")
    number = int(job) + (int(step) if step.isdecimal() else 0)
    port = environment.get(_PORT_VARIABLE) or number % 2**12 + 2**16 - 2**12
    return Place(
        next(node_names(nodes)), int(port), int(count), int(index), _PORT_VARIABLE,
        _slurm_devices(environment),
    )  # fmt: skip


def node_names(text: str):
    """Yields the names of a Slurm node list in order.

        n[01-03,7],head -> n01 n02 n03 n7 head    r[1-2]n[1-2] -> r1n1 r1n2 r2n1 r2n2

    Raises:
      UserError: brackets that do not match, or a range that is none.
    """
    entries = re.findall(r"(?:[^,\[\]]|\[[^\[\]]*\])+", text)
    if not entries or ",".join(entries) != text:
        raise UserError(f"Slurm's node list {text!r} cannot be read")
    for entry in entries:
        # Odd parts stood in brackets.
        parts = re.split(r"\[([^\]]*)\]", entry)
        choices = [_numbers(p, text) if i % 2 else [p] for i, p in enumerate(parts)]
        yield from map("".join, itertools.product(*choices))


def _numbers(ranges: str, text: str) -> list[str]:
    """'01-03,7' -> 01 02 03 7: the first number of a range says how many digits all have."""
    numbers = []
    for part in ranges.split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        first, last = found.groups() if found else ("1", "0")
        last = last or first
        if int(last) < int(first):
            raise UserError(f"Slurm's node list {text!r} has the range {part!r}, which is none")
        numbers += [f"{n:0{len(first)}}" for n in range(int(first), int(last) + 1)]
    return numbers


def _slurm_devices(environment: Mapping[str, str]) -> tuple[int, ...] | None:
    """The GPUs of one of several tasks on a node: its share of those it sees; None: all that it sees.

    Without CUDA_VISIBLE_DEVICES each task takes one GPU, as JAX itself does.
    """
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE", "1")
    counts = re.findall(r"(\d+)(?:\(x(\d+)\))?", tasks)  # '8(x2),3' -> 8 8 3
    counts = [int(n) for n, times in counts for _ in range(int(times or 1))]
    here = counts[min(int(environment.get("SLURM_NODEID", "0")), len(counts) - 1)]
    if here == 1:
        return None
    local = int(environment.get("SLURM_LOCALID", "0"))
    seen = [gpu for gpu in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    if not seen:
        return (local,)
    if len(seen) < max(here, int(environment.get("SLURM_GPUS_ON_NODE", "0"))):
        return None  # Slurm has bound each task to its own
    share = len(seen) // here
    return tuple(range(local * share, (local + 1) * share))


def tpu_pod(environment: Mapping[str, str]) -> Place | None:
    """The place among a TPU pod's workers, as Kubernetes gives it; None where the variables are not set.

    Several slices (MEGASCALE_*) follow each other. Source: JAX's `GkeTpuCluster`.
    """
    workers = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES")
    index = environment.get("TPU_WORKER_ID")
    if not workers or index is None:
        return None
    hosts = [split_address(worker.strip())[0] for worker in workers.split(",")]
    slices = int(environment.get("MEGASCALE_NUM_SLICES") or 1)
    number = int(environment.get("MEGASCALE_SLICE_ID") or 0)
    first = environment.get("MEGASCALE_COORDINATOR_ADDRESS")
    host = split_address(first)[0] if first else hosts[0]
    port = int(environment.get(_PORT_VARIABLE) or _TPU_PORT)
    return Place(host, port, len(hosts) * slices, number * len(hosts) + int(index), _PORT_VARIABLE)


def _as_jax_sees_it(timeout: int) -> Place | None:
    """The place that JAX's own detection finds: a TPU VM's metadata, Open MPI, Kubernetes.

    JAX has no public way to ask; where a version of it answers differently, None leaves all to it.
    """
    try:
        from jax._src.clusters import ClusterEnv

        detect_unset = ClusterEnv.auto_detect_unset_distributed_params
    except (ImportError, AttributeError):
        return None
    try:
        host, count, index, devices = detect_unset(None, None, None, None, None, timeout)
    except (OSError, RuntimeError) as error:  # what should answer does not
        raise UserError(f"--coordinator_address=auto: {_NO_CLUSTER} ({error})") from error
    if host is None or count is None or index is None:
        raise UserError(f"--coordinator_address=auto: {_NO_CLUSTER}")
    name, _, port = host.rpartition(":")
    devices = None if devices is None else tuple(devices)
    return Place(name.strip("[]"), int(port), int(count), int(index), _PORT_VARIABLE, devices)
