"""The tasks on the Wikipedia Annotated Corpus: official hashes, and each rule on a small document made for it."""

import hashlib
import json

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.preparation import wikipedia
from llmjp_jax.evaluation.task_files import SPLITS, TaskFile
from llmjp_jax.evaluation.tasks import find_task

PREPARERS = {
    "wiki_reading": wikipedia.prepare_reading,
    "wiki_ner": wikipedia.prepare_ner,
    "wiki_dependency": wikipedia.prepare_dependency,
    "wiki_pas": wikipedia.prepare_pas,
    "wiki_coreference": wikipedia.prepare_coreference,
}
POS = {
    "n": "名詞 6 普通名詞 1 * 0 * 0",
    "v": "動詞 2 * 0 子音動詞ラ行 10 基本形 2",
    "p": "助詞 9 格助詞 1 * 0 * 0",
    "s": "特殊 1 句点 1 * 0 * 0",
    "c": "判定詞 4 * 0 判定詞 25 基本形 2",
}


def knp(*sentences) -> str:
    """KNP text of sentences `(comment, lines)`; a line is a `*` or `+` line, or 'surface reading letter'."""
    text = []
    for number, (comment, lines) in enumerate(sentences, 1):
        text.append(f"# S-ID:doc-{number:02} {comment}".rstrip())
        for line in lines:
            if line[0] in "*+":
                text.append(line)
            else:
                surface, reading, kind = line.split(" ")
                text.append(f"{surface} {reading} {surface} {POS[kind]} NIL")
        text.append("EOS")
    return "\n".join(text) + "\n"


@pytest.fixture
def corpus(tmp_path):
    """Writes documents of train (dev and test have one word) and gives the raw folder."""

    def write(*documents: str):
        word = knp(("", ["* -1D", "+ -1D", "語 ご n"]))
        names = {"train": [], "dev": ["wiki9999dev"], "test": ["wiki9999test"]}
        texts = {"wiki9999dev": word, "wiki9999test": word}
        for number, text in enumerate(documents):
            name = f"wiki{number:04}doc"
            names["train"].append(name)
            texts[name] = text
        for split, listed in names.items():
            (tmp_path / "id").mkdir(exist_ok=True)
            (tmp_path / "id" / f"{split}.id").write_text("".join(f"{n}\n" for n in listed[::-1]))
        for name, text in texts.items():
            path = tmp_path / "knp" / name[:8] / f"{name}.knp"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path

    wikipedia._prepare.cache_clear()
    return write


def task_bytes(name: str, samples) -> bytes:
    task = find_task(name)
    return TaskFile(task.instruction, task.output_length, task.metrics, tuple(samples)).bytes()


@pytest.mark.parametrize("name", PREPARERS)
def test_the_files_have_the_official_hashes(name, shared_data):
    splits = PREPARERS[name](shared_data / "evaluation" / "raw" / "wikipedia_annotated_corpus")
    found = {s: hashlib.sha256(task_bytes(name, getattr(splits, s))).hexdigest() for s in SPLITS}
    assert found["dev"] == find_task(name).official_sha256["1.3.1"]
    golden = shared_data / "evaluation" / "golden" / "processed" / f"{name}.json"
    if golden.is_file():
        wanted = json.loads(golden.read_text(encoding="utf-8"))["splits"]
        assert found == {s: wanted[s]["sha256_of_complete_file"] for s in SPLITS}


BRACKETS = knp(
    ("括弧削除", ["* 1D", "+ 1D <NE:LOCATION:江戸>", "江戸 えど n", "は は p", "* -1D", "+ -1D", "町 まち n"]),
    ("括弧始:（ 括弧終:） 括弧位置:2", ["* -1D", "+ -1D <NE:LOCATION:東京>", "東京 とうきょう n"]),
    ("括弧始:『 括弧終:』 括弧位置:3", ["* -1D", "+ -1D <NE:OPTIONAL:今>", "今 いま n"]),
)  # fmt: skip


def test_a_bracket_is_put_back_where_it_was_and_its_entity_comes_after_those_of_its_sentence(
    corpus,
):
    (sample,) = wikipedia.prepare_ner(corpus(BRACKETS)).train
    # The second bracket of the same sentence is not put back: llm-jp-eval's own behaviour.
    assert sample.input == "江戸（東京）は町今"
    assert sample.output == "江戸（地名） 東京（地名）"


def test_reading_and_dependency_leave_bracketed_sentences_out(corpus):
    raw = corpus(BRACKETS)
    (reading,) = wikipedia.prepare_reading(raw).train
    assert (reading.input, reading.output) == ("江戸は町", "えどはまち")
    (dependency,) = wikipedia.prepare_dependency(raw).train
    assert (dependency.input, dependency.output) == ("江戸は町", "江戸は -> 町")


def test_a_lost_bracket_without_its_sentence_is_named(corpus):
    text = knp(("括弧削除", ["* -1D", "+ -1D <NE:LOCATION:町>", "町 まち n"]))
    with pytest.raises(UserError, match="sentence doc-01 lost a bracket"):
        wikipedia.prepare_ner(corpus(text))


def test_readings_spell_capitals_take_the_first_of_several_and_skip_the_rest_of_a_word(corpus):
    morphemes = ["WHO WHO n", "no no n", "日本 にほん/にっぽん n", "/ / s", "田 いなか n", "舎 \u3000 n", "\u3000 \u3000 s"]  # fmt: skip
    (sample,) = wikipedia.prepare_reading(corpus(knp(("", ["* -1D", "+ -1D", *morphemes])))).train
    assert sample.input == "WHOno日本/田舎\u3000"
    assert sample.output == "だぶりゅーえいちおーnoにほんいなか\u3000"


def test_an_optional_entity_is_not_asked_for_and_a_document_without_answer_is_left_out(corpus):
    optional = knp(("", ["* -1D", "+ -1D <NE:OPTIONAL:町>", "町 まち n"]))
    person = knp(("", ["* -1D", "+ -1D <NE:PERSON:漱石>", "漱石 そうせき n"]))
    raw = corpus(optional, person)
    assert [s.output for s in wikipedia.prepare_ner(raw).train] == ["漱石（人名）"]
    assert [s.input for s in wikipedia.prepare_reading(raw).train] == ["町", "漱石"]


def rel(case: str, target: str, number: int | None, sentence: int = 1) -> str:
    place = "" if number is None else f' sid="doc-{sentence:02}" id="{number}"'
    return f'<rel type="{case}" target="{target}"{place}/>'


PREDICATE = knp(
    (
        "",
        [
            "* 2D",
            "+ 1D",
            "赤い あかい n",
            "+ 3D",
            "花 はな n",
            "を を p",
            "* 2D",
            "+ 3D",
            "庭 にわ n",
            "に に p",
            "* -1D",
            "+ -1D {rels}",
            "植わる うわる v",
            "。 。 s",
        ],
    )
)


@pytest.mark.parametrize(
    ("rels", "answer"),
    [
        # Particles go, the modifier within the bunsetsu stays, and the cases come in their fixed order.
        (rel("ニ", "庭", 2) + rel("ガ", "花", 1), "植わる ガ：赤い花 ニ：庭"),
        (rel("ガ２", "庭", 2) + rel("ガ", "花", 1), "植わる ガ：赤い花 ガ：庭"),
        (rel("ガ", "不特定:人", None) + rel("ニ", "庭", 2), "植わる ニ：庭"),  # outside the text
        (rel("ガ", "花", 1) + rel("ガ", "なし", None) + rel("ニ", "庭", 2), "植わる ニ：庭"),
        (rel("ニ≒", "庭", 2) + rel("ガ", "花", 1), "植わる ガ：赤い花"),
        (rel("ガ", "植わる", 3) + rel("ニ", "庭", 2), "植わる ニ：庭"),  # its own bunsetsu
        (rel("ノ", "庭", 2) + rel("ガ", "花", 1), "植わる ガ：赤い花"),  # no case of a predicate
    ],
)
def test_arguments_are_those_in_the_text_that_are_not_optional(rels, answer, corpus):
    raw = corpus(PREDICATE.replace("{rels}", rels))
    assert [s.output for s in wikipedia.prepare_pas(raw).train] == [answer]


def test_a_predicate_keeps_its_copula_and_a_document_without_arguments_is_left_out(corpus):
    copula = knp(
        (
            "",
            [
                "* 1D",
                "+ 1D",
                "彼 かれ n",
                "は は p",
                "* -1D",
                "+ -1D " + rel("ガ", "彼", 0),
                "学生 がくせい n",
                "だ だ c",
                "。 。 s",
            ],
        )
    )
    raw = corpus(copula, PREDICATE.replace("{rels}", rel("ガ", "著者", None)))
    assert [s.output for s in wikipedia.prepare_pas(raw).train] == ["学生だ ガ：彼"]


def words(*items) -> list[str]:
    """One bunsetsu a word: `(surface, tags)`, each depending on the next."""
    lines = []
    for number, (surface, tags) in enumerate(items):
        head = number + 1 if number + 1 < len(items) else -1
        lines += [f"* {head}D", f"+ {head}D {tags}".rstrip(), f"{surface} {surface} n"]
    return lines


def coreference_of(corpus, *sentences) -> list[str]:
    return [s.output for s in wikipedia.prepare_coreference(corpus(knp(*sentences))).train]


def test_phrases_of_the_same_thing_stand_on_one_line_in_order_of_the_text(corpus):
    first = words(("犬", ""), ("猫", ""), ("それ", rel("=", "犬", 0)))
    second = words(("彼女", rel("=", "猫", 1)), ("あれ", rel("=", "それ", 2)))
    assert coreference_of(corpus, ("", first), ("", second)) == ["犬 それ あれ\n猫 彼女"]


@pytest.mark.parametrize(
    "tags", [rel("=≒", "犬", 0), rel("=構≒", "犬", 0), rel("ガ", "犬", 0), rel("=", "著者", None)]
)
def test_only_the_identity_of_two_phrases_makes_a_line(tags, corpus):
    assert coreference_of(corpus, ("", words(("犬", ""), ("それ", tags)))) == []


def test_phrases_that_are_the_same_person_outside_the_text_belong_together_and_two_persons_do_not(
    corpus,
):
    sentence = words(
        ("私", rel("=", "著者", None)),
        ("僕", rel("=", "著者", None)),
        ("君", rel("=", "読者", None)),
    )
    assert coreference_of(corpus, ("", sentence)) == ["私 僕"]


def test_a_link_into_a_bracket_counts_for_nothing(corpus):
    sentences = [
        ("括弧削除", words(("犬", ""), ("猫", ""))),
        ("括弧始:（ 括弧終:） 括弧位置:1", words(("いぬ", rel("=", "犬", 0)))),
        ("", words(("それ", rel("=", "いぬ", 0, sentence=2)), ("猫", rel("=", "猫", 1)))),
    ]
    assert coreference_of(corpus, *sentences) == ["猫 猫"]


def test_documents_come_in_the_order_of_their_names(corpus):
    documents = [knp(("", ["* -1D", "+ -1D", f"{n} {n} n"])) for n in ("一", "二", "三")]
    assert [s.input for s in wikipedia.prepare_reading(corpus(*documents)).train] == ["一", "二", "三"]  # fmt: skip


def test_a_missing_listing_a_missing_document_and_one_that_is_no_knp_are_named(corpus):
    raw = corpus(knp(("", ["* -1D", "+ -1D", "語 ご n"])))
    document = raw / "knp" / "wiki0000" / "wiki0000doc.knp"
    document.write_text("# S-ID:doc-01\n* -1D\n+ -1D\nbroken\nEOS\n", encoding="utf-8")
    with pytest.raises(UserError, match="wiki0000doc.knp is not in KNP's format"):
        wikipedia.prepare_reading(raw)
    document.unlink()
    with pytest.raises(UserError, match="wiki0000doc.knp is missing"):
        wikipedia.prepare_reading(raw)
    (raw / "id" / "dev.id").unlink()
    with pytest.raises(UserError, match="dev.id is missing"):
        wikipedia.prepare_reading(raw)
