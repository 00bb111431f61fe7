"""The decoding benchmark: greedy answers to prompts that begin alike, or do not, by ours and by transformers' `generate`.

Each side is a process of its own with the same weights and prompts; they answer all prompts in turn. The peer gets its
keys and values of the shared beginning both ways: computed anew with every prompt, as `generate` does, and once for all
prompts, copied for each batch (`past_key_values`). Nothing ends early: each prompt gets as many new tokens.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.errors import UserError  # noqa: E402
from llmjp_jax.files import git_commit  # noqa: E402
from tools.benchmark_machine import machine, versions  # noqa: E402
from tools.benchmark_process import SideProcess, forget_peak, peak_resident_bytes, serve  # noqa: E402
from tools.benchmark_train import KEEP_FREED_MEMORY  # noqa: E402

_COMMON = {"vocab_size": 32000, "layers": 6, "embed": 512, "heads": 8, "max_length": 2048}
SHAPES = {
    "gpt2": {"position": "learned", "norm": "layernorm", "activation": "gelu_tanh", "bias": True,
             "tied_embeddings": True, "mlp": 2048, **_COMMON},
    "llama": {"position": "rope", "norm": "rmsnorm", "activation": "swiglu", "bias": False,
              "tied_embeddings": False, "kv_heads": 4, "mlp": 1376, **_COMMON},
}  # fmt: skip


def measure_decode(options: argparse.Namespace) -> dict[str, Any]:
    """Times answers to the same prompts by each side.

    Args:
      options: the flags of `tools/benchmark.py decode`.

    Returns:
      Speeds under the names that docs/benchmarks.md explains.

    Raises:
      UserError: a mistake in the flags, or answers that differ.
    """
    moment = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    surroundings = machine(options.threads)
    if options.shared >= options.prompt:
        raise UserError(f"--shared={options.shared} must be below --prompt={options.prompt}")
    longest = _COMMON["max_length"]
    if options.prompt + options.new > longest:
        raise UserError(f"--prompt={options.prompt} and --new={options.new} exceed {longest} together")  # fmt: skip
    ways = ["ours"] if options.no_peer else ["ours", "hf"]
    if options.shared and not options.no_peer:
        ways.append("hf with the prefix kept")
    with tempfile.TemporaryDirectory(prefix="benchmark") as directory:
        _write(options, Path(directory))
        descriptions, turns = _measured(options, directory, ways)
    report = {
        "benchmark": "decode",
        "date": moment,
        "commit": options.commit or git_commit(),
        "machine": surroundings,
        "configuration": {"model": {"name": options.model, **SHAPES[options.model]}, **{
            name: getattr(options, name) for name in ("prompts", "batch_size", "prompt", "shared", "new", "rounds")
        }},
    }  # fmt: skip
    for way in ways:
        report[way] = descriptions[way] | _summary(options, turns[way])
    report["comparison"] = {way: _ratios(report["ours"], report[way]) for way in ways[1:]}
    for way in ways[1:]:
        pairs = list(zip(turns["ours"][0]["answers"], turns[way][0]["answers"], strict=True))
        report["comparison"][way]["equal_answers"] = sum(a == b for a, b in pairs) / len(pairs)
    return report


def _write(options: argparse.Namespace, directory: Path) -> None:
    """Weights as Hugging Face's files, and the prompts."""
    from llmjp_jax.checkpoints import save_hf
    from llmjp_jax.models import Decoder, ModelConfig

    # A wide initialisation: the likeliest token is clear, so that rounding does not decide.
    config = ModelConfig(**SHAPES[options.model], initializer_std=0.05)
    save_hf(Decoder(config), config, directory)
    random = np.random.default_rng(0)
    before = random.integers(8, config.vocab_size, options.shared).tolist()
    own = random.integers(8, config.vocab_size, (options.prompts, options.prompt - options.shared)).tolist()  # fmt: skip
    (directory / "prompts.json").write_text(json.dumps([before + tokens for tokens in own]))


def _measured(options, directory: str, ways: list[str]):
    """Each side's description, with its first pass's time, and its timed passes, by its name."""
    sides: dict[str, SideProcess] = {}
    turns: dict[str, list[dict]] = {way: [] for way in ways}
    given = {name: getattr(options, name) for name in ("threads", "batch_size", "shared", "new")}
    try:
        for way in ways:
            environment = {} if way == "ours" else KEEP_FREED_MEMORY
            sides[way] = SideProcess("benchmark_decode.py", given | {"way": way, "directory": directory}, environment)  # fmt: skip
            sides[way].description["first_pass_seconds"] = sides[way].run(1)["seconds"][0]
        for number in range(options.rounds):
            # Who begins changes from round to round.
            for way in ways if number % 2 == 0 else reversed(ways):
                turns[way].append(sides[way].run(1))
    finally:
        for side in sides.values():
            side.close()
    return {way: side.description for way, side in sides.items()}, turns


def _summary(options: argparse.Namespace, turns: list[dict]) -> dict[str, Any]:
    seconds = [turn["seconds"][0] for turn in turns]
    processor = [turn["processor_seconds"] for turn in turns]
    return {
        "pass_seconds": {"median": statistics.median(seconds), "best": min(seconds), "of_each_round": seconds},
        "processor_seconds": {"median": statistics.median(processor), "best": min(processor), "of_each_round": processor},
        "prompts_per_second": options.prompts / statistics.median(seconds),
        "peak_memory_bytes": turns[-1]["peak_memory_bytes"],
    }  # fmt: skip


def _ratios(ours: dict, theirs: dict) -> dict[str, float]:
    """How many times as fast ours is, by medians, by rounds, by the best passes and by time of all cores."""
    a, b = ours["pass_seconds"], theirs["pass_seconds"]
    rounds = zip(a["of_each_round"], b["of_each_round"], strict=True)
    return {
        "speed": b["median"] / a["median"],
        "speed_median_of_rounds": statistics.median(slow / fast for fast, slow in rounds),
        "speed_of_best_passes": b["best"] / a["best"],
        "processor_seconds": theirs["processor_seconds"]["median"] / ours["processor_seconds"]["median"],
    }  # fmt: skip


class _Answering:
    """A side: `answers` is what it makes of all prompts; a step is a pass over them."""

    def __init__(self, options: dict[str, Any]):
        self.options = options
        self.prompts = json.loads((Path(options["directory"]) / "prompts.json").read_text())

    def answers(self) -> list[list[int]]:
        raise NotImplementedError

    def run(self, steps: int) -> dict[str, Any]:
        forget_peak()
        seconds = []
        for _ in range(steps):
            start = time.perf_counter()
            answers = self.answers()
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds, "answers": answers, "peak_memory_bytes": peak_resident_bytes()}


class Ours(_Answering):
    """`decoding.generate` over the weights in the directory."""

    def __init__(self, options: dict[str, Any]):
        super().__init__(options)
        from llmjp_jax.checkpoints import load_hf
        from llmjp_jax.decoding import generate

        self.generate, self.model = generate, load_hf(options["directory"])[1]

    def describe(self) -> dict[str, Any]:
        return {"versions": versions("jax", "jaxlib", "flax", "numpy")}

    def answers(self) -> list[list[int]]:
        return self.generate(self.model, self.prompts, max_new_tokens=self.options["new"],
                             batch_size=self.options["batch_size"])  # fmt: skip


class Peer(_Answering):
    """transformers' `generate`, eager, with SDPA and its dynamic cache."""

    def __init__(self, options: dict[str, Any]):
        super().__init__(options)
        try:
            import torch
            import transformers
        except ImportError as error:
            raise UserError(f"the peer needs the package {error.name}; install the extra `dev`, or give --no_peer") from None  # fmt: skip
        torch.set_num_threads(options["threads"])
        self.torch, self.transformers = torch, transformers
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            options["directory"], dtype=torch.float32, attn_implementation="sdpa"
        ).eval()

    def describe(self) -> dict[str, Any]:
        return {"versions": versions("torch", "transformers"), "attention": self.model.config._attn_implementation}  # fmt: skip

    def answers(self) -> list[list[int]]:
        torch, new, size = self.torch, self.options["new"], self.options["batch_size"]
        found: list[list[int]] = []
        with torch.inference_mode():
            kept = self._prefix() if self.options["way"] == "hf with the prefix kept" else None
            for first in range(0, len(self.prompts), size):
                tokens = torch.tensor(self.prompts[first : first + size])
                more = {}
                if kept is not None:
                    more["past_key_values"] = copy.deepcopy(kept)
                    more["past_key_values"].batch_repeat_interleave(len(tokens))
                output = self.model.generate(tokens, attention_mask=torch.ones_like(tokens), do_sample=False, pad_token_id=0,
                                             max_new_tokens=new, min_new_tokens=new, **more)  # fmt: skip
                found += output[:, tokens.shape[1] :].tolist()
        return found

    def _prefix(self):
        """The cache of what all prompts begin with."""
        tokens = self.torch.tensor([self.prompts[0][: self.options["shared"]]])
        cache = self.transformers.DynamicCache(config=self.model.config)
        return self.model(tokens, past_key_values=cache, use_cache=True, logits_to_keep=1).past_key_values  # fmt: skip


if __name__ == "__main__":
    serve(lambda options: (Ours if options["way"] == "ours" else Peer)(options))
