"""Data sets that are not at hand: tiny raw files in the published formats, laid out as tools/download.py unpacks them."""

import json
import random

import pytest

from llmjp_jax.evaluation.preparation import prepare_task
from llmjp_jax.evaluation.preparation.raw_folders import RawFolder
from llmjp_jax.evaluation.tasks import find_task


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, list) and all(isinstance(record, dict) for record in content):
        content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in content)
    elif not isinstance(content, str):
        content = json.dumps(content, ensure_ascii=False)
    path.write_text(content, encoding="utf-8")


def prepared(name, raw):
    files = prepare_task(find_task(name), raw)
    return {split: [(s.input, s.output) for s in file.samples] for split, file in files.items()}


def shuffled(items):
    random.seed(42)
    items = list(items)
    random.shuffle(items)
    return items


def chabsa(folder, count=20):
    for number in range(count):
        opinions = [
            {"target": f"製品{number}", "category": "product#sales", "polarity": "positive", "from": 0, "to": 2},
            {"target": "市況", "category": "market#general", "polarity": "negative", "from": 3, "to": 4},
            {"target": "市況", "category": "market#general", "polarity": "negative", "from": 3, "to": 4},
        ]  # fmt: skip
        write(folder / f"e{number:05}_ann.json", {
            "header": {"document_id": f"E{number:05}"},
            "sentences": [{"sentence_id": 0, "sentence": "意見のない文。", "opinions": []},
                          {"sentence_id": 1, "sentence": f"製品{number}は市況。", "opinions": opinions}],
        })  # fmt: skip


def test_chabsa_lists_every_opinion_of_the_sentences_that_have_one(tmp_path):
    chabsa(tmp_path / "chabsa/chABSA-dataset.unpacked/chABSA-dataset")
    write(tmp_path / "chabsa/chABSA-dataset.unpacked/__MACOSX/chABSA-dataset/._e00000_ann.json", "junk")  # fmt: skip
    found = prepared("chabsa", tmp_path)
    assert [len(samples) for samples in found.values()] == [16, 2, 2]
    written = [(f"文章：製品{i}は市況。", f"製品{i} positive\n市況 negative\n市況 negative") for i in range(20)]  # fmt: skip
    assert sum(found.values(), []) == shuffled(written)


def mmlu(folder, sizes):
    for part in ("dev", "val", "test"):
        for subject, size in sizes.items():
            rows = [f'"{part} {subject} {i}, why?",1,"a, b",3,4,{"ABCD"[i % 4]}\n' for i in range(size)]  # fmt: skip
            write(folder / f"{part}/{subject}_{part}.csv", "".join(rows))


def test_mmluen_takes_a_question_of_each_subject_in_turn_then_the_rest(tmp_path):
    mmlu(tmp_path / "mmlu/mmlu.unpacked/data", {"abstract_algebra": 3, "virology": 5, "anatomy": 2})
    found = prepared("mmluen", tmp_path)
    assert [len(samples) for samples in found.values()] == [10, 10, 10]
    # Sorted by name, each subject shuffled on its own from the same seed.
    a, b, c = (shuffled((s, i) for i in range(n)) for s, n in [("abstract_algebra", 3), ("anatomy", 2), ("virology", 5)])  # fmt: skip
    order = [a[0], b[0], c[0], a[1], b[1], c[1], a[2], *c[2:]]
    for split, part in (("train", "dev"), ("dev", "val"), ("test", "test")):
        assert found[split] == [
            (f"Qusetion: {part} {s} {i}, why?\nChoices: A.1, B.a, b, C.3, D.4", "ABCD"[i % 4])
            for s, i in order
        ]


def alt(folder, unpacked):
    write(folder / "URL-train.txt", "URL.7\thttp://a\nURL.3\thttp://b\nURL.99\thttp://none\n")
    write(folder / "URL-dev.txt", "URL.4\thttp://c\n")
    write(folder / "URL-test.txt", "URL.5\thttp://d\n")
    en = {"3.1": "Three one.", "7.2": "Seven two. ", "7.1": "Seven one.", "7.3": "No Japanese.",
          "4.1": "x" * 250, "4.2": "x" * 249, "5.1": "Five."}  # fmt: skip
    ja = {"5.1": "五。", "4.2": "あ" * 250, "4.1": "あ" * 250, "7.1": "七一。", "7.2": "七二。", "3.1": "三一。", "8.1": "八。"}  # fmt: skip
    for language, sentences in (("en", en), ("ja", ja)):
        lines = "".join(f"SNT.{name}\t{text}\n" for name, text in sentences.items())
        write(folder / unpacked / f"data_{language}.txt", lines + "a line without a tab\n")


@pytest.mark.parametrize("unpacked", [".", "ALT-Parallel-Corpus-20191206.unpacked/ALT-Parallel-Corpus-20191206"])  # fmt: skip
def test_alt_follows_the_split_files_and_drops_500_characters_and_more(tmp_path, unpacked):
    alt(tmp_path / "alt", unpacked)
    found = prepared("alt-e-to-j", tmp_path)
    assert found == {
        "train": [("Seven two.", "七二。"), ("Seven one.", "七一。"), ("Three one.", "三一。")],
        "dev": [("x" * 249, "あ" * 250)],
        "test": [("Five.", "五。")],
    }
    turned = prepared("alt-j-to-e", tmp_path)
    assert turned == {split: [(b, a) for a, b in pairs] for split, pairs in found.items()}


def kyoto(folder, count):
    for number in range(count):
        write(folder / f"BDS/BDS{number:05}.xml", f"""<?xml version="1.0" encoding="UTF-8"?>
<art orl="ja" trl="en">
<tit><j>題</j><e type="trans" ver="1">Title</e><e type="check" ver="1">Title</e></tit>
<par id="1">
<sen id="1"><j>文{number}。</j><e type="trans" ver="1">wrong</e><e type="check" ver="2">A & B {number}.</e></sen>
<sen id="2"><j>訳のない文。</j><e type="trans" ver="1">wrong</e><e type="check" ver="2"></e></sen>
<sen id="3"><j>次。</j><e type="check" ver="2">Next.</e></sen>
</par>
<sec id="1"><par id="2"><sen id="4"><j>{"長" * 300}</j><e type="check" ver="2">{"l" * 200}</e></sen></par></sec>
<sec id="2"><par id="3"><sen id="5"><j>節{number}</j><e type="check" ver="2">Section</e></sen></par></sec>
</art>""")  # fmt: skip


def test_wikicorpus_pairs_checked_paragraphs_and_splits_whole_documents(tmp_path):
    kyoto(tmp_path / "wikicorpus/wiki_corpus_2.01.unpacked", 20)
    found = prepared("wikicorpus-j-to-e", tmp_path)
    assert [len(samples) for samples in found.values()] == [32, 4, 4]
    order = shuffled(range(20))
    assert sum(found.values(), []) == [
        pair
        for n in order
        for pair in ((f"文{n}。 次。", f"A & B {n}. Next."), (f"節{n}", "Section"))
    ]
    turned = prepared("wikicorpus-e-to-j", tmp_path)
    assert turned["dev"] == [(b, a) for a, b in found["dev"]]


def jcola(folder):
    for name, count in (("in_domain_train", 50), ("in_domain_valid", 7), ("out_of_domain_valid", 41)):  # fmt: skip
        write(folder / f"{name}-v1.0.json", [
            {"uid": i, "source": "X_1970", "label": i % 2, "diacritic": "g", "sentence": f"{name}{i}", "original": ""}
            for i in range(count)
        ])  # fmt: skip


def test_jcola_in_domain_tests_on_its_valid_and_out_of_domain_has_few(tmp_path):
    jcola(tmp_path / "jcola")
    found = prepared("jcola-in-domain", tmp_path)
    train = shuffled((f"in_domain_train{i}", str(i % 2)) for i in range(50))
    assert (found["train"], found["dev"]) == (train[:45], train[45:])
    assert found["test"] == [(f"in_domain_valid{i}", str(i % 2)) for i in range(7)]
    found = prepared("jcola-out-of-domain", tmp_path)
    whole = shuffled((f"out_of_domain_valid{i}", str(i % 2)) for i in range(41))
    assert (found["train"], found["dev"], found["test"]) == (whole[:32], whole[32:36], whole[36:])


def test_jblimp_letters_by_chance_then_shuffles_with_the_same_generator(tmp_path):
    write(tmp_path / "jblimp/validated_minimal_pairs.jsonl", [
        {"ID": i, "good_sentence": f"良{i}", "bad_sentence": f"悪{i}", "type": "acceptability"} for i in range(40)
    ])  # fmt: skip
    found = prepared("jblimp", tmp_path)
    assert [len(samples) for samples in found.values()] == [32, 4, 4]
    random.seed(42)
    whole = [(f"a: 良{i}\nb: 悪{i}", "a") if random.randint(0, 1) == 0 else (f"a: 悪{i}\nb: 良{i}", "b") for i in range(40)]  # fmt: skip
    random.shuffle(whole)
    assert sum(found.values(), []) == whole
    assert {answer for _, answer in whole} == {"a", "b"}


def test_niilc_joins_the_answers_that_are_not_empty(tmp_path):
    for split, answers in (("dev", ["赤", " ", "青"]), ("test", ["-"])):
        listed = "".join(f"<answer>{answer}</answer>" for answer in answers)
        question = f"<question><text> 何色？ </text><answers>{listed}</answers></question>"
        plain = "<question><text>誰？</text><answers><answer>私</answer></answers></question>"
        write(tmp_path / f"niilc/NIILC-ECQA2015_{split}.xml", f"<questions>{question}{plain * 9}</questions>")  # fmt: skip
    found = prepared("niilc", tmp_path)
    assert ("質問：何色？", "赤,青") in found["train"] + found["dev"]
    assert found["test"] == [("質問：誰？", "私")] * 9


def test_the_line_ends_in_a_quoted_cell_are_line_feeds(tmp_path):
    mmlu(tmp_path / "mmlu/data", {"abstract_algebra": 1})
    path = tmp_path / "mmlu/data/dev/abstract_algebra_dev.csv"
    path.write_bytes(b'"one\r\ntwo",1,2,3,4,A\r\n')
    assert prepared("mmluen", tmp_path)["train"][0][0].startswith("Qusetion: one\ntwo\nChoices:")


def test_a_folder_is_found_at_its_name_or_deeper_and_not_among_hidden_ones(tmp_path):
    place = RawFolder(("one", "two/deep"), "a/*.txt")
    assert place.find(tmp_path) is None
    write(tmp_path / "one/.git/a/x.txt", "")
    write(tmp_path / "one/a/.records.txt", "")
    assert place.find(tmp_path) is None
    write(tmp_path / "two/deep/zip.unpacked/top/a/x.txt", "")
    assert place.find(tmp_path) == tmp_path / "two/deep/zip.unpacked/top"
    write(tmp_path / "one/a/x.txt", "")
    assert place.find(tmp_path) == tmp_path / "one"


def test_two_copies_of_a_data_set_are_an_error_that_names_both(tmp_path):
    write(tmp_path / "one/x/m.txt", "")
    write(tmp_path / "one/y/m.txt", "")
    with pytest.raises(ValueError, match="several folders.*one/x.*one/y"):
        RawFolder(("one",), "m.txt").find(tmp_path)
    assert RawFolder(("one",), "m.txt", within="y").find(tmp_path) == tmp_path / "one/y"
