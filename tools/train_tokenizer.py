"""Trains a SentencePiece tokenizer as LLM-jp did, from JSONL documents: sample, words, a model a language, merging, EM.

    python tools/train_tokenizer.py --gin_file=gin_configs/tokenizer/v2_2.gin --gin.CORPORA_DIR=corpora --gin.OUTPUT=v2_2.model
    python tools/train_tokenizer.py --gin_file=gin_configs/tokenizer/quickstart.gin --gin.INPUTS=train.jsonl --gin.OUTPUT=t.model

The same command again does nothing, or continues where a killed run was. Its steps lie in OUTPUT.steps.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.launch import run  # noqa: E402


def main() -> None:
    vocabulary = run(
        "llmjp_jax.tokenizer.train_tokenizer",
        description=__doc__.splitlines()[0],
        example="gin_configs/tokenizer/quickstart.gin",
        macros={"CORPORA_DIR": "corpora", "OUTPUT": "tokenizer.model"},
        processes=False,
    )
    print(
        f"{vocabulary.path}: {vocabulary.vocab_size:,} pieces, fingerprint {vocabulary.fingerprint[:16]}"
    )


if __name__ == "__main__":
    main()
