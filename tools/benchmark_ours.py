"""Our side of the training benchmark: the compiled step of `llmjp_jax.training`, as gin files describe it."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.errors import UserError  # noqa: E402
from tools.benchmark_job import Job  # noqa: E402
from tools.benchmark_machine import versions  # noqa: E402
from tools.benchmark_process import (  # noqa: E402
    forget_peak,
    peak_resident_bytes,
    serve,
    step_seconds,
)
from tools.train_arguments import train_arguments  # noqa: E402


class Ours:
    """The trainer of one configuration, compiled, with the job that a peer repeats."""

    def __init__(self, options: dict[str, Any]):
        keywords = train_arguments(options["gin_flags"])
        import jax

        from llmjp_jax.parallel import MeshConfig, keep_freed_memory, make_mesh
        from llmjp_jax.training import Trainer

        self.keeps_memory = keywords.get("allocator", "system") == "keep"
        if self.keeps_memory:
            keep_freed_memory()
        fields = {field.name for field in dataclasses.fields(Trainer)} - {"mesh"}
        self.trainer = Trainer(
            mesh=make_mesh(keywords.get("mesh") or MeshConfig()),
            **{name: value for name, value in keywords.items() if name in fields},
        )
        self.device = self.trainer.mesh.devices.flat[0]
        self.state = self.trainer.initial_state()
        jax.block_until_ready(self.state)
        self.job = self._job(options["directory"], options["steps"])
        if options["peer"]:
            self._export(Path(options["directory"]))
        start = time.perf_counter()
        lowered = self.trainer.step.lower(
            self.trainer.abstract_state, self.trainer.abstract_batch()
        )
        self.trace_seconds = time.perf_counter() - start
        start = time.perf_counter()
        self.compiled = lowered.compile()
        self.compile_seconds = time.perf_counter() - start
        self.finished = 0
        self.before_steps = self._peak_memory()
        if self.device.platform == "cpu":
            forget_peak()

    def _job(self, directory: str, steps: int) -> Job:
        import numpy as np

        trainer, optimizer = self.trainer, self.trainer.optimizer
        return Job(
            directory=directory,
            platform=self.device.platform,
            dtype=trainer.model.dtype,
            checkpointing=trainer.model.remat == "full",
            batch_size=trainer.batch_size,
            sequence_length=trainer.sequence_length,
            vocab_size=trainer.model.vocab_size,
            accumulation=trainer.accumulation,
            seed=trainer.seed,
            learning_rates=np.asarray(optimizer.learning_rate_at(np.arange(steps))).tolist(),
            beta1=optimizer.beta1,
            beta2=optimizer.beta2,
            epsilon=optimizer.epsilon,
            weight_decay=optimizer.weight_decay,
            clip_norm=optimizer.clip_norm,
        )

    def _export(self, directory: Path) -> None:
        """The initial weights and the job, for a peer; refuses what the peer would not compute."""
        from llmjp_jax.checkpoints import save_hf
        from llmjp_jax.models import assemble

        trainer = self.trainer
        if trainer.mesh.size > 1:
            raise UserError(
                f"the peer uses one device, the mesh {trainer.mesh.size}; give --no_peer"
            )
        for field in ("z_loss", "document_mask"):
            if getattr(trainer, field):
                raise UserError(
                    f"train.{field} = {getattr(trainer, field)!r} is nothing that the peer computes; give --no_peer"
                )
        decoder = assemble(trainer.definition, self.state.parameters)
        save_hf(decoder, trainer.model, directory, overwrite=True)
        self.job.write(directory / "job.json")

    def describe(self) -> dict[str, Any]:
        from llmjp_jax.models import parameter_count, train_flops_per_token
        from llmjp_jax.parallel import peak_flops

        trainer = self.trainer
        memory = self.compiled.memory_analysis()
        peak = peak_flops(self.device)
        return {
            "configuration": {
                "model": dataclasses.asdict(trainer.decoder_config),
                "parameters": parameter_count(trainer.model),
                "batch_size": trainer.batch_size,
                "sequence_length": trainer.sequence_length,
                "accumulation": trainer.accumulation,
                "mesh": dict(trainer.mesh.shape),
                "keeps_freed_memory": self.keeps_memory,
            },
            "device": {
                "platform": self.device.platform,
                "kind": self.device.device_kind,
                "count": trainer.mesh.size,
                "peak_flops": None if peak is None else peak * trainer.mesh.size,
                "peak_flops_source": "float32 product [1024, 1024] timed on this machine"
                if self.device.platform == "cpu" else "data sheet, dense bfloat16",
            },
            "flops_per_token": {
                kind: train_flops_per_token(
                    trainer.model, trainer.sequence_length, causal=kind == "causal"
                )
                for kind in ("causal", "full")
            },
            "versions": versions("jax", "jaxlib", "flax", "optax", "numpy"),
            "trace_seconds": self.trace_seconds,
            "compile_seconds": self.compile_seconds,
            "memory": {
                "peak_before_steps_bytes": self.before_steps,
                "xla_arguments_bytes": memory.argument_size_in_bytes,
                "xla_temporaries_bytes": memory.temp_size_in_bytes,
                "xla_peak_bytes": memory.peak_memory_in_bytes,
            },
        }  # fmt: skip

    def run(self, steps: int) -> dict[str, Any]:
        import jax

        batches = [self._batch(step) for step in range(self.finished, self.finished + steps)]
        jax.block_until_ready(batches)
        losses = []

        def start(batch):
            self.state, metrics = self.compiled(self.state, batch)
            losses.append(metrics["loss"])
            return metrics["loss"]

        with jax.transfer_guard("disallow"):
            seconds = step_seconds(start, lambda loss: loss.block_until_ready(), batches)
            jax.block_until_ready(self.state)
        self.finished += steps
        return {
            "seconds": seconds,
            "losses": [float(loss) for loss in losses],
            "peak_memory_bytes": self._peak_memory(),
        }

    def _batch(self, step: int) -> dict[str, Any]:
        import numpy as np

        tokens, targets = self.job.batch(step)
        rows = self.trainer.local_rows
        return self.trainer.put({
            "tokens": tokens[rows],
            "targets": targets[rows],
            "loss_weights": np.ones_like(tokens[rows], np.float32),
            "segment_ids": np.ones_like(tokens[rows]),
            "positions": np.broadcast_to(np.arange(tokens.shape[1], dtype=np.int32), tokens[rows].shape),
        })  # fmt: skip

    def _peak_memory(self) -> int | None:
        if self.device.platform == "cpu":
            return peak_resident_bytes()
        statistics = self.device.memory_stats()
        return None if statistics is None else statistics["peak_bytes_in_use"]


if __name__ == "__main__":
    serve(Ours)
