"""The index for Quickwit: its configuration is as its documentation allows, and its documents give the same answers in Tantivy."""

from __future__ import annotations

import json
import random
import re

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.search import DocumentId, Where
from llmjp_jax.search.quickwit import export, index_config, search_request
from llmjp_jax.search.terms import schema
from tests.search.brute_force import id_query, text_query

# docs/configuration/index-config.md of Quickwit 0.9; what is not in the table of a type is refused.
OPTIONS = {
    "text": {"description", "stored", "indexed", "tokenizer", "record", "fieldnorms", "fast"},
    "u64": {"description", "stored", "indexed", "fast", "coerce", "output_format"},
}
TOKENIZERS = {"raw", "raw_lowercase", "default", "en_stem", "whitespace", "chinese_compatible", "lowercase"}  # fmt: skip
RECORDS = ["basic", "freq", "position"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory, small_index):
    """The configuration and the lines."""
    folder = tmp_path_factory.mktemp("quickwit") / "export"
    config, *files = export(small_index, folder)
    assert len(files) == sum(len(info.shards) for info in small_index.stores.values())
    return json.loads(config.read_text()), read_lines(files)


def read_lines(files) -> list[dict]:
    return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]


@pytest.fixture(scope="module")
def tantivy_index(exported):
    """What Quickwit would make of them: a Tantivy index by the configuration's mapping."""
    import tantivy

    config, lines = exported
    builder = tantivy.SchemaBuilder()
    for field in config["doc_mapping"]["field_mappings"]:
        if field["type"] == "u64":
            builder.add_unsigned_field(field["name"], stored=True, indexed=True, fast=True)
        elif field.get("indexed", True):
            builder.add_text_field(
                field["name"],
                stored=field.get("stored", True),
                tokenizer_name=field["tokenizer"],
                index_option=field["record"],
            )
    index = tantivy.Index(builder.build())
    whitespace = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
    index.register_tokenizer("whitespace", whitespace)
    writer = index.writer(50_000_000, 1)
    mapped = {f["name"] for f in config["doc_mapping"]["field_mappings"] if f.get("indexed", True)}
    for line in lines:
        document = tantivy.Document()
        for name in mapped & set(line):
            add = document.add_unsigned if name == "number" else document.add_text
            add(name, line[name])
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    return index


def ask(index, request) -> set[str]:
    """The documents that a request finds: phrase, prefix and terms as Quickwit makes them Tantivy's queries."""
    import tantivy

    def query(node):
        ((kind, body),) = node.items()
        if kind == "bool":
            some = [(tantivy.Occur.Should, query(one)) for one in body["should"]]
            return tantivy.Query.boolean_query(some)
        ((field, value),) = body.items()
        if kind == "match_phrase":
            terms = value["query"].split(" ")
            if len(terms) > 1:
                return tantivy.Query.phrase_query(index.schema, field, terms)
            return tantivy.Query.term_query(index.schema, field, terms[0])
        if kind == "prefix":
            pattern = re.escape(value["value"]) + "(?s:.*)"
            return tantivy.Query.regex_query(index.schema, field, pattern)
        assert kind == "term"
        return tantivy.Query.term_query(index.schema, field, value["value"])

    parts = request["query"]["bool"]
    queries = [(tantivy.Occur.Must, query(node)) for node in parts["must"] + parts["filter"]]
    searcher = index.searcher()
    hits = searcher.search(tantivy.Query.boolean_query(queries), limit=100_000).hits
    return {searcher.doc(address)["id"][0] for _, address in hits}


def named(results) -> set[str]:
    assert len(results.hits) == results.counts.documents
    return {str(hit.document) for hit in results.hits}


def test_the_configuration_has_only_what_the_documentation_allows():
    config = index_config()
    assert set(config) == {"version", "index_id", "doc_mapping", "search_settings"}
    assert config["version"] in ("0.7", "0.8", "0.9")
    fields = config["doc_mapping"]["field_mappings"]
    by_name = {field["name"]: field for field in fields}
    assert len(by_name) == len(fields)
    for field in fields:
        assert re.fullmatch(r"[@$_\-a-zA-Z][@$_/.\-a-zA-Z0-9]{0,254}", field["name"])
        assert field["name"] not in ("_source", "_dynamic", "_field_presence")
        assert set(field) - {"name", "type"} <= OPTIONS[field["type"]]
        if field["type"] == "text" and field.get("indexed", True):
            assert field["tokenizer"] in TOKENIZERS and field["record"] in RECORDS
        else:  # these are allowed only where a text is indexed
            assert not {"tokenizer", "record", "fieldnorms"} & set(field)
    for name in config["doc_mapping"]["tag_fields"]:
        assert by_name[name]["tokenizer"] == "raw"
    for name in config["search_settings"]["default_search_fields"]:
        assert by_name[name].get("indexed", True)
    assert config["doc_mapping"]["mode"] == "strict"


def test_the_fields_are_recorded_as_in_the_index_here(tmp_path):
    import tantivy

    tantivy.Index(schema(), path=str(tmp_path))
    described = json.loads((tmp_path / "meta.json").read_text())["schema"]
    ours = {
        field["name"]: field["options"]["indexing"]["record"]
        for field in described
        if field["type"] == "text"
    }
    theirs = {
        field["name"]: field["record"]
        for field in index_config()["doc_mapping"]["field_mappings"]
        if field.get("tokenizer") == "whitespace"
    }
    assert theirs == ours


@pytest.mark.parametrize("name", ["ab", "1abc", "a.b.c", "a" * 256, ""])
def test_a_name_that_quickwit_refuses_is_refused(name):
    with pytest.raises(UserError, match="no name of an index in Quickwit"):
        index_config(name)


def test_each_document_is_a_line_with_the_fields_of_the_mapping_alone(exported, small_corpora):
    config, lines = exported
    names = {field["name"] for field in config["doc_mapping"]["field_mappings"]}
    assert {name for line in lines for name in line} == names
    for line in lines:
        assert line["text"] == small_corpora.texts[line["subset"], line["split"]][line["number"]]
        assert line["id"] == f"{line['subset']}/{line['split']}/{line['number']}"
        assert line["licence"] == f"CC-{line['subset']}"
    assert len({line["id"] for line in lines}) == sum(map(len, small_corpora.texts.values()))


def test_texts_are_found_in_the_same_documents(tantivy_index, small_index, small_corpora):
    choose = random.Random(0)
    texts = [text for some in small_corpora.texts.values() for text in some]
    found = 0
    for _ in range(400):
        query = text_query(choose, texts)
        if re.search("[\ufdd0-\ufdef]", query):
            continue  # noncharacters stand for white space in the terms; only the text tells them apart
        expected = named(small_index.find_text(query, limit=100_000))
        got = ask(tantivy_index, search_request(text=query))
        assert {one for one in got if "非文字" not in text_of(one, small_corpora)} == {
            one for one in expected if "非文字" not in text_of(one, small_corpora)
        }, query
        found += bool(expected)
    assert 100 < found < 390


def test_token_ids_are_found_in_the_same_documents(tantivy_index, small_index):
    choose = random.Random(1)
    rows = [document.tokens for store in small_index.stores for document in small_index.documents(store)]  # fmt: skip
    found = 0
    for _ in range(400):
        query = id_query(choose, rows, small_index.vocabulary.vocab_size)
        expected = named(small_index.find_tokens(query, limit=100_000))
        assert ask(tantivy_index, search_request(ids=query)) == expected, query
        found += bool(expected)
    assert 100 < found < 390


def test_stores_are_filtered_alike(tantivy_index, small_index):
    for where in (Where(("ja",)), Where(splits=("validation",)), Where(("ja", "en"), ("train",))):
        expected = named(small_index.find_text("。", where, limit=100_000))
        assert ask(tantivy_index, search_request(text="。", where=where)) == expected


@pytest.mark.parametrize("asked", [{}, {"text": ""}, {"ids": []}, {"text": "a", "ids": [1]}])
def test_a_request_for_nothing_or_for_two_things_is_refused(asked):
    with pytest.raises(UserError, match="look for"):
        search_request(**asked)


def test_a_folder_with_files_is_left_alone(tmp_path, small_index):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds files already"):
        export(small_index, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_only_the_stores_that_were_asked_for_are_written(tmp_path, small_index):
    _, *files = export(small_index, tmp_path / "out", where=Where(splits=("validation",)))
    lines = read_lines(files)
    assert {(line["subset"], line["split"]) for line in lines} == {("ja", "validation")}


def text_of(name: str, small_corpora) -> str:
    id = DocumentId.parse(name)
    return small_corpora.texts[id.subset, id.split][id.number]
