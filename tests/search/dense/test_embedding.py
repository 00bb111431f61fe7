"""Embeddings: those of the library itself, of length one, by threads, with prompts; and models that cannot be loaded."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.search.dense.embedding import Embedder
from tests.search.dense.models import save_bert
from tests.search.small_corpora import documents


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def embedder(bert):
    return Embedder(bert)


def test_vectors_are_those_of_the_library_in_float16_and_of_length_one(bert, embedder, no_network):
    from sentence_transformers import SentenceTransformer

    texts = documents("en", 40)
    expected = SentenceTransformer(str(bert)).encode(texts, normalize_embeddings=True)
    vectors = embedder.documents(texts)
    assert vectors.dtype == np.float16 and vectors.shape == (40, 32)
    np.testing.assert_allclose(vectors, expected, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(float), axis=1), 1, atol=2e-3)
    query = embedder.query(texts[3])
    assert query.dtype == np.float32
    np.testing.assert_allclose(query, expected[3], atol=1e-6)


def test_a_plain_encoder_averages_its_token_vectors_and_says_so(tmp_path, capsys):
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = save_bert(tmp_path / "plain", documents("en", 500), plain=True)
    embedder = Embedder(folder)
    assert "has no modules.json" in capsys.readouterr().err
    text = documents("en", 1)[0]
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.no_grad():
        mean = AutoModel.from_pretrained(folder)(**ids).last_hidden_state[0].mean(0).numpy()
    np.testing.assert_allclose(embedder.query(text), mean / np.linalg.norm(mean), atol=1e-5)


def test_the_window_leaves_room_for_special_tokens_and_prompts(tmp_path, embedder, cross_lingual):
    from sentence_transformers import SentenceTransformer

    assert embedder.window == 38
    assert Embedder(cross_lingual).window is None
    prompts = {"query": "query: ", "document": "passage: "}
    folder = save_bert(tmp_path / "prompted", documents("en", 500), prompts=prompts)
    prompted = Embedder(folder)
    longest = max(prompted.count_tokens(list(prompts.values())))
    assert prompted.window == 38 - longest and longest > 1
    # A text means something else when it is asked for than when it stands in a document.
    text = documents("en", 1)[0]
    asked, stands = prompted.query(text), prompted.documents([text])[0]
    assert asked @ stands < 0.9999
    library = SentenceTransformer(str(folder))
    expected = library.encode(["query: " + text, "passage: " + text], normalize_embeddings=True)
    np.testing.assert_allclose([asked, stands], expected, atol=1e-3)


def test_tokens_are_counted_in_full_after_the_model_has_cut_a_text(embedder):
    text = " ".join(documents("en", 30))
    before = embedder.count_tokens([text])
    embedder.documents([text])
    assert embedder.count_tokens([text]) == before and before[0] > 200


def test_a_query_that_is_longer_than_the_window_is_refused(embedder):
    with pytest.raises(
        UserError, match=r"the text has \d+ tokens and the embedding model reads 38"
    ):
        embedder.query(" ".join(documents("en", 30)))


def test_a_text_of_unknown_words_has_no_direction(cross_lingual):
    vectors = Embedder(cross_lingual).documents(["", "猫", "\U000e0041"])
    assert not vectors[0].any() and vectors[1].any()
    assert np.isfinite(vectors).all()


def test_threads_get_the_answers_that_one_gets(embedder):
    texts = [text for text in documents("en", 60) if embedder.count_tokens([text])[0] < 38]
    alone = [embedder.query(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(embedder.query, texts))
    np.testing.assert_array_equal(np.stack(alone), np.stack(together))


def test_a_model_that_cannot_be_loaded_is_a_sentence(tmp_path, bert):
    shutil.copytree(bert, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"\0" * 40)
    with pytest.raises(UserError, match="cannot be loaded as a sentence-embedding model"):
        Embedder(tmp_path / "model")


def test_code_beside_a_model_is_not_run(tmp_path, bert, capsys):
    folder = tmp_path / "model"
    shutil.copytree(bert, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil", "AutoModel": "evil.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UserError, match="cannot be loaded"):
        Embedder(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("missing", ["sentence_transformers", "torch"])
def test_without_the_extra_the_command_to_install_it_is_named(monkeypatch, bert, missing):
    for name in list(sys.modules):
        if name.split(".")[0] == "sentence_transformers":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match=r"extra `dense`.*pip install -e '.\[dense\]'"):
        Embedder(bert)


def test_the_room_is_entered_without_the_heavy_libraries():
    program = (
        "import sys, llmjp_jax.search, llmjp_jax.search.dense\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'usearch', 'tantivy', 'jax'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
