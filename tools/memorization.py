"""Says what a model knows by heart: how much of its training data it goes on writing when it is shown what stood before.

    python tools/memorization.py --run=runs/model --index=index --output_dir=memorization
    python tools/memorization.py --run=runs/model --index=index --output_dir=memorization --every=5000 --texts=strings.jsonl

LLM-jp's protocol: from places in the rows that the run was trained on, the model is shown 100, 200, 500 and 1,000 tokens and goes on
greedily for 50. Extractable means that all 50 are those that stood there; token BLEU, perplexity and Min-K% say how near it was. Each
is related to the number of training documents that hold those 50 tokens, and to the last step at which the model saw them. Places in
the validation splits, which the run never saw, are asked in the same way, and so are the last tokens of each text of --texts.

(LLM-jp's own script counts the 50 into its lengths: --prefix_lengths=50,150,450,950 asks what it asked.)

INDEX is made by tools/search_corpus.py index, of the token stores that the run read. DIR gets summary.md, memorization.png,
summary.json and a line a sample in items.jsonl. The same command goes on where a killed one stopped.
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
    add("--run", required=True, metavar="DIR", help="MODEL_DIR of a run of pre-training")
    add("--index", required=True, metavar="INDEX", help="of the text that it was trained on")
    add("--output_dir", required=True, metavar="DIR", help="gets the results")
    add("--step", metavar="N|best", help="the checkpoint (default: the newest)")
    add("--cache_dir", metavar="DIR", help="of the run's token stores, where they are no longer where they were")  # fmt: skip
    add("--prefix_lengths", default="100,200,500,1000", metavar="N,...", help="tokens shown (default: %(default)s); those too long for a row or the model are left out")  # fmt: skip
    add("--continuation", type=int, default=50, metavar="N", help="tokens that follow (default: 50)")  # fmt: skip
    add("--samples", type=int, default=1000, metavar="N", help="places in training rows (default: 1000)")  # fmt: skip
    add("--held_out", type=int, metavar="N", help="places in validation splits (default: as many as --samples)")  # fmt: skip
    add("--every", type=int, default=1, metavar="N", help="take rows of every Nth step only, from step 0 (default: 1)")  # fmt: skip
    add("--texts", metavar="FILE", help='JSON lines {"text": ...} to ask for too, each for its last tokens')  # fmt: skip
    add("--seed", type=int, default=0, help="decides which places are drawn (default: 0)")
    add("--batch_size", type=int, default=16, metavar="N", help="prefixes asked together (default: 16)")  # fmt: skip
    add("--dtype", choices=("float32", "bfloat16"), help="that the model computes in (default: the run's)")  # fmt: skip
    options = parser.parse_args(arguments)
    with exit_on_user_error():
        run(options)


def run(options: argparse.Namespace) -> None:
    from llmjp_jax.search.memorization import Protocol, run_study

    protocol = Protocol(
        prefix_lengths=_lengths(options.prefix_lengths), continuation=options.continuation
    )
    summary = run_study(
        options.run,
        options.index,
        options.output_dir,
        protocol=protocol,
        samples=options.samples,
        held_out=options.held_out,
        every=options.every,
        texts=options.texts,
        step=_step(options.step),
        seed=options.seed,
        cache_dir=options.cache_dir,
        dtype=options.dtype,
        batch_size=options.batch_size,
        progress=True,
    )
    for sentence in summary["notes"]:
        print(f"note: {sentence}", file=sys.stderr)
    for name, group in summary["groups"].items():
        for length, one in group["prefixes"].items():
            share = one["extractable"]
            print(
                f"{name}, prefix of {length}: {share['count']:,} of {one['items']:,} extractable ({share['share']:.2%}), "
                f"BLEU {one['bleu']['mean']:.3f}, perplexity {one['perplexity']['mean']:.4g}, Min-K% {one['min_k']['mean']:.3f}"
            )
    print(Path(options.output_dir) / "summary.md")


def _lengths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(length) for length in text.split(","))
    except ValueError:
        raise UserError(f"--prefix_lengths={text} must be whole numbers with commas between, such as 100,200") from None  # fmt: skip


def _step(text: str | None) -> int | str | None:
    if text is None or text == "best":
        return text
    try:
        return int(text)
    except ValueError:
        raise UserError(f"--step={text} must be a whole number or 'best'") from None


if __name__ == "__main__":
    main()
