"""Memory does not grow with the number of documents: each deduplication in a process of its own, measured."""

import json
import subprocess
import sys

import pytest

# Makes documents (a tenth of them near-duplicates), runs the stages with small buffers, prints the peak in MB.
PROGRAM = """
import json, random, resource, sys
from pathlib import Path
from llmjp_jax.corpus.dedup import exact_stages, minhash_stages, paragraph_stages
kind, count, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
choice = random.Random(0)
source, work = folder / "in", str(folder / "work")
source.mkdir()
syllables = "".join(map(chr, range(0x3042, 0x3092)))
for shard in range(4):
    with (source / f"{shard:05d}.jsonl").open("w") as file:
        for number in range(count // 4):
            if number % 10 or number == 0:
                text = "".join(choice.choices(syllables, k=40))
            else:
                text = text[1:] + choice.choice(syllables)
            file.write(json.dumps({"text": text, "meta": {}}) + "\\n")
small = {"shards": 4, "partitions": 4, "memory_bytes": 2 << 20}
stages = {
    "exact": lambda: exact_stages(str(source), work, **small),
    "minhash": lambda: minhash_stages(str(source), work, **small),
    "paragraphs": lambda: paragraph_stages(
        str(source), str(folder / "out"), work, candidate_bytes=1 << 18, **small),
}[kind]()
for stage in stages:
    for rank in range(stage.tasks):
        stage.run(rank, lambda size: None)
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
"""


def peak_megabytes(kind, count, folder):
    folder.mkdir()
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind, str(count), str(folder)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(run.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["exact", "minhash", "paragraphs"])
def test_ten_times_the_documents_take_the_same_memory(tmp_path, kind):
    few = peak_megabytes(kind, 20_000, tmp_path / "few")
    many = peak_megabytes(kind, 200_000, tmp_path / "many")
    print(f"{kind}: {few:.0f} MB for 20,000 documents, {many:.0f} MB for 200,000")
    # What the larger corpus would take in memory: 64 MB of buckets, 60 MB of paragraphs, 28 MB of text.
    assert many < few + 16
