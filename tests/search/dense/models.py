"""Sentence-embedding models that a test makes: one that learned Japanese and English from sentence pairs, and a tiny BERT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.search.small_corpora import documents

DIMENSIONS = 192


def training_pairs(held_out: int) -> list[tuple[str, str]]:
    """Sentences in Japanese with their English, neither of which is among the first `held_out` pairs' of the dictionary."""
    ja, en = documents("ja", 100_000), documents("en", 100_000)
    known = {*ja[:held_out], *en[:held_out]}
    pairs = zip(ja[held_out:], en[held_out:], strict=True)
    return list(dict.fromkeys(pair for pair in pairs if not known & {*pair}))


def save_cross_lingual(folder: Path, pairs: Sequence[tuple[str, str]]) -> Path:
    """A model in the form of sentence-transformers: what stands together in pairs gets near vectors.

    Latent semantic indexing across languages (Littman, Dumais and Landauer, 1998): a token's vector is its row in the singular
    vectors of the matrix of tokens and joined pairs, by its rarity; a sentence's is the mean of its tokens'.
    """
    modules = pytest.importorskip(
        "sentence_transformers.sentence_transformer.modules", reason="the extra dense"
    )
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=6000, special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator((text for pair in pairs for text in pair), trainer)
    ids = [encoding.ids for encoding in tokenizer.encode_batch(["\n".join(pair) for pair in pairs])]
    weights = _latent_vectors(ids, tokenizer.get_vocab_size()).astype(np.float32)
    model = SentenceTransformer(modules=[modules.StaticEmbedding(tokenizer, weights)])
    model.save(str(folder))
    return folder


def _latent_vectors(texts: Sequence[Sequence[int]], vocabulary: int) -> np.ndarray:
    from scipy import sparse

    rows = [token for ids in texts for token in set(ids)]
    columns = [number for number, ids in enumerate(texts) for _ in set(ids)]
    there = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), (vocabulary, len(texts)))
    counts = np.asarray(there.sum(1)).ravel()
    rarity = np.where(counts > 0, np.maximum(0, np.log(len(texts) / (1 + counts))), 0)
    weighted = sparse.diags(rarity) @ there
    lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(0)).ravel())
    weighted = (weighted @ sparse.diags(1 / np.maximum(lengths, 1e-9))).tocsr()
    # Its left singular vectors, by the subspace iteration of Halko, Martinsson and Tropp (2011).
    basis = np.random.default_rng(0).normal(size=(len(texts), DIMENSIONS + 16))
    for _ in range(3):
        basis = weighted.T @ np.linalg.qr(weighted @ basis)[0]
    left, _, _ = np.linalg.svd(weighted @ np.linalg.qr(basis)[0], full_matrices=False)
    return rarity[:, None] * left[:, :DIMENSIONS]


def save_bert(folder: Path, texts: Sequence[str], plain: bool = False, prompts=None) -> Path:
    """A tiny BERT with random weights: as sentence-transformers saves it, or `plain`, as transformers does."""
    pytest.importorskip("sentence_transformers", reason="the extra dense")
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=800, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    torch.manual_seed(0)
    size = tokenizer.get_vocab_size()
    config = BertConfig(
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=40,
    )
    bert = BertModel(config)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=40, **names)
    encoder = folder.with_name(f"{folder.name}-encoder")
    place = folder if plain else encoder
    bert.save_pretrained(place)
    fast.save_pretrained(place)
    if not plain:
        from sentence_transformers import SentenceTransformer

        SentenceTransformer(str(encoder), prompts=prompts).save(str(folder))
    return folder
