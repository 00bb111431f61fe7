"""Every filter and map of corpus v1, alone and as the recipes chain them, against the reference's results on 300 documents."""

import copy
import json
import zlib
from functools import partial

import pytest

from llmjp_jax.corpus.filters.japanese import (
    average_sentence_length,
    extract_japanese,
    is_japanese,
)
from llmjp_jax.corpus.filters.keywords import (
    KeywordCounter,
    adult,
    advertisements,
    discrimination,
    violence,
)
from llmjp_jax.corpus.filters.metadata import (
    alphanum_fraction,
    average_line_length,
    max_line_length,
    valid_domain,
    valid_extension,
)
from llmjp_jax.corpus.filters.reformat import reformat
from llmjp_jax.corpus.filters.text import compressed_bytes, compression_ratio, not_empty
from llmjp_jax.corpus.filters.wikipedia import clean_parentheses, cut_footnotes
from llmjp_jax.corpus.filters.word_lists import load_word_list
from llmjp_jax.corpus.pipeline.steps import Chain, parse_steps
from llmjp_jax.launch import parse_flags, read_arguments

COUNTED = {"adult": adult, "discrimination": discrimination, "violence": violence}
CORPORA = {"ja_cc": 170, "ja_wiki": 50, "en_wiki": 20, "en_pile": 20, "code_stack": 40}


@pytest.fixture(scope="module")
def folder(shared_data) -> str:
    """Where LLM-jp's word lists lie, as `tools/download.py word_lists` would put them."""
    return str(shared_data / "parity" / "corpus_filters" / "dict")


@pytest.fixture(scope="module")
def rows(shared_data) -> dict[str, list[dict]]:
    files = shared_data / "parity" / "corpus_filters"
    found = {
        name: [json.loads(line) for line in (files / f"{name}.jsonl").open(encoding="utf-8")]
        for name in CORPORA
    }
    assert {name: len(rows) for name, rows in found.items()} == CORPORA
    return found


def filters_alone(folder: str) -> dict:
    """Our filters by the names that the reference's results have."""
    named = {
        f"is_not_{name}_content({limit})": partial(
            step, limit=limit, word_list=f"llm_jp_{name}", folder=folder
        )
        for name, step in COUNTED.items()
        for limit in (2, 3)
    }
    return named | {
        "is_not_empty": not_empty,
        "is_japanese": partial(is_japanese, lookup=50),
        "is_not_ad_content(10)": partial(advertisements, limit=10),
        "has_good_average_sentence_length(250)": partial(average_sentence_length, limit=250),
        "has_good_average_sentence_length(80)": partial(average_sentence_length, limit=80),
        "has_good_compression_ratio(0.30,0.70)": partial(compression_ratio, low=0.30, high=0.70),
        "has_good_compression_ratio(0.375,0.70)": partial(compression_ratio, low=0.375, high=0.70),
        "has_good_compression_ratio(0.3,0.7,length_factor=0.01)": partial(
            compression_ratio, low=0.3, high=0.7, length_factor=0.01
        ),
        "has_valid_domain": valid_domain,
        "has_valid_extension": valid_extension,
        "has_valid_max_line_length(1000)": partial(max_line_length, limit=1000),
        "has_valid_avg_line_length(100)": partial(average_line_length, limit=100),
        "has_valid_alphanum_fraction(0.25)": partial(alphanum_fraction, low=0.25),
    }


MAPS_ALONE = {
    "extract_japanese_text": extract_japanese,
    "remove_wikipedia_footnote": cut_footnotes,
    "remove_empty_parenthesis": clean_parentheses,
}


def corpora(folder: str, strict: bool) -> dict:
    """The corpora of v1.gin, or of v1_refined.gin, by name, with LLM-jp's own word lists."""
    flags = [
        f"--gin_file=gin_configs/corpus/{'v1_refined' if strict else 'v1'}.gin",
        f"--gin.WORD_LISTS={folder}",
        *(f"--gin.{name.upper()}_WORDS=llm_jp_{name}" for name in COUNTED),
    ]
    unneeded = {"input_dir": "INPUT_DIR", "output_dir": "OUTPUT_DIR"}
    arguments = read_arguments(
        "llmjp_jax.corpus.pipeline.build_corpus", parse_flags(flags, "", "", None), unneeded
    )
    return {corpus.name.partition("/")[0]: corpus for corpus in arguments.build()["corpora"]}


def document_of(corpus: str, row: dict) -> dict:
    return reformat(row["raw"], "content" if corpus == "code_stack" else "text")


@pytest.mark.parametrize("corpus", CORPORA)
def test_each_filter_alone_answers_as_the_reference(corpus, rows, folder):
    filters, wrong, compared = filters_alone(folder), [], 0
    for row in rows[corpus]:
        document = document_of(corpus, row)
        before = copy.deepcopy(document)
        for name, expected in row["filters"].items():
            # The reference divides by the length of an empty text; there is no such document after its other filters.
            expected = False if expected == "error:ZeroDivisionError" else expected
            ours = filters[name](document)
            compared += 1
            if ours is not expected:
                wrong.append((row["id"], row["kind"], name, ours, expected))
        assert document == before
    assert wrong == []
    assert compared >= 14 * len(rows[corpus])


@pytest.mark.parametrize("corpus", CORPORA)
def test_each_map_alone_gives_the_reference_text(corpus, rows):
    wrong = []
    for row in rows[corpus]:
        assert row["maps"].keys() == MAPS_ALONE.keys()
        for name, expected in row["maps"].items():
            document = document_of(corpus, row)
            before = document["text"]
            ours = MAPS_ALONE[name](document)["text"]
            if ours != (before if expected is None else expected):
                wrong.append((row["id"], row["kind"], name, ours, expected))
    assert wrong == []


@pytest.mark.parametrize("corpus", CORPORA)
def test_hits_and_characters_are_counted_as_the_reference_counts(corpus, rows, folder):
    counters = {
        name: KeywordCounter(load_word_list(f"llm_jp_{name}", folder), katakana_alone=True)
        for name in COUNTED
    }
    ads = load_word_list("hojichar_advertisement")
    counters["ad"] = KeywordCounter(ads, katakana_alone=False)
    for row in rows[corpus]:
        text = document_of(corpus, row)["text"]
        ours = {f"{name}_hits": counter.count(text) for name, counter in counters.items()}
        ours |= {"n_chars": len(text), "n_utf8": len(text.encode()), "kuten": text.count("。")}
        assert ours == {name: row["counts"][name] for name in ours}, row["id"]


@pytest.mark.parametrize("corpus", CORPORA)
def test_texts_compress_to_the_bytes_of_the_reference(corpus, rows):
    if "zlib-ng" in zlib.ZLIB_RUNTIME_VERSION:
        pytest.skip("this Python has zlib-ng, which compresses to other lengths than zlib")
    for row in rows[corpus]:
        data = document_of(corpus, row)["text"].encode()
        assert compressed_bytes(data) == row["counts"]["zlib9"], row["id"]


@pytest.mark.parametrize(
    ("corpus", "strict"), [*((name, False) for name in CORPORA), ("ja_cc", True)]
)
def test_the_recipe_keeps_and_writes_what_the_reference_does(corpus, strict, rows, folder):
    recipe = corpora(folder, strict)[corpus]
    chain = Chain(parse_steps(recipe.steps, corpus))
    wrong, kept = [], 0
    for row in rows[corpus]:
        document = reformat(row["raw"], recipe.text_field)
        before = document["text"]
        document, reason = chain.run(document, len(before.encode()))
        expected = row["pipeline"]["strict" if strict else "normal"]
        text = expected.get("text")
        same_text = document["text"] == (before if text is None else text)
        keep = reason is None
        if keep is not expected["keep"] or (keep and not same_text):
            wrong.append((row["id"], row["kind"], reason, expected))
        kept += keep
    assert wrong == []
    assert 0 < kept < len(rows[corpus])
