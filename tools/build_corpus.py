"""Builds corpora from raw text: reads, filters, cleans, deduplicates, splits, and reports on it.

    python tools/build_corpus.py --gin_file=gin_configs/corpus/quickstart.gin --gin.INPUT_DIR=downloads --gin.OUTPUT_DIR=corpora
    python tools/build_corpus.py --gin_file=gin_configs/corpus/own_text.gin --gin.INPUT_DIR=. --gin.INPUTS="['*.jsonl']" \\
        --gin.OUTPUT_DIR=corpora

A killed run goes on where it was; a finished one is not done again. OUTPUT_DIR/report.html shows what each step dropped.
"""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.launch import run  # noqa: E402


def main(argv: list[str] | None = None) -> None:
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        build(argv)
    except KeyboardInterrupt as stop:
        print("\nstopped; the same command goes on where it was", file=sys.stderr, flush=True)
        sys.exit(128 + (signal.SIGTERM if stop.args else signal.SIGINT))


def _interrupt(number: int, frame) -> None:
    raise KeyboardInterrupt(number)


def build(argv: list[str] | None) -> None:
    statistics = run(
        "llmjp_jax.corpus.pipeline.build_corpus",
        argv,
        description=__doc__.splitlines()[0],
        example="gin_configs/corpus/quickstart.gin",
        macros={"INPUT_DIR": "downloads", "OUTPUT_DIR": "corpora"},
        processes=False,
    )
    from llmjp_jax.corpus.pipeline.report import summary_lines

    if statistics:
        print("\n".join(summary_lines(statistics)))


if __name__ == "__main__":
    main()
