"""The shares of a mixture, written for stores that were there before."""

import numpy as np
import pytest

from llmjp_jax.corpus import Mixture, Subset, load_mixtures
from llmjp_jax.errors import UserError
from llmjp_jax.inputs import TokenStoreWriter, open_stores, read_weights
from llmjp_jax.inputs.blends import write_manifest_weights
from tools import cache_tasks

MIXTURE = Mixture(
    name="both",
    subsets={name: Subset(name=name, source="here") for name in ("web", "wiki")},
    weights={"web": 1000, "wiki": 11},
)


def store(prefix, tokens):
    prefix.parent.mkdir(parents=True)
    writer = TokenStoreWriter(prefix, np.uint16)
    writer.add(np.arange(tokens))
    writer.commit({"documents": 1, "tokens": tokens})


def test_a_subset_of_several_stores_divides_its_share_by_their_tokens(tmp_path):
    for name, tokens in {"a": 10, "b": 20, "c": 40}.items():
        store(tmp_path / "web" / name / "train", tokens)
    store(tmp_path / "wiki" / "train", 5)
    write_manifest_weights(tmp_path, MIXTURE)
    weights = read_weights(tmp_path, "both")
    assert weights == {
        "web/a": 143,
        "web/b": 286,
        "web/c": 571,
        "wiki": 11,
    }  # 142.86, 285.71, 571.43
    assert set(open_stores(tmp_path, "both", "train")) == set(weights)


def test_a_subset_without_a_store_is_named(tmp_path):
    store(tmp_path / "web" / "train", 10)
    with pytest.raises(UserError, match="the subset wiki of both has no token store"):
        write_manifest_weights(tmp_path, MIXTURE)
    assert not (tmp_path / "both.mixture.json").exists()


def test_the_command_writes_the_shares_of_corpus_v2(tmp_path):
    (corpus,) = load_mixtures("corpus_v2")
    for name in corpus.weights:
        store(tmp_path / name / "train", 7)
    cache_tasks.main(
        ["--mixture_or_task_name=corpus_v2", "--weights_only", f"--cache_dir={tmp_path}"]
    )
    assert list(read_weights(tmp_path, "corpus_v2").items()) == list(corpus.weights.items())


def test_the_command_describes_a_mixture(capsys):
    cache_tasks.main(["--mixture_or_task_name=corpus_v2", "--describe"])
    printed = capsys.readouterr().out
    assert "254,619,248,570 tokens under v2.2-100k" in printed and "0.455 epochs" in printed
    with pytest.raises(SystemExit):
        cache_tasks.main(["--mixture_or_task_name=corpus_v3.1", "--describe"])
    assert "did you mean corpus_v3_1?" in capsys.readouterr().err
