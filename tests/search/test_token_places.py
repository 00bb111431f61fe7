"""The tokens of a stretch of text are those whose bytes it has, whichever way they are found."""

import json
import random

import numpy as np
import pytest

from llmjp_jax.search import DocumentId, IndexedDocument
from llmjp_jax.search.token_places import TokenPlaces
from llmjp_jax.tokenizer import load_vocabulary
from tests.search.small_corpora import ODD


def document(text, ids):
    return IndexedDocument(
        id=DocumentId("a", "train", 0), text=text, tokens=np.array(ids, np.int32), meta={},
        source="", licence=None,
    )  # fmt: skip


def by_bytes(text, ids, vocabulary, start, stop):
    """The same from the pieces' spelling: the first and last token with a byte of the stretch."""
    spelled = []
    for id in ids:
        piece = vocabulary.pieces[id]
        one_byte = piece.startswith("<0x") and len(piece) == 6
        spelled.append(
            bytes([int(piece[3:5], 16)]) if one_byte else piece.replace("▁", " ").encode()
        )
    surplus = len(b"".join(spelled)) - len(text.encode())
    assert b"".join(spelled)[surplus:] == text.encode() and surplus in (0, 1)
    ends = np.cumsum([len(one) for one in spelled]) - surplus
    begins = ends - [len(one) for one in spelled]
    first, last = len(text[:start].encode()), len(text[:stop].encode())
    inside = np.flatnonzero((ends > first) & (begins < last))
    return int(inside[0]), int(inside[-1]) + 1


def stretches(text, choose, count):
    for _ in range(count if text else 0):
        start = choose.randrange(len(text))
        yield start, choose.randint(start + 1, min(len(text), start + 30))


def test_tokens_of_a_documents_stretches_are_those_with_its_bytes(small_index):
    choose, vocabulary = random.Random(0), small_index.vocabulary
    numbers = [*range(1000, 1000 + len(ODD)), *choose.sample(range(2800), 60)]
    bytes_seen = 0
    for number in numbers:
        one = small_index.document(DocumentId("ja", "train", number))
        places, ids = TokenPlaces(one, vocabulary), one.tokens.tolist()[:-1]
        assert places.known and one.tokens[-1] == vocabulary.eos_id
        for start, stop in stretches(one.text, choose, 40):
            found = places.range(start, stop)
            assert found == by_bytes(one.text, ids, vocabulary, start, stop), one.text
            bytes_seen += any(vocabulary.pieces[id].startswith("<0x") for id in ids[slice(*found)])
    assert bytes_seen > 20  # characters that are cut into bytes are among them


def test_ids_that_are_cut_in_another_way_are_found_by_what_they_decode_to(small_index):
    choose, vocabulary = random.Random(1), small_index.vocabulary
    piece_of = {piece: id for id, piece in enumerate(vocabulary.pieces)}
    checked = 0
    for text in ["図書館で本を読む", "絵文字👩‍👩‍👧 𩸽が光る", *ODD[4:6]]:
        ids = [piece_of["▁"]]
        for character in text:
            if character in piece_of and choose.random() < 0.5:
                ids.append(piece_of[character])
            else:
                ids += [piece_of[f"<0x{byte:02X}>"] for byte in character.encode()]
        assert vocabulary.decode(ids) == text
        assert ids != vocabulary.encode(text)
        for end in ([vocabulary.eos_id], []):
            places = TokenPlaces(document(text, ids + end), vocabulary)
            for start, stop in stretches(text, choose, 60):
                assert places.known
                assert places.range(start, stop) == by_bytes(text, ids, vocabulary, start, stop)
                checked += 1
    assert checked > 300


def test_a_text_that_the_ids_do_not_spell_is_placed_in_the_whole_document(small_index):
    vocabulary = small_index.vocabulary
    ids = [*vocabulary.encode("まったく別の文"), vocabulary.eos_id]
    places = TokenPlaces(document("図書館で本を読む", ids), vocabulary)
    assert not places.known and places.range(2, 4) == (0, len(ids))


def test_a_vocabulary_that_normalises_keeps_to_the_places_of_the_text(tmp_path):
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Fuse()
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=["<unk>", "</s>"])
    tokenizer.train_from_iterator(["ABC キロ 図書館 で", "ABC"], trainer)
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    config = {"eos_token": "</s>", "unk_token": "<unk>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    vocabulary = load_vocabulary(tmp_path)
    text = "ＡＢＣ　㌔ 図書館　 "  # the spaces at its end are in no token
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) != text
    places = TokenPlaces(document(text, [*ids, vocabulary.eos_id]), vocabulary)
    assert places.known
    first, stop = places.range(text.index("図"), len(text))
    assert vocabulary.decode(ids[first:stop]) == "図書館" and stop == len(ids)
    assert vocabulary.decode(ids[slice(*places.range(4, 5))]) == "キロ"


@pytest.mark.parametrize("start", [0, 3])
def test_tokens_end_before_the_one_that_ends_the_document(small_index, start):
    one = small_index.document(DocumentId("ja", "train", 5))
    assert TokenPlaces(one, small_index.vocabulary).range(start, len(one.text))[1] == len(one.tokens) - 1  # fmt: skip
