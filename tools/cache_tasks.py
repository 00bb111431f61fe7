"""Builds the token stores that training reads, from the manifests' corpora, SeqIO Tasks or your own JSONL files.

A mixture of data/*.toml (quickstart, corpus_v2, corpus_v1 with its ten folds ...), from DIR/<subset>/{train,validation}*.jsonl:
  python tools/cache_tasks.py --mixture_or_task_name=quickstart --corpora_dir=DIR --vocabulary=tokenizer.model \\
      --cache_dir=cache
What such a mixture is made of, and where its text comes from:
  python tools/cache_tasks.py --mixture_or_task_name=corpus_v2 --describe
Its shares alone, for stores that you have (Megatron's .bin and .idx, at cache/<subset>/train or cache/<subset>/<file>/train):
  python tools/cache_tasks.py --mixture_or_task_name=corpus_v2 --weights_only --cache_dir=cache
Your own text, one {"text": "..."} a line; a quoted pattern as 'train_*.jsonl' names several files:
  python tools/cache_tasks.py --jsonl=ja=ja.jsonl --jsonl=ja:validation=ja_held_out.jsonl --jsonl=en=en.jsonl \\
      --jsonl=en:validation=en_held_out.jsonl --weight=ja=60 --weight=en=40 --mixture_or_task_name=mine --vocabulary=tokenizer.model --cache_dir=cache
What LLM-jp's instruct models were tuned on (data/tuning.toml), from what tools/download.py put into downloads/, and your own
records, each with its number of repeats in an epoch (default: 1):
  python tools/cache_tasks.py --mixture_or_task_name=tuning_v2_ac_16x --downloads_dir=downloads --vocabulary=... --cache_dir=cache
  python tools/cache_tasks.py --instructions=chat=chat.jsonl --instructions=care=care.jsonl --weight=care=16 --template=v1.1 \\
      --mixture_or_task_name=mine --vocabulary=... --cache_dir=cache
  python tools/cache_tasks.py --pairs=likes=likes.jsonl --pairs=likes:validation=held_out.jsonl --template=v1.1 ...
Any SeqIO Task or Mixture that a module of yours registers:
  python tools/cache_tasks.py --module=my_tasks --mixture_or_task_name=my_mixture --cache_dir=cache

A build that was interrupted goes on where it stopped when the same command is run again.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.errors import UserError, exit_on_user_error  # noqa: E402
from tools.cache_arguments import OwnFiles, own_files  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    with exit_on_user_error():
        own = own_files(options)
        if options.describe and own:
            raise UserError(
                "--describe takes a mixture or tuning of data/*.toml, not files of yours"
            )
        if not (options.mixture_or_task_name or own):
            raise UserError(
                "name what to build with --mixture_or_task_name, or give files with --jsonl"
            )
        if options.describe:
            _describe(options.mixture_or_task_name)
            return
        if not options.cache_dir:
            raise UserError("say with --cache_dir where the stores are to go")
        if options.weights_only:
            _write_weights(options)
            return
        if not (own or options.module or options.corpora_dir or options.downloads_dir):
            _refuse_without_text(options.mixture_or_task_name)
        # From here on SeqIO, and with it TensorFlow, is needed.
        for name in _register(options, own):
            _build(name, options)


def _build(name: str, options: argparse.Namespace) -> None:
    from llmjp_jax.inputs.build import cache_task
    from llmjp_jax.inputs.token_store import TokenStore

    prefixes = cache_task(
        name,
        options.cache_dir,
        splits=options.splits.split(","),
        module=options.module,
        num_threads=options.num_threads,
        overwrite=options.overwrite,
    )
    for prefix in prefixes:
        store, manifest = TokenStore(prefix), TokenStore(prefix).manifest
        if "kind" not in manifest:
            print(f"{prefix}: {len(store):,} documents, {store.num_tokens:,} tokens")
            continue
        kept = manifest["records"] - manifest["dropped"]
        dropped = f", {manifest['dropped']:,} without a response left out" if manifest["dropped"] else ""  # fmt: skip
        print(f"{prefix}: {kept:,} {manifest['kind']}{dropped}, {store.num_tokens:,} tokens, template {manifest['template']}")  # fmt: skip


def _is_tuning(name: str) -> bool:
    """Whether a name is a tuning or a set of one, or nearer to these than to any corpus."""
    from llmjp_jax.corpus.mixtures import mixture_names
    from llmjp_jax.corpus.tunings import tuning_names, tuning_set_names

    tunings = [*tuning_names(), *tuning_set_names()]
    if name in tunings:
        return True
    near = difflib.get_close_matches(name, [*tunings, *mixture_names()], 1)
    return bool(near) and near[0] in tunings


def _refuse_without_text(name: str) -> None:
    from llmjp_jax.corpus import load_mixtures
    from llmjp_jax.corpus.tunings import load_tuning

    if _is_tuning(name):
        load_tuning(name)  # says what is known if this is not
        raise UserError(
            f"{name} is of data/tuning.toml: add --downloads_dir=DIR --vocabulary=PATH to tokenise its records (--describe "
            "says which), or --weights_only for stores that are there"
        )
    load_mixtures(name)
    raise UserError(
        f"{name} is a mixture of data/*.toml: add --corpora_dir=DIR --vocabulary=PATH to tokenise its text (--describe says "
        "which), or --weights_only for stores that are there; a Task of your own needs --module or --jsonl"
    )


def _describe(name: str) -> None:
    from llmjp_jax.corpus import describe, load_mixtures
    from llmjp_jax.corpus.tunings import describe_tuning, load_tuning

    if _is_tuning(name):
        print(describe_tuning(load_tuning(name)))
        return
    for mixture in load_mixtures(name):
        print(describe(mixture))


def _write_weights(options: argparse.Namespace) -> None:
    from llmjp_jax.corpus import load_mixtures
    from llmjp_jax.corpus.tunings import load_tuning
    from llmjp_jax.inputs.blends import write_manifest_weights, write_weights

    name = options.mixture_or_task_name
    if _is_tuning(name):
        print(write_weights(options.cache_dir, name, load_tuning(name).repeats))
        return
    for mixture in load_mixtures(name):
        print(write_manifest_weights(options.cache_dir, mixture))


def _is_tuning(name: str) -> bool:
    """Whether a name is that of a tuning, or nearer to one than to a corpus mixture."""
    from llmjp_jax.corpus.mixtures import mixture_names
    from llmjp_jax.corpus.tunings import tuning_names

    near = difflib.get_close_matches(name, [*tuning_names(), *mixture_names()], 1)
    return bool(near) and near[0] in tuning_names()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--mixture_or_task_name", metavar="NAME", help="the Task or Mixture to build")
    add(
        "--cache_dir",
        metavar="DIR",
        help="where stores go: DIR/<task>/<split>.bin, .idx, .json",
    )
    add("--module", help="a module to import first, because it registers Tasks")
    add(
        "--corpora_dir",
        metavar="DIR",
        help="the text of a mixture of data/*.toml: DIR/<subset>/{train,validation}*.jsonl",
    )
    add(
        "--downloads_dir",
        metavar="DIR",
        help="the records of a tuning of data/tuning.toml: what tools/download.py put into DIR/<source>/",
    )
    add("--jsonl", action="append", default=[], metavar="NAME[:SPLIT]=FILE",
        help="registers a Task over a JSONL file; repeat it for more files, Tasks, splits (default: train)")  # fmt: skip
    add("--instructions", action="append", default=[], metavar="NAME[:SPLIT]=FILE",
        help="the same over a file of records with responses to learn")  # fmt: skip
    add("--pairs", action="append", default=[], metavar="NAME[:SPLIT]=FILE",
        help="the same over a file of records with a chosen and a rejected response")  # fmt: skip
    add("--weight", action="append", default=[], metavar="NAME=INTEGER",
        help="the share of the tokens of a Task given with --jsonl, where there are several; how often an epoch reads one "
        "given with --instructions or --pairs (default: 1)")  # fmt: skip
    add("--template", metavar="NAME",
        help="how records are written as text: v1.0, v1.1 or llm_jp_3 (default: that of the tuning)")  # fmt: skip
    add("--bos", action="store_true",
        help="begin every record of your own files with the vocabulary's begin token")  # fmt: skip
    add(
        "--vocabulary",
        metavar="PATH",
        help="a .model or tokenizer.json, for text and records given with flags",
    )
    add(
        "--splits",
        default="train,validation",
        help="which splits to build, of those a Task has (default: %(default)s)",
    )
    add(
        "--describe",
        action="store_true",
        help="print what a mixture or tuning of data/*.toml is made of, and build nothing",
    )
    add(
        "--weights_only",
        action="store_true",
        help="write the shares of a mixture, or the repeats of a tuning, beside stores that are there already",
    )
    add("--num_threads", type=int, help="threads of the tokenizer (default: every core)")
    add(
        "--overwrite",
        action="store_true",
        help="build again where the vocabulary or the sources have changed",
    )
    return parser


def _register(options: argparse.Namespace, own: OwnFiles) -> list[str]:
    """Registers what the flags describe, and returns the names to build: several for a mixture in folds."""
    name = options.mixture_or_task_name
    if options.corpora_dir:
        return _register_corpora(options)
    if options.downloads_dir:
        return [_register_tuning(options)]
    weights = own.weights(options.weight)
    if weights and (not name or name in own.tasks):
        raise UserError("several Tasks become a Mixture: name it with --mixture_or_task_name")
    if len(own.tasks) == 1 and name not in (None, *own.tasks):
        raise UserError(
            f"--mixture_or_task_name={name} is not the Task of --{own.flag}; leave it away, or name it alike"
        )
    if own:
        from llmjp_jax.tasks import (
            register_instruction_task,
            register_jsonl_task,
            register_mixture,
        )
        from llmjp_jax.tokenizer import load_vocabulary

        vocabulary = load_vocabulary(options.vocabulary)
        for task, splits in own.tasks.items():
            if own.kind == "text":
                register_jsonl_task(task, splits, vocabulary)
            else:
                register_instruction_task(task, splits, vocabulary, options.template, kind=own.kind, bos=options.bos)  # fmt: skip
        if weights:
            register_mixture(name, weights)
    return [name or next(iter(own.tasks))]


def _register_corpora(options: argparse.Namespace) -> list[str]:
    """Registers the mixture of the manifests that is named, whole: nothing is built where a subset is missing."""
    from llmjp_jax.corpus import load_mixtures

    if not options.mixture_or_task_name:
        raise UserError("--corpora_dir needs --mixture_or_task_name: a mixture of data/*.toml")
    mixtures = load_mixtures(options.mixture_or_task_name)

    from llmjp_jax.tasks import register_corpora
    from llmjp_jax.tokenizer import load_vocabulary

    vocabulary = load_vocabulary(options.vocabulary)
    return [register_corpora(mixture, options.corpora_dir, vocabulary).name for mixture in mixtures]


def _register_tuning(options: argparse.Namespace) -> str:
    """Registers the tuning that is named, whole, once its records are at CACHE_DIR/<set>/<split>.jsonl."""
    from llmjp_jax.conversations import get_template
    from llmjp_jax.corpus.tunings import load_tuning
    from llmjp_jax.tokenizer import load_vocabulary

    tuning = load_tuning(options.mixture_or_task_name)
    get_template(options.template or tuning.template)
    vocabulary = load_vocabulary(options.vocabulary)
    for found in tuning.sets.values():
        found.files(options.downloads_dir)  # all must be there before the first is written
    files = {name: _prepare(found, options) for name, found in tuning.sets.items()}

    from llmjp_jax.tasks import register_tuning

    return register_tuning(tuning, files, vocabulary, options.template).name


def _prepare(tuning_set, options: argparse.Namespace) -> dict[str, Path]:
    from llmjp_jax.corpus.tuning_records import prepare_tuning_set

    prepared = prepare_tuning_set(
        tuning_set, options.downloads_dir, Path(options.cache_dir) / tuning_set.name
    )
    for split, found in prepared.items():
        if found.left_out:
            print(f"{tuning_set.name} {split}: {len(found.left_out)} records without an answer left out, the first: {found.left_out[0]}")  # fmt: skip
    read = sum(found.records + len(found.left_out) for found in prepared.values())
    held_apart = tuning_set.validation  # of which table 7 does not say whether it counts them
    if tuning_set.examples not in (None, read) and not held_apart:
        print(f"{tuning_set.name}: {read:,} records, where {tuning_set.examples:,} are published")
    return {split: found.path for split, found in prepared.items()}


if __name__ == "__main__":
    main()
