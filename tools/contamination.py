"""Looks up how much of an evaluation stands in a training corpus word for word, so that its report can say so.

    python tools/contamination.py --index=index --scores=runs/eval
    python tools/contamination.py --index=index --data_dir=evaluation --split=test --output=contamination.json

With --scores, the items that a run was asked: RUN gets contamination.json, and tools/report.py shows it beside the scores. With
--data_dir alone, all items of a data folder. INDEX is made with tools/search_corpus.py index.

Units are token ids of the index's vocabulary, and characters where a text is Japanese. A unit is covered when it lies in an n-gram that
stands verbatim in one document. An item is clean below 20 % covered and dirty from 80 % on, as in Touvron et al. 2023 (Llama 2).
"""

from __future__ import annotations

import argparse
import sys
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
    add("--index", required=True, metavar="INDEX", help="the corpus's index")
    add("--scores", metavar="RUN", help="the folder that an evaluation wrote")
    add("--data_dir", metavar="DIR", help="the folder of tools/prepare_evaluation.py; with --scores, the run's own: its answers are read there as they are written")  # fmt: skip
    add("--tasks", metavar="NAMES", help="of the data folder, such as jnli,jsem (default: all that it has)")  # fmt: skip
    add("--split", metavar="SPLIT", help="of the data folder: train, dev or test (default: test)")
    add("--samples", type=int, metavar="N", help="the first items of each task (default: all)")
    add("--output", metavar="FILE", help="(default: RUN/contamination.json)")
    add("--subsets", metavar="NAMES", help="subsets of the index to look into (default: all)")
    add("--splits", default="train", metavar="NAMES", help="splits to look into (default: train)")
    add("--n", type=int, default=13, metavar="N", help="tokens of an n-gram (default: 13)")
    add("--n_characters", type=int, metavar="N", help="characters of an n-gram, of Japanese text (default: as --n)")  # fmt: skip
    add("--fewest", type=int, default=8, metavar="N", help="units of a text; shorter ones are not judged (default: 8)")  # fmt: skip
    add("--clean_below", type=float, default=0.2, metavar="SHARE", help="(default: 0.2)")
    add("--dirty_from", type=float, default=0.8, metavar="SHARE", help="(default: 0.8)")
    add("--documents", type=int, default=3, metavar="N", help="that are named of each item (default: 3)")  # fmt: skip
    add("--threads", type=int, default=4, metavar="N", help="items looked up at once (default: 4)")
    options = parser.parse_args(arguments)
    with exit_on_user_error():
        run(options)


def run(options: argparse.Namespace) -> None:
    _check(options)

    import dataclasses

    from llmjp_jax.evaluation.report.contamination import FILE, read_contamination
    from llmjp_jax.evaluation.report.runs import read_runs
    from llmjp_jax.evaluation.results import write_json
    from llmjp_jax.search import CorpusIndex, Where
    from llmjp_jax.search.contamination import Limits
    from llmjp_jax.search.contamination_record import contamination_record, table
    from llmjp_jax.search.evaluated_items import items_of_folder, items_of_run

    n_characters = options.n if options.n_characters is None else options.n_characters
    limits = Limits(n=options.n, n_characters=n_characters, fewest=options.fewest, clean_below=options.clean_below, dirty_from=options.dirty_from)  # fmt: skip
    where = Where(subsets=_names(options.subsets), splits=_names(options.splits))
    data_dir = Path(options.data_dir) if options.data_dir else None
    scored, output = None, Path(options.output) if options.output else None
    if options.scores:
        folder = Path(options.scores)
        if folder.is_file():
            raise UserError(f"--scores={folder} is a file; give the folder that the evaluation wrote")  # fmt: skip
        (scored,) = read_runs([folder])
        tasks = items_of_run(scored, data_dir)
        output = output or folder / FILE
    else:
        tasks = items_of_folder(data_dir, list(_names(options.tasks) or ["present"]), options.split or "test", options.samples)  # fmt: skip
    with CorpusIndex(options.index) as index:
        record = contamination_record(index, tasks, limits=limits, where=where, documents=options.documents, threads=options.threads)  # fmt: skip
    write_json(output, record)
    if scored is not None:
        scored = dataclasses.replace(scored, contamination=read_contamination(output))
    print(table(record, scored))
    print(output)


def _check(options: argparse.Namespace) -> None:
    if not options.scores and not options.data_dir:
        raise UserError("name what was evaluated: --scores, the folder of a run, or --data_dir, a data folder")  # fmt: skip
    if not options.scores and not options.output:
        raise UserError("--data_dir needs --output: the file to write, such as contamination.json")
    if options.scores:
        for name in ("tasks", "split", "samples"):
            if getattr(options, name) is not None:
                raise UserError(f"--{name} chooses from a data folder, and the items of --scores are those that the run was asked; leave it out")  # fmt: skip


def _names(given: str | None) -> tuple[str, ...] | None:
    names = tuple(name.strip() for name in (given or "").split(",") if name.strip())
    return names or None


if __name__ == "__main__":
    main()
