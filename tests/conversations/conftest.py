"""LLM-jp's own vocabularies, and what TRL made of conversations with them."""

import json
from pathlib import Path

import pytest

from llmjp_jax.tokenizer import Vocabulary, load_vocabulary
from tests.tokenizer.conftest import MODELS


@pytest.fixture(scope="session")
def released(shared_data) -> dict[str, Vocabulary]:
    """The vocabularies by name."""
    folder = shared_data / "tokenizers"
    return {name: load_vocabulary(folder / file) for name, file in MODELS.items()}


def json_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture(scope="session")
def mask_examples(shared_data) -> list[dict]:
    """TRL's collator on each example alone: tokenizer, template, max_length, kind, text, ids, labels (without padding)."""
    examples = []
    for row in json_lines(shared_data / "parity" / "sft" / "masks.jsonl"):
        template = "v1.0" if row["instruction_ids"] is None else "v1.1"
        for number, example in enumerate(row["examples"]):
            length = sum(row["batch"]["attention_mask"][number])
            examples.append({
                "tokenizer": row["tokenizer"], "template": template, "max_length": row["max_length"],
                "kind": example["kind"], "text": example["text"], "ids": example["input_ids"],
                "labels": row["batch"]["labels"][number][:length],
            })  # fmt: skip
    return examples


@pytest.fixture(scope="session")
def pair_rows(shared_data) -> list[dict]:
    """`DPOTrainer.tokenize_row` on preferences."""
    return json_lines(shared_data / "parity" / "sft" / "dpo_rows.jsonl")
