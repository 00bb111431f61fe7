"""Shards of documents in a folder, and stages run in any order, as the tests of deduplication need them."""

import json
import random

import numpy as np
import pytest

from llmjp_jax.corpus.dedup.shards import shard_path


def write_shards(folder, documents, shards):
    """Cuts documents into `shards` shards of nearly equal size; returns where each begins."""
    folder.mkdir(parents=True, exist_ok=True)
    cuts = np.linspace(0, len(documents), shards + 1).astype(int)
    for shard in range(shards):
        lines = [
            json.dumps(document, ensure_ascii=False) + "\n"
            for document in documents[cuts[shard] : cuts[shard + 1]]
        ]
        shard_path(folder, shard).write_text("".join(lines), encoding="utf-8")
    return cuts


def run_stages(stages, *, backwards=False, times=1):
    """Runs each stage's tasks, in order or backwards, each so many times."""
    for stage in stages:
        ranks = range(stage.tasks)
        for rank in reversed(ranks) if backwards else ranks:
            for _ in range(times):
                stage.run(rank, lambda size: None)


@pytest.fixture(scope="session")
def planted(shared_data):
    """The documents of the reference set, and its exact Jaccard coefficients {(earlier, later): coefficient}."""
    folder = shared_data / "parity" / "dedup"
    documents = [json.loads(line) for line in (folder / "docs.jsonl").open(encoding="utf-8")]
    expected = json.loads((folder / "expected_datasketch1.6.5.json").read_text())["char5"]
    pairs = {(a, b): coefficient for a, b, coefficient, *_ in expected["pairs_jaccard_gt_0.5"]}
    return documents, pairs, expected["n_shingles"]


_SYLLABLES = (
    "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをん"
)


def sentence(choice: random.Random, length: int) -> str:
    return "".join(choice.choices(_SYLLABLES, k=length))


def edited(text: str, choice: random.Random, edits: int) -> str:
    """The text with so many of its characters replaced."""
    characters = list(text)
    for place in choice.sample(range(len(text)), edits):
        characters[place] = choice.choice(_SYLLABLES)
    return "".join(characters)
