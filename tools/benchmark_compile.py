"""The compilation benchmark: how long the training step takes to trace and to compile as the model gets deeper.

Scanned layers are compared with unrolled ones: what the first saves is what the second pays for each layer.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import time
from typing import Any

from tqdm import tqdm

from llmjp_jax.files import git_commit
from tools.benchmark_machine import machine, versions
from tools.train_arguments import train_arguments


def measure_compile(options: argparse.Namespace, gin_flags: list[str]) -> dict[str, Any]:
    """Traces and compiles the step of a configuration with each of `options.layers` layers, scanned and unrolled.

    No parameter is made, and JAX's compilation cache is left out.

    Raises:
      UserError: a mistake in the flags or files.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    surroundings = machine(options.threads)
    keywords = train_arguments(gin_flags)
    import jax

    from llmjp_jax.parallel import MeshConfig, make_mesh
    from llmjp_jax.training import Trainer

    jax.config.update("jax_enable_compilation_cache", False)
    fields = {field.name for field in dataclasses.fields(Trainer)} - {"mesh"}
    arguments = {name: value for name, value in keywords.items() if name in fields}
    mesh = make_mesh(keywords.get("mesh") or MeshConfig())
    model, results = arguments.pop("model"), []
    cases = [(layers, unroll) for layers in options.layers for unroll in sorted({1, layers})]
    for layers, unroll in tqdm(cases, desc="compilations", leave=False):
        deeper = dataclasses.replace(model, layers=layers, unroll=unroll)
        trainer = Trainer(model=deeper, mesh=mesh, **arguments)
        start = time.perf_counter()
        lowered = trainer.step.lower(trainer.abstract_state, trainer.abstract_batch())
        traced = time.perf_counter()
        compiled = lowered.compile()
        results.append({
            "layers": layers,
            "unroll": unroll,
            "trace_seconds": traced - start,
            "compile_seconds": time.perf_counter() - traced,
            "xla_peak_bytes": compiled.memory_analysis().peak_memory_in_bytes,
        })  # fmt: skip
    return {
        "benchmark": "compile",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": options.commit or git_commit(),
        "machine": surroundings,
        "versions": versions("jax", "jaxlib", "flax", "optax"),
        "device": {"kind": mesh.devices.flat[0].device_kind, "count": mesh.size},
        "model": dataclasses.asdict(model),
        "batch_size": trainer.batch_size,
        "sequence_length": trainer.sequence_length,
        "results": results,
    }
