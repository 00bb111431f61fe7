"""Makes llm-jp-eval's own files of the raw data sets: evaluation/{train,dev,test}/TASK.json and tuning/{train,dev,dev_first100}/TASK.json.

    python tools/prepare_evaluation.py --task=all --raw_dir=downloads --output_dir=data/llm_jp_eval --download
    python tools/prepare_evaluation.py --task=jnli,jsquad --raw_dir=downloads --output_dir=data/llm_jp_eval

--task is 'all' (the 23 tasks of llm-jp-eval 1.3.0), 'all-1.4' (with those of 1.4 whose rules are known), or names parted by commas.
Below --raw_dir lies a folder for each data set, as tools/download.py writes them. Where one is missing, the command that fetches it
is named, or with --download run, after its licence was shown. At the end a table says how many samples each split has, and
whether dev is, byte for byte, the official file of llm-jp-eval 1.3.1 and 1.4.1.
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
    add("--task", required=True, help="'all', 'all-1.4', or names parted by commas")
    add("--raw_dir", default="downloads", help="the data sets' folders (default: downloads)")
    add("--output_dir", required=True, help="where evaluation/ and tuning/ go")
    add("--download", action="store_true", help="fetch raw data that is missing into --raw_dir")
    add("--yes", action="store_true", help="with --download: accept licences and sizes")
    add("--manifest", action="append", default=[], help="with --download: a TOML file of yours in place of those in data/")  # fmt: skip
    add("--skip_missing", action="store_true", help="missing raw data is no error, as long as one task is made")  # fmt: skip
    options = parser.parse_args(arguments)
    with exit_on_user_error():
        run(options)


def run(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from llmjp_jax.evaluation.preparation import MissingRawData, prepare_task
    from llmjp_jax.evaluation.task_files import write_task_files
    from llmjp_jax.evaluation.tasks import select_tasks

    tasks = select_tasks([name.strip() for name in options.task.split(",") if name.strip()])
    raw_dir = Path(options.raw_dir)
    if not raw_dir.is_dir() and not options.download:
        raise UserError(f"--raw_dir={raw_dir} is no folder; give the one that holds the data sets, or --download")  # fmt: skip
    rows, missing, failed = [], [], []
    tried: set[str] = set()
    bar = tqdm(tasks, unit=" tasks", disable=len(tasks) < 2, leave=False, mininterval=0.2)
    for task in bar:
        bar.set_description(task.name)
        try:
            try:
                files = prepare_task(task, raw_dir)
            except MissingRawData:
                if not options.download or task.source in tried:
                    raise
                tried.add(task.source)
                fetch(task.source, options, bar)
                files = prepare_task(task, raw_dir)
        except MissingRawData as error:
            missing.append((task.name, str(error)))
            continue
        except UserError as error:
            failed.append((task.name, str(error)))
            continue
        write_task_files(options.output_dir, task.name, files)
        rows.append((task, files))
    print_table(rows)
    conclude(rows, missing, failed, options)


def fetch(source: str, options: argparse.Namespace, bar) -> None:
    """Downloads one source into --raw_dir, as tools/download.py does."""
    from llmjp_jax.corpus.downloads import download
    from llmjp_jax.corpus.sources import find_source, load_sources
    from tools.download import confirmed

    bar.clear()
    download(
        find_source(source, load_sources(options.manifest)),
        options.raw_dir,
        confirm=lambda plan: confirmed(plan, options.yes),
        report=lambda line: print(line, flush=True),
    )


def print_table(rows) -> None:
    """What was made: samples of each split, and how dev compares with the official file."""
    from llmjp_jax.evaluation.task_files import SPLITS

    if not rows:
        return
    cells = [("task", *SPLITS, "official dev file")]
    for task, files in rows:
        counts = [f"{len(files[split].samples):,}" for split in SPLITS]
        cells.append((task.name, *counts, comparison(task, files["dev"])))
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for name, *counts, official in cells:
        numbers = "  ".join(c.rjust(w) for c, w in zip(counts, widths[1:-1], strict=True))
        print(f"{name.ljust(widths[0])}  {numbers}  {official}")


def comparison(task, dev) -> str:
    """`equal`, `differs` or `no official hash`, with the versions it holds for and, where that is known, the reason."""
    import hashlib

    if not task.official_sha256:
        return "no official hash"
    sha256 = hashlib.sha256(dev.bytes()).hexdigest()
    equal = [version for version, official in task.official_sha256.items() if official == sha256]
    other = [version for version in task.official_sha256 if version not in equal]
    if equal:
        differs = f"; differs from {', '.join(other)}" if other else ""
        return f"equal ({', '.join(equal)}{differs})"
    found, complete = len(dev.samples), task.samples and task.samples[1]
    if complete and found != complete:
        return f"differs ({', '.join(other)}): {found:,} of {complete:,} samples"
    return f"differs ({', '.join(other)})"


def conclude(rows, missing, failed, options) -> None:
    """Names the tasks that were not made, and ends with an error if that is one."""
    for title, entries in (("No raw data", missing), ("Not prepared", failed)):
        if entries and len(rows) + len(missing) + len(failed) > 1:
            print(f"\n{title}:")
            for name, reason in entries:
                print(f"  {name}: {reason}")
    sys.stdout.flush()
    wrong = failed if options.skip_missing and rows else missing + failed
    if len(wrong) == 1 and len(missing) + len(failed) + len(rows) == 1:
        raise UserError(wrong[0][1])
    if wrong:
        names = ", ".join(name for name, _ in wrong)
        hint = "" if failed else "; --skip_missing makes do without them" if rows else ""
        raise UserError(f"{len(wrong)} of {len(rows) + len(missing) + len(failed)} tasks were not prepared: {names}{hint}")  # fmt: skip


if __name__ == "__main__":
    main()
