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
Any SeqIO Task or Mixture that a module of yours registers:
  python tools/cache_tasks.py --module=my_tasks --mixture_or_task_name=my_mixture --cache_dir=cache

A build that was interrupted goes on where it stopped when the same command is run again.
"""

from __future__ import annotations

import argparse
import glob
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.errors import UserError, exit_on_user_error  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    with exit_on_user_error():
        if options.describe and options.jsonl:
            raise UserError("--describe takes a mixture of data/*.toml, not --jsonl")
        files = _own_files(options)
        if not (options.mixture_or_task_name or files):
            raise UserError(
                "name what to build with --mixture_or_task_name, or give files with --jsonl"
            )
        if options.describe:
            _describe(options)
            return
        if not options.cache_dir:
            raise UserError("say with --cache_dir where the stores are to go")
        if options.weights_only:
            _write_weights(options)
            return
        if not (files or options.module or options.corpora_dir):
            _refuse_without_text(options.mixture_or_task_name)
        # From here on SeqIO, and with it TensorFlow, is needed.
        for name in _register(options, files):
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
        store = TokenStore(prefix)
        print(f"{prefix}: {len(store):,} documents, {store.num_tokens:,} tokens")


def _refuse_without_text(name: str) -> None:
    from llmjp_jax.corpus import load_mixtures

    load_mixtures(name)  # says what is known if this is not
    raise UserError(
        f"{name} is a mixture of data/*.toml: add --corpora_dir=DIR --vocabulary=PATH to tokenise its text (--describe says "
        "which), or --weights_only for stores that are there; a Task of your own needs --module or --jsonl"
    )


def _describe(options: argparse.Namespace) -> None:
    from llmjp_jax.corpus import describe, load_mixtures

    for mixture in load_mixtures(options.mixture_or_task_name):
        print(describe(mixture))


def _write_weights(options: argparse.Namespace) -> None:
    from llmjp_jax.corpus import load_mixtures
    from llmjp_jax.inputs.blends import write_manifest_weights

    for mixture in load_mixtures(options.mixture_or_task_name):
        print(write_manifest_weights(options.cache_dir, mixture))


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
    add("--jsonl", action="append", default=[], metavar="NAME[:SPLIT]=FILE",
        help="registers a Task over a JSONL file; repeat it for more files, Tasks, splits (default: train)")  # fmt: skip
    add("--weight", action="append", default=[], metavar="NAME=INTEGER",
        help="the share of the tokens of a Task given with --jsonl, where there are several")  # fmt: skip
    add(
        "--vocabulary",
        metavar="PATH",
        help="a .model or tokenizer.json, for --corpora_dir and --jsonl",
    )
    add(
        "--splits",
        default="train,validation",
        help="which splits to build, of those a Task has (default: %(default)s)",
    )
    add(
        "--describe",
        action="store_true",
        help="print what a mixture of data/*.toml is made of, and build nothing",
    )
    add(
        "--weights_only",
        action="store_true",
        help="write the shares of a mixture of data/*.toml beside stores that are there already",
    )
    add("--num_threads", type=int, help="threads of the tokenizer (default: every core)")
    add(
        "--overwrite",
        action="store_true",
        help="build again where the vocabulary or the sources have changed",
    )
    return parser


def _own_files(options: argparse.Namespace) -> dict[str, dict[str, list[str]]]:
    """The files given with --jsonl: {Task name: {split: files}}."""
    files: dict[str, dict[str, list[str]]] = {}
    for given in options.jsonl:
        key, separator, path = given.partition("=")
        name, _, split = key.partition(":")
        if not (separator and name and path):
            raise UserError(
                f"--jsonl={given} is not NAME[:SPLIT]=FILE; write for example --jsonl=ja=ja.jsonl"
            )
        if split and split not in options.splits.split(","):
            raise UserError(
                f"--jsonl={given} names the split {split}; --splits builds {options.splits}"
            )
        found = [path] if Path(path).is_file() else sorted(glob.glob(path))  # noqa: PTH207 - also absolute ones
        if not found:
            raise UserError(
                f"there is no file {path}, given with --jsonl={given}; correct the path"
            )
        files.setdefault(name, {}).setdefault(split or "train", []).extend(found)
    if files and options.corpora_dir:
        raise UserError("--jsonl and --corpora_dir are two sources; give one of them")
    if (files or options.corpora_dir) and not options.vocabulary:
        raise UserError("--jsonl and --corpora_dir need --vocabulary: a .model or tokenizer.json")
    return files


def _weights(options: argparse.Namespace, names: Sequence[str]) -> dict[str, int]:
    weights = {}
    for given in options.weight:
        name, _, number = given.partition("=")
        if name not in names or not number.isdecimal() or int(number) == 0:
            raise UserError(
                f"--weight={given} is not NAME=INTEGER with a name given to --jsonl; correct it"
            )
        weights[name] = int(number)
    missing = [name for name in names if name not in weights]
    if missing:
        raise UserError(
            f"give each Task its share of the tokens: --weight={missing[0]}=... is missing"
        )
    return weights


def _register(options: argparse.Namespace, files: dict[str, dict[str, list[str]]]) -> list[str]:
    """Registers what the flags describe, and returns the names to build: several for a mixture in folds."""
    name = options.mixture_or_task_name
    weights = _weights(options, list(files)) if len(files) > 1 else {}
    if weights and (not name or name in files):
        raise UserError("several Tasks become a Mixture: name it with --mixture_or_task_name")
    if len(files) == 1 and name not in (None, *files):
        raise UserError(
            f"--mixture_or_task_name={name} is not the Task of --jsonl; leave it away, or name it alike"
        )
    if options.corpora_dir:
        return _register_corpora(options)
    if files:
        from llmjp_jax.tasks import register_jsonl_task, register_mixture
        from llmjp_jax.tokenizer import load_vocabulary

        vocabulary = load_vocabulary(options.vocabulary)
        for task, splits in files.items():
            register_jsonl_task(task, splits, vocabulary)
        if weights:
            register_mixture(name, weights)
    return [name or next(iter(files))]


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


if __name__ == "__main__":
    main()
