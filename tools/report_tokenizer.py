"""Compares tokenizers by how much text a token holds: characters per token by language, on held-out documents.

    python tools/report_tokenizer.py --tokenizer=runs/quickstart/tokenizer.model --corpora_dir=runs/quickstart/corpora \\
        --beside=code20K_en40K_ja60K.ver2.2.model --output=compression.json

Beside a tokenizer of tools/train_tokenizer.py stands a plain SentencePiece Unigram model of its size, trained once on its
samples. --corpora_dir holds LANGUAGE/validation*.jsonl; --held_out=ja=FILE names files one by one.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.errors import UserError, exit_on_user_error  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--tokenizer", required=True, metavar="FILE", help="a .model or tokenizer.json")
    add("--beside", action="append", default=[], metavar="FILE", help="another; repeatable")
    add("--no_plain", action="store_true", help="train no plain model")
    add("--character_coverage", type=float, default=0.9995, help="of the plain model (0.9995)")
    add("--corpora_dir", metavar="DIR", help="its LANGUAGE/validation*.jsonl are held out")
    add("--held_out", action="append", default=[], metavar="LANGUAGE=FILE", help="repeatable")
    add("--output", metavar="FILE", help="also write the report here, as JSON")
    with exit_on_user_error():
        report(parser.parse_args())


def report(arguments: argparse.Namespace) -> None:
    from llmjp_jax.corpus import read_documents
    from llmjp_jax.files import atomic_write
    from llmjp_jax.tokenizer import compression, compression_table, load_vocabulary, plain_beside

    samples = Path(f"{arguments.tokenizer}.steps")
    if not arguments.no_plain and not any(samples.glob("sample.*.txt")):
        raise UserError(
            f"{samples} has no samples to train a plain tokenizer on; give --no_plain, or train {arguments.tokenizer} again"
        )
    texts = {
        language: [document["text"] for path in paths for _, document in read_documents(path)]
        for language, paths in _held_out(arguments).items()
    }
    vocabularies = {
        name: load_vocabulary(name) for name in (arguments.tokenizer, *arguments.beside)
    }
    if not arguments.no_plain:
        plain = plain_beside(arguments.tokenizer, character_coverage=arguments.character_coverage)
        vocabularies["plain SentencePiece Unigram"] = plain
    result = compression(vocabularies, texts)
    if arguments.output:
        with atomic_write(arguments.output, "w") as file:
            json.dump(result, file, indent=1, ensure_ascii=False)
    print(compression_table(result))


def _held_out(arguments: argparse.Namespace) -> dict[str, list[Path]]:
    """Language -> files."""
    found: dict[str, list[Path]] = {}
    for given in arguments.held_out:
        language, equals, path = given.partition("=")
        if not equals or not path:
            raise UserError(f"--held_out={given} is not of the form LANGUAGE=FILE")
        found.setdefault(language, []).append(Path(path))
    if arguments.corpora_dir:
        for path in sorted(Path(arguments.corpora_dir).glob("*/validation*.jsonl")):
            found.setdefault(path.parent.name, []).append(path)
    if not found:
        raise UserError(
            "there is no held-out text; give --corpora_dir with LANGUAGE/validation*.jsonl, or --held_out"
        )
    return found


if __name__ == "__main__":
    main()
