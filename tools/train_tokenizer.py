"""Trains a SentencePiece vocabulary in LLM-jp's layout of ids from JSONL documents.

    python tools/train_tokenizer.py --corpora_dir=corpora/quickstart --output=corpora/quickstart/tokenizer.model
    python tools/train_tokenizer.py --inputs a.jsonl b.jsonl --proportions 2 1 --output=ab.model --vocab_size=16384

The first form is the quick start's, with the proportions of data/quickstart_mixture.toml and the sizes of data/quickstart.toml. Training sees a sample of at
most --max_bytes, chosen with a fixed seed: the same inputs give the same file, and a second run does nothing.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.errors import UserError, exit_on_user_error  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--corpora_dir", help="the output of tools/prepare_quickstart.py")
    source.add_argument("--inputs", nargs="+", help="JSONL files")
    parser.add_argument(
        "--proportions",
        nargs="+",
        type=float,
        help="of bytes, one for each of --inputs; default: equal",
    )
    parser.add_argument("--output", required=True, help="the .model file to write")
    parser.add_argument(
        "--vocab_size", type=int, help="exact number of ids; default: of data/quickstart.toml"
    )
    parser.add_argument("--max_bytes", type=int, help="of text to train on; default 5 MB")
    parser.add_argument("--seed", type=int, default=0, help="of the sample; default 0")
    arguments = parser.parse_args()
    with exit_on_user_error():
        train(arguments)


def train(arguments: argparse.Namespace) -> None:
    from llmjp_jax.corpus import load_manifest
    from llmjp_jax.tokenizer import train_from_corpora

    defaults = load_manifest("quickstart")["tokenizer"]
    vocabulary = train_from_corpora(
        _inputs(arguments),
        arguments.output,
        vocab_size=_given(arguments.vocab_size, defaults["vocab_size"]),
        max_bytes=_given(arguments.max_bytes, defaults["max_bytes"]),
        seed=arguments.seed,
        log=True,
    )
    print(
        f"{arguments.output}: {vocabulary.vocab_size:,} pieces, fingerprint {vocabulary.fingerprint[:16]}"
    )


def _given(value: int | None, default: int) -> int:
    return default if value is None else value


def _inputs(arguments: argparse.Namespace) -> dict[str, float]:
    """Path -> proportion."""
    from llmjp_jax.corpus import load_mixtures

    if arguments.corpora_dir:
        if arguments.proportions:
            raise UserError(
                "--proportions goes with --inputs; --corpora_dir takes them from data/quickstart_mixture.toml"
            )
        (mixture,) = load_mixtures("quickstart")
        return {
            str(path): weight
            for subset, weight in mixture.weights.items()
            for path in mixture.files(arguments.corpora_dir, subset)["train"]
        }
    weights = arguments.proportions or [1.0] * len(arguments.inputs)
    if len(weights) != len(arguments.inputs):
        raise UserError(
            f"--proportions has {len(weights)} values for {len(arguments.inputs)} --inputs; give one a file"
        )
    return dict(zip(arguments.inputs, weights, strict=True))


if __name__ == "__main__":
    main()
