"""Writes a report of evaluations: how good and how safe models are, side by side, and beside the paper's.

    python tools/report.py runs/eval --output_dir=report
    python tools/report.py base=runs/eval tuned=runs/eval_sft --paper=v2.0-L,v2.0-O --output_dir=report

RUN is a folder that an evaluation wrote (with judges/ and safety/ in it where they were run), or a result file of llm-jp-eval itself;
NAME=RUN gives it another name. The others are compared with the first. DIR gets report.html, a page that needs nothing but itself,
the same as report.md, and all numbers as report.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.errors import exit_on_user_error  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("run", nargs="+", metavar="RUN", help="a folder or file, or NAME=RUN")
    add("--output_dir", required=True, metavar="DIR", help="gets report.html, report.md, report.json")  # fmt: skip
    add("--paper", metavar="ROWS", help="the paper's rows to set beside the runs, such as v1.0-A,v2.0-L (default: the nearest of each)")  # fmt: skip
    add("--samples", type=int, default=2, metavar="N", help="right and wrong answers that are shown of each task (default: 2)")  # fmt: skip
    options = parser.parse_args(arguments)
    with exit_on_user_error():
        run(options)


def run(options: argparse.Namespace) -> None:
    from llmjp_jax.evaluation.report import write_report

    paper = None
    if options.paper is not None:
        paper = [name.strip() for name in options.paper.split(",") if name.strip()]
    findings = write_report(options.run, options.output_dir, paper=paper, samples=options.samples)
    for sentence in findings.warnings:
        print(f"note: {sentence}", file=sys.stderr)
    print(Path(options.output_dir) / "report.html")


if __name__ == "__main__":
    main()
