"""Searches the training corpus: what stands in it, in how many documents, how often, from where, and under which licence.

  python tools/search_corpus.py index --index=index --cache_dir=cache --mixture_or_task_name=quickstart --vocabulary=tokenizer.model
  python tools/search_corpus.py query --index=index 図書館
  python tools/search_corpus.py query --index=index --mode=ranked "library opening hours" --subset=quickstart_en
  python tools/search_corpus.py query --index=index --mode=ids "412 87 7"
  python tools/search_corpus.py serve --index=index --run=runs/quickstart/model
Nearest in meaning, by a sentence embedding that lies on this machine (pip install -e '.[dense]'):
  python tools/search_corpus.py dense --index=index --model=LaBSE
  python tools/search_corpus.py query --index=index --mode=near "Where is the library?"
The same index for Quickwit (docs/search.md):
  python tools/search_corpus.py export --index=index --output_dir=quickwit

Modes of a query: text (default), exactly as it is written; ids, token ids in a row; tokens, the ids that the index's vocabulary
gives a text at the beginning of a document; ranked, the documents with its words, the best first; near, the nearest in meaning. An index that was interrupted
goes on where it stopped, and more stores can be added to one, by the same command.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.errors import UserError, exit_on_user_error  # noqa: E402

MODES = ("text", "ids", "tokens", "ranked", "near")


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    with exit_on_user_error():
        options.run_command(options)


def _index(options: argparse.Namespace) -> None:
    from llmjp_jax.search.folder import size_of
    from llmjp_jax.search.indexing import build_index, prefixes_of

    prefixes = dict(_store(flag) for flag in options.store)
    if options.mixture_or_task_name:
        if not options.cache_dir:
            raise UserError(
                "--mixture_or_task_name needs --cache_dir: the folder of its token stores"
            )
        prefixes |= prefixes_of(
            options.cache_dir, options.mixture_or_task_name, options.splits.split(",")
        )
    if not prefixes:
        raise UserError(
            "name what to index with --mixture_or_task_name and --cache_dir, or with --store"
        )
    contents = build_index(
        options.index,
        prefixes,
        options.vocabulary,
        licences=dict(_licence(flag) for flag in options.licence),
        decoded_text=options.decoded_text,
        overwrite=options.overwrite,
        processes=options.processes,
    )
    for store in contents.stores:
        print(
            f"{store.subset}/{store.split}: {store.documents:,} documents, {store.tokens:,} tokens, {store.text_bytes:,} bytes of "
            f"text{' (decoded)' if store.text == 'decoded' else ''}, licence {store.licence_words or 'unknown'}"
        )
    text = sum(store.text_bytes for store in contents.stores)
    size = size_of(Path(options.index))
    print(f"{options.index}: {size / 1e6:,.1f} MB, {size / max(1, text):.1f} times its text")


def _store(flag: str) -> tuple[Path, tuple[str, str] | None]:
    """A store's prefix, and its name if one is given: SUBSET/SPLIT=PREFIX."""
    name, equals, prefix = flag.partition("=")
    if not equals:
        return Path(flag), None
    subset, slash, split = name.rpartition("/")
    if not (subset and slash and split and prefix):
        raise UserError(
            f"--store={flag} is neither PREFIX nor SUBSET/SPLIT=PREFIX; write for example --store=ja/train=cache/ja/train"
        )
    return Path(prefix), (subset, split)


def _licence(flag: str) -> tuple[str, str]:
    name, equals, licence = flag.partition("=")
    if not (name and equals and licence):
        raise UserError(
            f"--licence={flag} is not TASK=LICENCE; write for example --licence=ja=CC-BY-4.0"
        )
    return name, licence


def _query(options: argparse.Namespace) -> None:
    from llmjp_jax.search import CorpusIndex

    text, where = _query_text(options), _where(options)
    if options.limit < 0 or options.offset < 0 or options.context < 0:
        raise UserError("--limit, --offset and --context must be at least 0")
    with CorpusIndex(options.index) as index:
        page = {"where": where, "limit": options.limit, "offset": options.offset}
        if options.mode == "text":
            results = index.find_text(text, context=options.context, **page)
        elif options.mode in ("ids", "tokens"):
            ids = _ids(text) if options.mode == "ids" else index.vocabulary.encode(text)
            results = index.find_tokens(ids, context=options.context, **page)
        elif options.mode == "ranked":
            results = index.rank(text, **page)
        else:
            results = _nearest(index, text, options, where)
    (_print_json if options.json else _print)(results)


def _where(options: argparse.Namespace):
    from llmjp_jax.search import Where

    return Where(tuple(options.subset) or None, tuple(options.split) or None)


def _nearest(index, text: str, options: argparse.Namespace, where):
    from llmjp_jax.search.dense import DenseIndex

    if options.offset:
        raise UserError("--offset is not for --mode=near; give a larger --limit")
    return DenseIndex(index, options.model).nearest(text, where=where, limit=options.limit)


def _query_text(options: argparse.Namespace) -> str:
    if (options.text is None) == (options.file is None):
        raise UserError("give what to look for: one text, or a file of it with --file")
    if options.file is None:
        return options.text
    path = Path(options.file)
    if not path.is_file():
        raise UserError(f"there is no file {path}, given with --file; correct the path")
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 (byte {error.start}); write it anew") from None


def _ids(text: str) -> list[int]:
    words = text.replace(",", " ").split()
    wrong = next((word for word in words if not (word.isascii() and word.isdecimal())), None)
    if wrong is not None:
        raise UserError(
            f"{wrong[:40]!r} is no token id; write whole numbers with spaces between them"
        )
    return [int(word) for word in words]


def _print(results) -> None:
    for (subset, split), counts in results.by_store.items():
        print(f"{subset}/{split}: {_words(counts)}")
    print(f"all: {_words(results.counts)}, {results.seconds * 1000:.1f} ms")
    for hit in results.hits:
        how = f"{hit.score:.3f}" if hit.score is not None else f"{hit.occurrences}x"
        line = f"{hit.before}[{hit.match}]{hit.after}" if hit.match else hit.after
        print(f"\n{hit.document}  {how}  {hit.source}  {hit.licence or 'licence unknown'}")
        print(f"  {_one_line(line)}")


def _words(counts) -> str:
    documents = f"{counts.documents:,} document{'' if counts.documents == 1 else 's'}"
    if not counts.occurrences:
        return documents
    return f"{documents}, {counts.occurrences:,} occurrence{'' if counts.occurrences == 1 else 's'}"


def _one_line(text: str) -> str:
    """A text on one line, with control characters, which could steer the terminal, written out."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def _print_json(results) -> None:
    stores = [
        {"subset": subset, "split": split, **counts._asdict()}
        for (subset, split), counts in results.by_store.items()
    ]
    hits = [vars(hit) | {"document": str(hit.document)} for hit in results.hits]
    content = {
        **results.counts._asdict(),
        "stores": stores,
        "hits": hits,
        "seconds": results.seconds,
    }
    print(json.dumps(content, ensure_ascii=False))


def _serve(options: argparse.Namespace) -> None:
    from llmjp_jax.search import CorpusIndex
    from llmjp_jax.search.web import serve

    trace = None
    if options.run:
        from llmjp_jax.search.trace import Trace

        trace = Trace.open(options.run, cache_dir=options.cache_dir)
    with CorpusIndex(options.index) as index:
        serve(index, options.host, options.port, trace, options.processes)


def _dense(options: argparse.Namespace) -> None:
    from llmjp_jax.search import CorpusIndex
    from llmjp_jax.search.dense import build_dense

    with CorpusIndex(options.index) as index:
        build_dense(
            index,
            options.model,
            where=_where(options),
            passage_tokens=options.passage_tokens,
            batch_size=options.batch_size,
            device=options.device,
            overwrite=options.overwrite,
        )


def _export(options: argparse.Namespace) -> None:
    from llmjp_jax.search import CorpusIndex
    from llmjp_jax.search.quickwit import export

    with CorpusIndex(options.index) as index:
        for path in export(index, options.output_dir, where=_where(options)):
            print(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run, what: str):
        added = commands.add_parser(name, help=what, description=what, allow_abbrev=False)
        added.set_defaults(run_command=run)
        added.add_argument("--index", required=True, metavar="DIR", help="the folder of the index")
        return added.add_argument

    add = command("index", _index, "make an index of token stores, or add stores to one")
    add("--mixture_or_task_name", action="append", default=[], metavar="NAME", help="all stores of a Task or Mixture; repeatable")  # fmt: skip
    add("--cache_dir", metavar="DIR", help="where these lie")
    add("--splits", default="train,validation", help="which of their splits (default: %(default)s)")
    add("--store", action="append", default=[], metavar="[SUBSET/SPLIT=]PREFIX", help="a single store, .../TASK/SPLIT without .bin, under another name if one is given; repeatable")  # fmt: skip
    add("--vocabulary", required=True, metavar="PATH", help="the vocabulary of the stores")
    add("--licence", action="append", default=[], metavar="TASK=LICENCE", help="the licence of a Task of your own; repeatable")  # fmt: skip
    add(
        "--decoded_text",
        action="store_true",
        help="index what the ids decode to, not the source files' text",
    )
    add("--processes", type=int, metavar="N", help="that work at a time (default: every core)")
    add("--overwrite", action="store_true", help="index a store that has changed again")

    add = command("query", _query, "look for something")
    add("text", nargs="?", metavar="TEXT", help="what to look for")
    add("--file", metavar="FILE", help="what to look for, as the whole content of a file")
    add("--mode", choices=MODES, default="text", help="how (default: %(default)s)")
    _store_flags(add)
    add("--model", metavar="DIR", help="of --mode=near, where the model has moved since")
    add(
        "--limit",
        type=int,
        default=10,
        metavar="N",
        help="documents that are shown (default: %(default)s)",
    )
    add(
        "--offset",
        type=int,
        default=0,
        metavar="N",
        help="documents that are passed over before (default: 0)",
    )
    add("--context", type=int, default=60, metavar="N", help="characters, or tokens, around a hit (default: %(default)s)")  # fmt: skip
    add("--json", action="store_true", help="print one JSON object")

    add = command(
        "serve", _serve, "search in a browser, on this machine alone unless --host says otherwise"
    )
    add("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    add("--port", type=int, default=8000, help="(default: %(default)s; 0: any that is free)")
    add(
        "--run",
        metavar="MODEL_DIR",
        help="a training run, to show at which steps a document is seen",
    )
    add("--cache_dir", metavar="DIR", help="the run's token stores, where they have moved")

    add("--processes", type=int, metavar="N", help="that answer (default: every core, at most 8)")

    add = command("dense", _dense, "embed the documents, for queries by meaning")
    add("--model", required=True, metavar="DIR", help="a sentence-embedding model on this machine")
    _store_flags(add)
    add("--passage_tokens", type=int, default=128, metavar="N", help="of the model, that a passage has at most (default: %(default)s)")  # fmt: skip
    add("--batch_size", type=int, default=32, metavar="N", help="passages embedded together (default: %(default)s)")  # fmt: skip
    add("--device", metavar="NAME", help="such as cuda (default: the fastest there is)")
    add("--overwrite", action="store_true", help="replace the vectors of another model")

    add = command("export", _export, "write the index as documents that Quickwit reads")
    add("--output_dir", required=True, metavar="DIR", help="gets the index's configuration and the documents")  # fmt: skip
    _store_flags(add)
    return parser


def _store_flags(add) -> None:
    add("--subset", action="append", default=[], metavar="NAME", help="only this Task; repeatable")
    add("--split", action="append", default=[], metavar="NAME", help="only this split; repeatable")


if __name__ == "__main__":
    main()
