"""The tuning benchmark: passes over the same examples, packed and padded, tuning in full and by LoRA, and the peer's.

Each way of tuning is a process of its own; they pass over the examples in turn. The peer is Hugging Face transformers,
with peft for LoRA, on the padded batches that ours has, from the same weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
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
from tools.benchmark_hf import HuggingFace  # noqa: E402
from tools.benchmark_machine import machine, versions  # noqa: E402
from tools.benchmark_ours import Ours  # noqa: E402
from tools.benchmark_process import SideProcess, forget_peak, serve  # noqa: E402
from tools.benchmark_train import KEEP_FREED_MEMORY  # noqa: E402
from tools.train_arguments import train_arguments  # noqa: E402

# (whose, what is trained, rows): packed rows are nothing that the peer has.
_OURS = [("ours", tuning, rows) for tuning in ("full", "lora") for rows in ("packed", "padded")]
_PEERS = [("hf", tuning, "padded") for tuning in ("full", "lora")]
# Tokens of a prompt and of a response in examples made here: medians as parts of a row, and spreads (log-normal).
_PROMPT, _RESPONSE = (1 / 10, 0.7), (1 / 16, 0.9)
_ROWS = ("tokens", "targets", "loss_weights", "segment_ids", "positions")


def measure_sft(options: argparse.Namespace, gin_flags: list[str]) -> dict[str, Any]:
    """Times whole passes over some examples by each way of tuning.

    Args:
      options: the flags of `tools/benchmark.py sft`. gin_flags: those of `llmjp_jax.train`.

    Returns:
      Speeds under the names that docs/benchmarks.md explains.

    Raises:
      UserError: a mistake in the flags, or a configuration that is not for tuning or that the peer cannot compute.
    """
    moment = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    surroundings = machine(options.threads)
    names = _OURS if options.no_peer else _OURS + _PEERS
    with tempfile.TemporaryDirectory(prefix="benchmark") as directory:
        counts = _write_batches(options, gin_flags, Path(directory))
        descriptions, turns = _measured(options, gin_flags, directory, names, counts)
    report = {
        "benchmark": "sft",
        "date": moment,
        "commit": options.commit or git_commit(),
        "machine": surroundings,
        "configuration": descriptions["ours lora padded"].pop("configuration"),
        "examples": counts.pop("examples"),
        "rows": counts,
        "rounds": options.rounds,
    }
    for whose, tuning, rows in names:
        name = f"{whose} {tuning} {rows}"
        descriptions[name].pop("configuration", None)
        report[name] = descriptions[name] | _summary(counts[rows], turns[name])
    report["comparison"] = _comparison(report, turns, not options.no_peer)
    return report


def _write_batches(options: argparse.Namespace, gin_flags: list[str], directory: Path) -> dict:
    """Writes the batches of an epoch, packed and padded, for all sides; returns what they hold."""
    from llmjp_jax.inputs import Examples, Source

    keywords = train_arguments(gin_flags)
    config = keywords.get("examples")
    if config is None or keywords.get("objective") is not None:
        raise UserError("this times SFT; give gin_configs/runs/sft.gin or a file that includes it")
    if keywords.get("accumulation", 1) != 1:
        raise UserError("training.train.accumulation must be 1 here: batches of short rows are small")  # fmt: skip
    length, found = keywords["sequence_length"], {}
    store = _random_store(directory / "examples", options.examples, length, keywords["model"].vocab_size)  # fmt: skip
    for rows in ("packed", "padded"):
        packing = rows == "packed"
        chosen = dataclasses.replace(config, packing=packing, train_files=None,
                                     buckets=None if packing else config.buckets)  # fmt: skip
        examples = Examples(
            sources=(Source("examples", 1, store),), sequence_length=length,
            batch_size=keywords["batch_size"], config=chosen,
        )  # fmt: skip
        batches = [examples.batch(step) for step in range(examples.steps_per_epoch())]
        arrays = {f"{number} {field}": batch[field] for number, batch in enumerate(batches) for field in _ROWS}  # fmt: skip
        np.savez(directory / f"{rows}.npz", **arrays)
        found[rows] = {
            "steps": len(batches),
            "lengths": sorted({batch["tokens"].shape[1] for batch in batches}),
            "slots": sum(batch["tokens"].size for batch in batches),
            "tokens": int(sum((batch["segment_ids"] > 0).sum() for batch in batches)),
            "loss_tokens": int(sum(batch["loss_weights"].sum() for batch in batches)),
            "density": examples.density,
            "share_of_loss": examples.share_of_loss,
        }
    found["examples"] = {"count": len(examples), "longest": examples.longest, "made_of": "random ids"}  # fmt: skip
    return found


def _random_store(prefix: Path, count: int, length: int, vocab_size: int):
    """Examples of random ids, as many prompts and responses of each size as instructions have."""
    from llmjp_jax.inputs import TokenStore, TokenStoreWriter

    random = np.random.default_rng(0)
    writer = TokenStoreWriter(prefix, np.int32, masked=True)
    sizes = [
        np.clip(length * median * random.lognormal(0, spread, count), 2, length // 2).astype(int)
        for median, spread in (_PROMPT, _RESPONSE)
    ]
    for prompt, response in zip(*sizes, strict=True):
        ids = random.integers(8, vocab_size, prompt + response)
        writer.add(ids, mask=np.repeat([0, 1], [prompt, response]).astype(np.uint8))
    writer.commit({"kind": "examples", "documents": writer.documents, "tokens": writer.tokens,
                   "sha256": writer.sha256(), "mask_sha256": writer.sha256(".mask")})  # fmt: skip
    return TokenStore(prefix)


def _measured(options, gin_flags, directory: str, names, counts):
    """Each side's description, with the losses of its first pass, and its timed passes, by its name."""
    sides: dict[str, SideProcess] = {}
    turns: dict[str, list[dict]] = {" ".join(name): [] for name in names}
    steps = {" ".join(name): counts[name[2]]["steps"] for name in names}
    common = {"threads": options.threads, "directory": directory, "gin_flags": gin_flags,
              "compile_mode": options.compile_mode, "rank": options.rank}  # fmt: skip
    try:
        for whose, tuning, rows in names:
            name = f"{whose} {tuning} {rows}"
            given = common | {"whose": whose, "tuning": tuning, "rows": rows, "peer": not options.no_peer and rows == "padded",
                              "steps": steps[name] * (1 + options.rounds)}  # fmt: skip
            environment = (
                {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} if whose == "ours" else KEEP_FREED_MEMORY
            )
            sides[name] = SideProcess("benchmark_sft.py", given, environment)
            sides[name].description["first_losses"] = sides[name].run(steps[name])["losses"]
        for number in range(options.rounds):
            # Who begins changes from round to round.
            for name in turns if number % 2 == 0 else reversed(turns):
                turns[name].append(sides[name].run(steps[name]))
    finally:
        for side in sides.values():
            side.close()
    return {name: side.description for name, side in sides.items()}, turns


def _summary(rows: dict, turns: list[dict]) -> dict[str, Any]:
    passes = [sum(turn["seconds"]) for turn in turns]
    median = statistics.median(passes)
    return {
        "pass_seconds": {"median": median, "best": min(passes), "of_each_round": passes},
        "processor_seconds": statistics.median(turn["processor_seconds"] for turn in turns) * rows["steps"],
        "tokens_per_second": rows["tokens"] / median,
        "loss_tokens_per_second": rows["loss_tokens"] / median,
        "slots_per_second": rows["slots"] / median,
        "peak_memory_bytes": turns[-1]["peak_memory_bytes"],
        "last_loss": turns[-1]["losses"][-1],
    }  # fmt: skip


def _comparison(report: dict, turns: dict[str, list[dict]], peer: bool) -> dict[str, Any]:
    """Ratios of speed, the first named against the second, by medians, by rounds, and by time of all cores."""

    def ratio(first: str, second: str) -> dict[str, float]:
        a, b = (report[name] for name in (first, second))
        rounds = zip(a["pass_seconds"]["of_each_round"], b["pass_seconds"]["of_each_round"], strict=True)  # fmt: skip
        return {
            "speed": b["pass_seconds"]["median"] / a["pass_seconds"]["median"],
            "speed_median_of_rounds": statistics.median(slow / fast for fast, slow in rounds),
            "speed_of_best_passes": b["pass_seconds"]["best"] / a["pass_seconds"]["best"],
            "processor_seconds": b["processor_seconds"] / a["processor_seconds"],
        }

    found: dict[str, Any] = {
        f"packed to padded, {tuning}": ratio(f"ours {tuning} packed", f"ours {tuning} padded")
        for tuning in ("full", "lora")
    }
    for rows in ("packed", "padded"):
        found[f"lora to full, {rows}"] = ratio(f"ours lora {rows}", f"ours full {rows}")
    for tuning in ("full", "lora") if peer else ():
        theirs = f"hf {tuning} padded"
        for rows in ("padded", "packed"):
            found[f"ours {rows} to hf padded, {tuning}"] = ratio(f"ours {tuning} {rows}", theirs)
        pairs = zip(report[f"ours {tuning} padded"]["first_losses"], report[theirs]["first_losses"], strict=True)  # fmt: skip
        found[f"largest difference of the first pass's losses, {tuning}"] = max(abs(a - b) for a, b in pairs)  # fmt: skip
    return found


def _batches(options: dict[str, Any]) -> list[dict[str, np.ndarray]]:
    """The batches of an epoch that `_write_batches` wrote."""
    with np.load(Path(options["directory"]) / f"{options['rows']}.npz") as file:
        count = len(file.files) // len(_ROWS)
        return [{field: file[f"{number} {field}"] for field in _ROWS} for number in range(count)]


def _lora(model, rank: int):
    """The adapters of the gin files; else LLM-jp's of the model's family, without dropout."""
    from llmjp_jax.models import LoraConfig

    if model.lora is not None:
        return model.lora
    llama = ("query", "key", "value", "output", "gate", "up", "down")
    targets = llama if model.activation == "swiglu" else ("query_key_value", "output", "up", "down")
    return LoraConfig(rank=rank, alpha=4.0 * rank, targets=targets)


class Tuning(Ours):
    """The trainer of one way of tuning, compiled for each length that its rows have."""

    def __init__(self, options: dict[str, Any]):
        keywords = train_arguments(options["gin_flags"])
        import jax

        from llmjp_jax.parallel import MeshConfig, keep_freed_memory, make_mesh
        from llmjp_jax.training import Trainer

        self.keeps_memory = keywords.get("allocator", "system") == "keep"
        if self.keeps_memory:
            keep_freed_memory()
        lora = _lora(keywords["model"], options["rank"]) if options["tuning"] == "lora" else None
        model = dataclasses.replace(keywords["model"], lora=lora)
        fields = {field.name for field in dataclasses.fields(Trainer)} - {"mesh"}
        given = {name: value for name, value in keywords.items() if name in fields}
        given |= {"model": model, "optimizer": keywords["optimizer"].over(options["steps"])}
        given["document_mask"] = options["rows"] == "packed"  # as `train` does
        self.trainer = Trainer(mesh=make_mesh(keywords.get("mesh") or MeshConfig()), **given)
        self.device = self.trainer.mesh.devices.flat[0]
        self.state = self.trainer.initial_state()
        jax.block_until_ready(self.state)
        self.batches = _batches(options)
        directory = Path(options["directory"]) / options["tuning"]
        self.job = self._job(str(directory), options["steps"])
        if options["peer"]:
            self._export(directory)
        start = time.perf_counter()
        self.steps = self._compiled_steps()
        self.compile_seconds = time.perf_counter() - start
        self.finished = 0
        if self.device.platform == "cpu":
            forget_peak()

    def _compiled_steps(self) -> dict[int, Any]:
        """The step for each length of rows."""
        import jax

        steps = {}
        for length in sorted({batch["tokens"].shape[1] for batch in self.batches}):
            shapes = {
                field: jax.ShapeDtypeStruct((array.shape[0], length), array.dtype, sharding=array.sharding)
                for field, array in self.trainer.abstract_batch().items()
            }  # fmt: skip
            steps[length] = self.trainer.step.lower(self.trainer.abstract_state, shapes).compile()
        return steps

    def compiled(self, state, batch):
        """A step by the program for the batch's length."""
        return self.steps[batch["tokens"].shape[1]](state, batch)

    def _export(self, directory: Path) -> None:
        """The initial weights, those of adapters beside them, and the job."""
        from llmjp_jax.checkpoints import save_hf, save_peft
        from llmjp_jax.models import assemble

        trainer = self.trainer
        if trainer.mesh.size > 1:
            raise UserError(f"the peer uses one device, the mesh {trainer.mesh.size}; give --no_peer")  # fmt: skip
        if trainer.z_loss:
            raise UserError(f"train.z_loss = {trainer.z_loss!r} is nothing that the peer computes; give --no_peer")  # fmt: skip
        plain = dataclasses.replace(trainer.model, lora=None)
        base = self.state.frozen if trainer.model.lora else self.state.parameters
        save_hf(assemble(trainer.base_definition, base), plain, directory)
        if trainer.model.lora:
            decoder = assemble(trainer.definition, self.state.weights)
            save_peft(decoder, trainer.model, directory / "adapter", str(directory))
        self.job.write(directory / "job.json")

    def describe(self) -> dict[str, Any]:
        import jax

        from llmjp_jax.models import parameter_count

        trainer = self.trainer
        trained = jax.tree.leaves(self.state.parameters)
        memory = [step.memory_analysis() for step in self.steps.values()]
        return {
            "configuration": {
                "model": dataclasses.asdict(trainer.decoder_config),
                "parameters": parameter_count(dataclasses.replace(trainer.model, lora=None)),
                "batch_size": trainer.batch_size,
                "sequence_length": trainer.sequence_length,
                "device": self.device.device_kind,
                "keeps_freed_memory": self.keeps_memory,
            },
            "trained_parameters": sum(array.size for array in trained),
            "versions": versions("jax", "jaxlib", "flax", "optax", "numpy"),
            "compile_seconds": self.compile_seconds,
            "xla_arguments_bytes": max(one.argument_size_in_bytes for one in memory),
            "xla_temporaries_bytes": max(one.temp_size_in_bytes for one in memory),
        }

    def _batch(self, step: int) -> dict[str, Any]:
        return self.trainer.put(self.batches[step % len(self.batches)])


class TuningPeer(HuggingFace):
    """transformers' model, under peft's adapters where `tuning` is 'lora', on the padded batches.

    It is given no attention mask: to the right of what carries loss, padding changes nothing in causal attention.
    """

    def __init__(self, options: dict[str, Any]):
        self.lora = options["tuning"] == "lora"
        self.batches = _batches(options)
        directory = str(Path(options["directory"]) / options["tuning"])
        super().__init__(options | {"directory": directory})

    def _optimizer(self):
        if self.lora:
            try:
                from peft import PeftModel
            except ImportError:
                raise UserError("the peer needs the package peft; install the extra `dev`, or give --no_peer") from None  # fmt: skip
            adapter = f"{self.job.directory}/adapter"
            self.model = PeftModel.from_pretrained(self.model, adapter, is_trainable=True)
        return super()._optimizer()

    def describe(self) -> dict[str, Any]:
        trained = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        packages = ("torch", "transformers", "peft") if self.lora else ("torch", "transformers")
        return super().describe() | {"trained_parameters": trained, "versions": versions(*packages)}  # fmt: skip

    def _batch(self, step: int):
        batch = self.batches[step % len(self.batches)]
        targets = np.where(batch["loss_weights"] > 0, batch["targets"], -100)
        return [
            self.torch.from_numpy(x.astype("int64")).to(self.device)
            for x in (batch["tokens"], targets)
        ]


if __name__ == "__main__":
    serve(lambda options: (Tuning if options["whose"] == "ours" else TuningPeer)(options))
