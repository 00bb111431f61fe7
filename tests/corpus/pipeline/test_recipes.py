"""The gin files: every corpus of LLM-jp, with its steps and thresholds in its order."""

import pytest

from llmjp_jax.corpus import load_mixtures
from llmjp_jax.corpus.pipeline import SlurmExecutor
from llmjp_jax.errors import UserError
from llmjp_jax.launch import parse_flags, read_arguments

PLACES = ["--gin.INPUT_DIR=raw", "--gin.OUTPUT_DIR=out"]


def arguments(name: str, *flags: str) -> dict:
    argv = [f"--gin_file=gin_configs/corpus/{name}.gin", *PLACES, *flags]
    parsed = parse_flags(argv, "", "", None, processes=False)
    return read_arguments("llmjp_jax.corpus.pipeline.build_corpus", parsed).build()


def corpora(name: str, *flags: str) -> dict:
    return {corpus.name: corpus for corpus in arguments(name, *flags)["corpora"]}


def labels(corpus) -> list[str]:
    return [step.label for step in corpus.parsed_steps()]


def test_v1_has_the_facts_steps_in_order():
    found = corpora("v1")
    assert list(found) == ["ja_wiki", "ja_cc", "en_wiki", "en_pile", "code_stack"]
    wikipedia = ["not_empty", "cut_footnotes", "clean_parentheses", "not_empty #2"]
    assert labels(found["ja_wiki"]) == labels(found["en_wiki"]) == wikipedia
    names = [step.name for step in found["ja_cc"].parsed_steps()]
    assert (
        names
        == (
            "valid_domain not_empty is_japanese advertisements adult discrimination violence "
            "average_sentence_length compression_ratio extract_japanese not_empty"
        ).split()
    )
    parameters = {step.name: step.parameters for step in found["ja_cc"].parsed_steps()}
    assert parameters["is_japanese"] == {"lookup": 50}
    assert parameters["advertisements"]["limit"] == 10
    assert [parameters[name]["limit"] for name in ("adult", "discrimination", "violence")] == [
        3
    ] * 3
    assert parameters["average_sentence_length"] == {"limit": 250}
    assert parameters["compression_ratio"] == {"low": 0.30, "high": 0.70}
    assert [step.parameters for step in found["code_stack"].parsed_steps()][1:4] == [
        {"limit": 1000}, {"limit": 100}, {"low": 0.25},
    ]  # fmt: skip
    assert found["code_stack"].text_field == "content"
    assert {corpus.folds for corpus in found.values()} == {10}


def test_the_refined_text_has_the_strict_thresholds():
    found = corpora("v1_refined")
    assert list(found) == [f"{name}/refined" for name in corpora("v1")]
    parameters = {step.name: step.parameters for step in found["ja_cc/refined"].parsed_steps()}
    assert [parameters[name]["limit"] for name in ("adult", "discrimination", "violence")] == [
        2
    ] * 3
    assert parameters["average_sentence_length"] == {"limit": 80}
    assert parameters["compression_ratio"] == {"low": 0.375, "high": 0.70}
    assert {corpus.folds for corpus in found.values()} == {0}


def test_v2_has_all_rungs_of_the_ladder():
    found = corpora("v2", "--gin.KENLM_MODEL=None", "--gin.WITHOUT_KENLM=leave_out")
    assert len(found["ja_cc_v2"].parsed_steps()) == 24
    names = [step.name for step in found["ja_cc_v2"].parsed_steps()]
    assert (
        names[:10]
        == (
            "doc_length deduplicate_documents_percentile hiragana_ratio hiragana_ratio link_char_ratio link_char_ratio "
            "merge_list_tag markdownize_heading no_content_dom large_freq_paragraphs"
        ).split()
    )
    assert found["ja_cc_v2"].paragraph_statistics == {}
    with pytest.raises(UserError, match="KENLM_MODEL"):
        corpora("v2")


@pytest.mark.parametrize(
    ("recipe", "mixture", "flags"),
    [
        ("v1", "corpus_v1", ()),
        ("v1_refined", "corpus_v1_refined", ()),
        ("v2", "corpus_v2", ("--gin.KENLM_MODEL=model.bin",)),
        ("quickstart", "quickstart", ()),
    ],
)
def test_a_recipe_writes_where_its_mixture_reads(recipe, mixture, flags):
    written = {
        f"{name}/fold_00" if corpus.folds else name
        for name, corpus in corpora(recipe, *flags).items()
    }
    first = load_mixtures(mixture)[0]
    read = {
        "/".join(filter(None, [subset.folder or subset.name, first.part]))
        for subset in first.subsets.values()
    }
    assert written == read


def test_own_text_needs_its_files_alone():
    (corpus,) = corpora("own_text", "--gin.INPUTS=['a.jsonl']", "--gin.TEXT_FIELD=None").values()
    assert corpus.inputs == ["a.jsonl"]
    assert corpus.near_deduplication == {"threshold": 0.8}
    assert corpus.text_field is None


def test_another_executor_is_one_binding():
    found = arguments(
        "quickstart",
        "--gin.EXECUTOR=@pipeline.SlurmExecutor()",
        "--gin.SlurmExecutor.partition=cpu",
        "--gin.SlurmExecutor.time=1:00:00",
    )
    assert found["executor"] == SlurmExecutor(partition="cpu", time="1:00:00")
