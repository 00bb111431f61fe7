"""Says which documents a training step saw, and at which steps a document was or will be seen: from the run alone, nothing was logged.

  python tools/trace.py --run=runs/quickstart/model --step=41
  python tools/trace.py --run=runs/quickstart/model --document=quickstart_ja/train/17
  python tools/trace.py --run=runs/quickstart/model --text=answer.txt --index=index --output=answer.html

Steps count from 0: step 41 is the batch that made 41 updates 42, whose loss metrics.jsonl tells as that of step 42. Token ranges
are START:STOP, without STOP. --text shows which parts of a text, such as a model's output, stand in the corpus word for word.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.errors import UserError, exit_on_user_error  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--step", type=int, metavar="N", help="print the documents of this step")
    what.add_argument("--document", metavar="ID", help="print the steps of SUBSET/train/NUMBER")
    what.add_argument("--text", metavar="FILE", help="show what of this text stands in the corpus")
    add(
        "--run",
        metavar="MODEL_DIR",
        help="a training run; --text needs none, and then tells no steps",
    )
    add("--cache_dir", metavar="DIR", help="the run's token stores, where they have moved")
    add(
        "--index",
        metavar="DIR",
        help="an index of the corpus (tools/search_corpus.py): for --text, and for the text and source of --document",
    )
    add("--output", metavar="PAGE.html", help="of --text: write a page in place of printing")
    add("--json", action="store_true", help="of --step and --document: print JSON lines")
    options = parser.parse_args(arguments)
    with exit_on_user_error():
        run(options)


def run(options: argparse.Namespace) -> None:
    if options.text is not None:
        _check(options, needed=("index",), unused=("json",), of="--text")
        _attribute(options)
        return
    of = "--step" if options.step is not None else "--document"
    unused = ("index", "output") if options.step is not None else ("output",)
    _check(options, needed=("run",), unused=unused, of=of)
    trace = _open(options)
    if options.step is not None:
        rows = trace.rows(options.step)
        (_print_rows_json if options.json else _print_rows)(trace, options.step, rows)
    else:
        _document(trace, options)


def _check(
    options: argparse.Namespace, needed: Sequence[str], unused: Sequence[str], of: str
) -> None:
    for name in needed:
        if getattr(options, name) is None:
            raise UserError(f"{of} needs --{name}")
    for name in unused:
        if getattr(options, name):
            raise UserError(f"--{name} is not for {of}; leave it out")


def _open(options: argparse.Namespace):
    from llmjp_jax.search.trace import Trace

    return Trace.open(options.run, cache_dir=options.cache_dir)


def _attribute(options: argparse.Namespace) -> None:
    from llmjp_jax.files import atomic_write
    from llmjp_jax.search import CorpusIndex, highlight
    from llmjp_jax.search.attribution import attribute, read_text

    text = read_text(options.text)
    trace = _open(options) if options.run else None
    with CorpusIndex(options.index) as index:
        found = attribute(text, index, trace=trace)
    if options.output is None:
        print(highlight.terminal(found))
        return
    with atomic_write(Path(options.output), "w") as file:
        file.write(highlight.html(found))
    print(options.output)


# The documents of a step.


def _print_rows(trace, step: int, rows) -> None:
    done = "made" if step < trace.trained_steps else "still to come"
    print(f"step {step:,} of {trace.total_steps:,}, {done}; {len(rows)} rows")
    table = [("row", "epoch", "document", "tokens", "text")]
    for row in rows:
        head = (f"{row.row}", "" if row.epoch is None else f"{row.epoch}")
        if not row.pieces:
            table.append((*head, "(empty: the end of an epoch)", "", ""))
        for piece in row.pieces:
            # The beginning is enough: a character takes at most four tokens, its bytes.
            text = _decoded(trace, piece, 4 * _WIDEST)
            table.append((*head, f"{piece.document}", f"{piece.start}:{piece.stop}", text))
            head = ("", "")
    _print_table(table)


def _print_rows_json(trace, step: int, rows) -> None:
    for row in rows:
        pieces = [
            piece._asdict() | {"document": f"{piece.document}", "text": _decoded(trace, piece)}
            for piece in row.pieces
        ]
        print(json.dumps(row._asdict() | {"pieces": pieces}, ensure_ascii=False))


def _decoded(trace, piece, most: int | None = None) -> str:
    ids = trace.store(piece.document.subset)[piece.document.number][piece.start : piece.stop]
    return trace.vocabulary.decode(ids[:most].tolist())


# The steps of a document.


def _document(trace, options: argparse.Namespace) -> None:
    from llmjp_jax.search import DocumentId
    from llmjp_jax.search.trace import SPLIT, Piece

    document = DocumentId.parse(options.document)
    store = trace.store(document.subset)
    if document.split != SPLIT:
        raise UserError(
            f"{document} is never trained on: a run reads the split {SPLIT} alone; give {document.subset}/{SPLIT}/NUMBER"
        )
    found = trace.seen(document)
    made = sum(seen.step < trace.trained_steps for seen in found)
    if options.json:
        for seen in found:
            state = {"trained": seen.step < trace.trained_steps}
            print(json.dumps({"document": f"{document}"} | seen._asdict() | state))
        return
    length = len(store[document.number])
    print(
        f"{document}: {length:,} tokens; seen {_times(made)} in the {trace.trained_steps:,} steps made, and to be seen "
        f"{_times(len(found) - made)} in the {max(trace.total_steps - trace.trained_steps, 0):,} to come"
    )
    if options.index is None:
        text = _decoded(trace, Piece(document, 0, length, 0), 4 * _WIDEST)
    else:
        text = _indexed(trace, options.index, document)
    print(_cut(_shown(text), _width()))
    if found:
        table = [("step", "row", "epoch", "tokens", "")]
        for seen in found:
            state = "seen" if seen.step < trace.trained_steps else "will be seen"
            tokens = f"{seen.start}:{seen.stop}"
            table.append((f"{seen.step}", f"{seen.row}", f"{seen.epoch}", tokens, state))
        _print_table(table)


def _times(count: int) -> str:
    return f"{count:,} time{'' if count == 1 else 's'}"


def _indexed(trace, folder: str, document) -> str:
    """The document's text in an index, after where it comes from is printed."""
    from llmjp_jax.search import CorpusIndex

    with CorpusIndex(folder) as index:
        trace.check_stores(index.stores)
        known = index.document(document)
    print(f"{_shown(known.source)}  {_shown(known.licence or 'licence unknown')}")
    return known.text


# A table on a terminal.

_WIDEST = 1000  # columns


def _print_table(table: Sequence[tuple[str, ...]]) -> None:
    """Columns as wide as they need to be; the last one is cut to the terminal."""
    widths = [max(_columns(line[number]) for line in table) for number in range(len(table[0]) - 1)]
    room = _width() - sum(widths) - 2 * len(widths)
    for line in table:
        cells = [
            cell + " " * (width - _columns(cell)) for cell, width in zip(line, widths, strict=False)
        ]
        print("  ".join([*cells, _cut(_shown(line[-1]), max(room, 20))]).rstrip())


def _width() -> int:
    return min(shutil.get_terminal_size((120, 24)).columns, _WIDEST)


def _shown(text: str) -> str:
    """A text on one line, with control characters, which could steer the terminal, written out."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def _cut(text: str, columns: int) -> str:
    """As much of a text as has room, with an ellipsis where it is not all."""
    if _columns(text) <= columns:
        return text
    used, kept = 1, []
    for character in text:
        used += _columns(character)
        if used > columns:
            break
        kept.append(character)
    return "".join(kept) + "…"


def _columns(text: str) -> int:
    """The columns that a text takes: two for a wide character, none for a mark over another."""
    return sum(
        0
        if unicodedata.combining(character)
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )


if __name__ == "__main__":
    main()
