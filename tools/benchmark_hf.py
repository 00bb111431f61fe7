"""The peer of the training benchmark: the same model in Hugging Face transformers, as its users would make it fast.

torch.compile of model and loss, SDPA attention, fused AdamW with Megatron's decay groups, clipping by the global norm,
float32 parameters, and autocast where ours computes in bfloat16.
"""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.errors import UserError  # noqa: E402
from tools.benchmark_job import Job  # noqa: E402
from tools.benchmark_machine import versions  # noqa: E402
from tools.benchmark_process import forget_peak, peak_resident_bytes, serve, step_seconds  # noqa: E402


class HuggingFace:
    """A transformers model with its optimizer, compiled by a first forward and backward pass without an update."""

    def __init__(self, options: dict[str, Any]):
        try:
            import torch
            from transformers import AutoModelForCausalLM
        except ImportError as error:
            raise UserError(f"the peer needs the package {error.name}; install the extra `dev`, or give --no_peer") from None  # fmt: skip
        self.job = Job.read(Path(options["directory"]) / "job.json")
        torch.manual_seed(self.job.seed)
        torch.set_num_threads(options["threads"])
        torch.set_float32_matmul_precision("high")  # TF32 for float32 products on a GPU, as XLA
        self.device = "cuda" if self.job.platform == "gpu" else "cpu"
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UserError("JAX has a GPU here and torch has none; install a torch with CUDA, or give --no_peer")  # fmt: skip
        self.torch = torch
        self.model = AutoModelForCausalLM.from_pretrained(
            self.job.directory, dtype=torch.float32, attn_implementation="sdpa"
        ).to(self.device)
        self.model.train()
        if self.job.checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        self.optimizer = self._optimizer()
        self.finished = 0
        self.loss = self._mean_loss
        if options["compile_mode"] != "none":
            self.loss = torch.compile(self._mean_loss, mode=options["compile_mode"])
        start = time.perf_counter()
        self._gradients(self._batch(0))
        self._wait()
        self.optimizer.zero_grad()
        self.first_pass_seconds = time.perf_counter() - start
        self.before_steps = self._peak_memory()
        if self.device == "cpu":
            forget_peak()

    def _optimizer(self):
        job, parameters = self.job, list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": job.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        return self.torch.optim.AdamW(
            groups, lr=0.0, betas=(job.beta1, job.beta2), eps=job.epsilon, fused=True
        )

    def _mean_loss(self, tokens, targets):
        torch = self.torch
        mixed = contextlib.nullcontext()
        if self.job.dtype == "bfloat16":
            mixed = torch.autocast(self.device, dtype=torch.bfloat16)
        with mixed:
            logits = self.model(input_ids=tokens, use_cache=False).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())

    def _gradients(self, batch):
        """Adds the gradient of the mean loss of a batch to the parameters' and returns the loss."""
        parts = self.job.accumulation
        total = 0.0
        for tokens, targets in zip(*(x.chunk(parts) for x in batch), strict=True):
            loss = self.loss(tokens, targets) / parts
            loss.backward()
            total = total + loss.detach()
        return total

    def describe(self) -> dict[str, Any]:
        implementation = self.model.config._attn_implementation
        return {
            "class": type(self.model).__name__,
            "attention": implementation,
            "optimizer": "torch.optim.AdamW(fused=True)",
            "versions": versions("torch", "transformers"),
            "compile_seconds": self.first_pass_seconds,
            "memory": {"peak_before_steps_bytes": self.before_steps},
        }

    def run(self, steps: int) -> dict[str, Any]:
        torch = self.torch
        batches = [
            (step, self._batch(step)) for step in range(self.finished, self.finished + steps)
        ]
        self._wait()
        losses = []

        def start(numbered):
            step, batch = numbered
            losses.append(self._gradients(batch))
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.job.clip_norm)
            for group in self.optimizer.param_groups:
                group["lr"] = self.job.learning_rates[step]
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            return self._mark()

        # On CPU a step has ended when it returns; a GPU has it queued.
        finish = None if self.device == "cpu" else lambda mark: mark.synchronize()
        seconds = step_seconds(start, finish, batches)
        self.finished += steps
        return {
            "seconds": seconds,
            "losses": [float(loss) for loss in losses],
            "peak_memory_bytes": self._peak_memory(),
        }

    def _mark(self):
        """The end of a step in the GPU's queue."""
        if self.device == "cpu":
            return None
        event = self.torch.cuda.Event()
        event.record()
        return event

    def _batch(self, step: int):
        # A copy: torch wants arrays that it may write to.
        return [
            self.torch.from_numpy(x.astype("int64")).to(self.device) for x in self.job.batch(step)
        ]

    def _wait(self) -> None:
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def _peak_memory(self) -> int:
        if self.device == "cpu":
            return peak_resident_bytes()
        return self.torch.cuda.max_memory_allocated()


if __name__ == "__main__":
    serve(HuggingFace)
