"""What every test shares: 8 virtual CPU devices, the reference data where it is present, and a tiny corpus."""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    ).strip()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import atexit  # noqa: E402
import json  # noqa: E402
import random  # noqa: E402
import shutil  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402

# Many tests, and the processes they start, compile the same step: within one session it is compiled once.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jax_cache_")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import numpy as np  # noqa: E402
import pytest  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"

_WORDS = {
    "tiny_ja": "私は 彼は 今日は 学校へ 本を 水を 行く 読む 飲む 見た とても 静かな 町で ある。 です。 昨日 友達と 話した。".split(),
    "tiny_en": "I he she they went to the school and read a book about water with friends yesterday . very quiet".split(),
}


def pytest_addoption(parser):
    parser.addoption(
        "--full_grid", action="store_true", help="every combination of tests/training/test_grid.py, not a covering"
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def programs_end_with_their_module():
    """Lets go of compiled programs: each maps memory a dozen times over, and Linux grants a process 65,530 mappings.

    A process that has used them up dies with a segmentation fault in whatever asks for the next one.
    """
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The reference data beside the repository; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("reference data ../shared/data is not present beside the repository")
    return SHARED_DATA


def tiny_documents(name: str, count: int, seed: int = 0) -> list[str]:
    """Documents of the words of `tiny_ja` or `tiny_en`, the same for the same arguments."""
    choice = random.Random(f"{name} {seed}")
    space = "" if name == "tiny_ja" else " "
    return [
        space.join(choice.choices(_WORDS[name], k=choice.randrange(3, 20))) for _ in range(count)
    ]


@pytest.fixture(scope="session")
def tiny_vocabulary(tmp_path_factory) -> Path:
    """A .model of 400 pieces in LLM-jp's layout, trained on the tiny documents."""
    from llmjp_jax.tokenizer import train_unigram

    path = tmp_path_factory.mktemp("vocabulary") / "tiny.model"
    texts = [text for name in _WORDS for text in tiny_documents(name, 500)]
    train_unigram(texts, path, vocab_size=400)
    return path


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory, tiny_vocabulary) -> Path:
    """A CACHE_DIR with the stores of two Tasks and their Mixture `tiny` (2 to 1), made without SeqIO."""
    from llmjp_jax.inputs import TokenStoreWriter
    from llmjp_jax.tokenizer import load_vocabulary

    vocabulary = load_vocabulary(tiny_vocabulary)
    cache = tmp_path_factory.mktemp("cache")
    for name in _WORDS:
        for seed, (split, count) in enumerate({"train": 1500, "validation": 60}.items()):
            texts = tiny_documents(name, count, seed)
            (cache / name).mkdir(exist_ok=True)
            writer = TokenStoreWriter(cache / name / split, np.uint16)
            for ids in vocabulary.encode_batch(texts):
                writer.add([*ids, vocabulary.eos_id])
            writer.commit({
                "vocabulary": {"path": str(tiny_vocabulary), "fingerprint": vocabulary.fingerprint},
                "documents": len(texts), "tokens": writer.tokens, "sha256": writer.sha256(),
                "text_bytes": sum(len(text.encode()) for text in texts),
            })  # fmt: skip
    (cache / "tiny.mixture.json").write_text(json.dumps({"weights": {"tiny_ja": 2, "tiny_en": 1}}))
    return cache
