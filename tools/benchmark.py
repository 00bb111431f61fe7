"""Measures speed and prints one JSON object: what ran, on what, how fast, and how fast a peer is on the same machine.

  python tools/benchmark.py train --gin_file=gin_configs/quickstart.gin
  python tools/benchmark.py inputs --batch_size=64 --sequence_length=4096
  python tools/benchmark.py compile --gin_file=gin_configs/quickstart.gin --layers=4,8,16
  python tools/benchmark.py train --gin_file=gin_configs/runs/pretrain.gin --gin_file=gin_configs/models/gpt2_small.gin \\
      --gin_file=gin_configs/hardware/h200.gin --gin.BATCH_SIZE=16 --gin.SEQUENCE_LENGTH=1024 --gin.TRAIN_STEPS=1000 \\
      --output=gpt2_small.json

  python tools/benchmark.py sft --gin_file=gin_configs/quickstart_sft.gin
  python tools/benchmark.py decode --model=gpt2 --batch_size=32
  python tools/benchmark.py corpus
  python tools/benchmark.py corpus_growth --documents=10000,100000,1000000
  python tools/benchmark.py tokenizer --tokenizer=tokenizer.model --inputs train.jsonl
  python tools/benchmark.py search --index=index --clients=8
  python tools/benchmark.py search_growth --index=index --documents=10000,100000,1000000

`train` takes the flags of `python -m llmjp_jax.train` and times its compiled step on random tokens; no data, vocabulary
or MODEL_DIR is needed. The peer is Hugging Face transformers' model of the same shape under torch.compile, with SDPA
and fused AdamW, from the same initial weights on the same batches. `inputs` times batches from a token store, beside a
PyTorch DataLoader over the same store. `compile` times tracing and compilation of the step as layers are added.
`sft` times passes over examples, packed and padded, tuned in full and by LoRA, beside transformers and peft.
`decode` times greedy answers to prompts that share their beginning, beside transformers' `generate`.
`corpus` passes web pages through corpus v1's steps on one core, beside HojiChar's own classes; `corpus_growth` builds whole corpora of growing
size. `tokenizer` times the re-estimation of scores (EM), beside plain Python. `search` asks the server of corpus search for what stands in an
index, beside a look at all of its text; `search_growth` does so with corpora of growing size, and times their indexing.
docs/benchmarks.md has what was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.errors import UserError, exit_on_user_error  # noqa: E402
from llmjp_jax.files import atomic_write  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> None:
    with exit_on_user_error():
        options, gin_flags = _parser().parse_known_args(arguments)
        _check(options, gin_flags)
        text = json.dumps(_measure(options, gin_flags), indent=1)
        if options.output is not None:
            with atomic_write(options.output, "w") as file:
                file.write(text + "\n")
        print(text)


def _check(options: argparse.Namespace, gin_flags: list[str]) -> None:
    for name, value in vars(options).items():
        if type(value) is int and value < (0 if name == "shared" else 1):
            raise UserError(f"--{name}={value} must be at least {0 if name == 'shared' else 1}")
    without_gin = ("inputs", "decode", "corpus_growth", "tokenizer", "search", "search_growth")
    if options.command in without_gin and gin_flags:
        raise UserError(f"unknown flag {gin_flags[0]}; --help lists the flags")
    threads, cores = getattr(options, "threads", 1), len(os.sched_getaffinity(0))
    if threads > cores:
        raise UserError(f"--threads={threads} exceeds the {cores} cores that this process may use")


def _measure(options: argparse.Namespace, gin_flags: list[str]) -> dict:
    if options.command == "train":
        from tools.benchmark_train import measure_train

        return measure_train(options, gin_flags)
    if options.command == "compile":
        from tools.benchmark_compile import measure_compile

        return measure_compile(options, gin_flags)
    if options.command == "sft":
        from tools.benchmark_sft import measure_sft

        return measure_sft(options, gin_flags)
    if options.command == "decode":
        from tools.benchmark_decode import measure_decode

        return measure_decode(options)
    if options.command == "corpus":
        from tools.benchmark_corpus import measure_corpus

        return measure_corpus(options, gin_flags)
    if options.command == "corpus_growth":
        from tools.benchmark_growth import measure_growth

        return measure_growth(options)
    if options.command == "tokenizer":
        from tools.benchmark_tokenizer import measure_tokenizer

        return measure_tokenizer(options)
    if options.command.startswith("search"):
        from tools.benchmark_search import measure_search, measure_search_growth

        return (measure_search if options.command == "search" else measure_search_growth)(options)
    from tools.benchmark_inputs import measure_inputs

    return measure_inputs(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _train_flags(commands)
    _inputs_flags(commands)
    _compile_flags(commands)
    _sft_flags(commands)
    _decode_flags(commands)
    _corpus_flags(commands)
    _tokenizer_flags(commands)
    _search_flags(commands)
    for command in commands.choices.values():
        command.add_argument(
            "--commit", metavar="HASH", help="of the code, where it lies outside a git clone"
        )
        command.add_argument("--output", metavar="FILE", help="also write the JSON here")
    return parser


def _train_flags(commands) -> None:
    train = commands.add_parser(
        "train",
        help="the training step",
        description="Times the training step that gin files describe, and a peer's, in alternating rounds. "
        "All flags of `python -m llmjp_jax.train` are taken too.",
        allow_abbrev=False,
    )
    add = train.add_argument
    add("--rounds", type=int, default=8, metavar="N", help="turns that each side gets (8)")
    add("--steps", type=int, default=5, metavar="N", help="timed steps a turn (5)")
    add("--warmup", type=int, default=5, metavar="N",
        help="untimed first steps, whose losses are printed and compared (5)")  # fmt: skip
    add("--peer", choices=("hf",), default="hf", help="whom to compare with (hf)")
    add("--no_peer", action="store_true", help="measure ours alone")
    add("--one_at_a_time", action="store_true",
        help="the peer after ours, not in turns: where one device cannot hold both")  # fmt: skip
    add("--compile_mode", default="default", metavar="MODE",
        help="of the peer's torch.compile: default, reduce-overhead, max-autotune ...; none: eager")  # fmt: skip
    _threads(add)


def _inputs_flags(commands) -> None:
    inputs = commands.add_parser(
        "inputs",
        help="batches from a token store",
        description="Times batches from a token store, and from a PyTorch DataLoader over the same store, on one core.",
        allow_abbrev=False,
    )
    add = inputs.add_argument
    add("--batch_size", type=int, default=64, metavar="N", help="rows of a batch (64)")
    add("--sequence_length", type=int, default=4096, metavar="N", help="tokens of a row (4096)")
    add("--rounds", type=int, default=8, metavar="N", help="turns that each side gets (8)")
    add("--steps", type=int, default=20, metavar="N", help="batches a turn (20)")
    add("--tokens", type=int, default=50_000_000, metavar="N",
        help="size of the random stores that are made for it (50,000,000)")  # fmt: skip
    add("--cache_dir", metavar="DIR", help="read these stores in place of random ones")
    add("--mixture_or_task_name", metavar="NAME", help="what to read there")
    add("--no_peer", action="store_true", help="measure ours alone")


def _compile_flags(commands) -> None:
    compilation = commands.add_parser(
        "compile",
        help="tracing and compilation of the step",
        description="Times tracing and compilation of the step that gin files describe, as layers are added, scanned "
        "and unrolled. All flags of `python -m llmjp_jax.train` are taken too.",
        allow_abbrev=False,
    )
    add = compilation.add_argument
    add("--layers", type=_whole_numbers, default=(4, 8, 16), metavar="N,...",
        help="numbers of layers (4,8,16)")  # fmt: skip
    _threads(add)


def _sft_flags(commands) -> None:
    sft = commands.add_parser(
        "sft",
        help="tuning on examples",
        description="Times passes over examples made here, packed and padded, tuned in full and by LoRA, and a peer's, in "
        "alternating rounds. All flags of `python -m llmjp_jax.train` are taken too.",
        allow_abbrev=False,
    )
    add = sft.add_argument
    add("--examples", type=int, default=128, metavar="N", help="that a pass has (128)")
    add("--rounds", type=int, default=4, metavar="N", help="timed passes of each side (4)")
    add("--rank", type=int, default=8, metavar="N",
        help="of the adapters, where the gin files have none (8)")  # fmt: skip
    add("--no_peer", action="store_true", help="measure ours alone")
    add("--compile_mode", default="none", metavar="MODE",
        help="of the peer's torch.compile, which compiles each length of rows (none: eager)")  # fmt: skip
    _threads(add)


def _decode_flags(commands) -> None:
    decode = commands.add_parser(
        "decode",
        help="greedy answers to prompts",
        description="Times greedy answers of random models to random prompts, ours and transformers', in alternating rounds.",
        allow_abbrev=False,
    )
    add = decode.add_argument
    add("--model", choices=("gpt2", "llama"), default="gpt2",
        help="the family; 6 layers of width 512, vocabulary 32,000 (gpt2)")  # fmt: skip
    add("--prompts", type=int, default=32, metavar="N", help="how many are answered (32)")
    add("--batch_size", type=int, default=32, metavar="N", help="answered together (32)")
    add("--prompt", type=int, default=1000, metavar="N", help="tokens of each (1000)")
    add("--shared", type=int, default=900, metavar="N", help="of these, which all begin with (900)")
    add("--new", type=int, default=20, metavar="N", help="tokens that each gets (20)")
    add("--rounds", type=int, default=5, metavar="N", help="timed passes of each side (5)")
    add("--no_peer", action="store_true", help="measure ours alone")
    _threads(add)


def _corpus_flags(commands) -> None:
    corpus = commands.add_parser(
        "corpus",
        help="corpus v1's steps for web pages",
        description="Times the steps of `ja_cc` on one core, ours and HojiChar's own classes, in alternating rounds. All flags of "
        "tools/build_corpus.py are taken too.",
        allow_abbrev=False,
    )
    add = corpus.add_argument
    add("--documents", metavar="FILE", help="JSON lines in place of pages made here")
    add("--pages", type=int, default=1000, metavar="N", help="how many (1000)")
    add("--rounds", type=int, default=5, metavar="N", help="turns that each side gets (5)")
    add("--no_peer", action="store_true", help="measure ours alone")
    growth = commands.add_parser(
        "corpus_growth",
        help="whole corpora of growing size",
        description="Builds corpora with one worker, deduplication included, and reports time and memory of each.",
        allow_abbrev=False,
    )
    growth.add_argument("--documents", type=_whole_numbers, default=(10_000, 100_000, 1_000_000), metavar="N,...",
        help="numbers of documents (10000,100000,1000000)")  # fmt: skip


def _tokenizer_flags(commands) -> None:
    tokenizer = commands.add_parser(
        "tokenizer",
        help="re-estimation of a vocabulary's scores",
        description="Times EM over a fixed vocabulary, beside plain Python's forward-backward on a part of the same text.",
        allow_abbrev=False,
    )
    add = tokenizer.add_argument
    add("--tokenizer", required=True, metavar="FILE", help="a .model, whose pieces are scored")
    add("--inputs", nargs="+", required=True, metavar="FILE", help="JSON lines to score them on")
    add("--megabytes", type=float, default=20.0, metavar="MB", help="of text for ours (20)")
    add("--plain_megabytes", type=float, default=0.5, metavar="MB", help="for plain Python (0.5)")
    add("--rounds", type=int, default=3, metavar="N", help="turns that each side gets (3)")
    _threads(add)


def _search_flags(commands) -> None:
    search = commands.add_parser(
        "search",
        help="queries of the training corpus",
        description="Times queries of an index over HTTP, by one client and by several at once, beside a look at all of its text.",
        allow_abbrev=False,
    )
    growth = commands.add_parser(
        "search_growth",
        help="indexes of growing corpora",
        description="Makes corpora of the sentences of an index, indexes each, and times queries of it.",
        allow_abbrev=False,
    )
    growth.add_argument("--documents", type=_whole_numbers, default=(10_000, 100_000, 1_000_000), metavar="N,...",
        help="numbers of documents (10000,100000,1000000)")  # fmt: skip
    for command in (search, growth):
        add = command.add_argument
        add("--index", required=True, metavar="DIR", help="made by tools/search_corpus.py index")
        add("--queries", type=int, default=3000, metavar="N", help="how many are asked (3000)")
        add("--clients", type=int, default=8, metavar="N", help="that ask at a time (8)")
        add("--no_peer", action="store_true", help="measure ours alone")


def _threads(add) -> None:
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), metavar="N",
        help="cores that each side may use, alike (all)")  # fmt: skip


def _whole_numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in text.split(","))
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"{text} has a number below 1")
    return numbers


if __name__ == "__main__":
    main()
