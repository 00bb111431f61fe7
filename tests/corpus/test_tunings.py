"""Manifests of tuning sets and tunings: what the paper counts, where files are looked for, and each mistake is one sentence."""

import pytest

from llmjp_jax.corpus import tunings
from llmjp_jax.corpus.tunings import describe_tuning, load_tuning, load_tuning_set, tuning_names
from llmjp_jax.errors import UserError


def read(monkeypatch, entries):
    """The tunings of one manifest, `data/tuning.toml`."""
    monkeypatch.setattr(tunings, "manifest_names", lambda: ["tuning"])
    monkeypatch.setattr(tunings, "load_manifest", lambda name: entries)
    caches = (tunings._tables, tunings._all_sets, tunings._all_tunings)
    for cached in caches:
        cached.cache_clear()
    try:
        return tunings._all_tunings()
    finally:
        for cached in caches:
            cached.cache_clear()


TEXT = {"download": "dolly_ja", "form": "dolly", "train": ["a.jsonl"]}
PAIRS = {"download": "hh_rlhf_ja", "form": "preference", "train": ["p.jsonl"]}


# The paper's table 7.
@pytest.mark.parametrize(
    "name, examples",
    [
        ("jaster", 136_605), ("dolly_en", 15_011), ("dolly_ja", 15_011), ("oasst1_en", 21_164), ("oasst1_ja", 21_164),
        ("hh_rlhf_ja", 12_000), ("oasst2_en", 32_702), ("oasst2_ja", 32_702), ("ichikara_003_001", 2_903),
        ("ichikara_004_001", 9_103), ("answer_carefully_001", 762),
    ],
)  # fmt: skip
def test_a_set_has_the_papers_number_of_examples_and_a_licence(name, examples):
    found = load_tuning_set(name)
    assert found.examples == examples
    assert found.source.licence and found.source.home.startswith("https://")
    assert found.kind == ("pairs" if name == "hh_rlhf_ja" else "examples")


# The paper's table 9, without jaster's tasks and DPO.
@pytest.mark.parametrize(
    "name, template, sets",
    [
        ("tuning_v1_jaster", "v1.0", "jaster"),
        ("tuning_v1_dolly_oasst", "v1.0", "dolly_ja oasst1_ja"),
        ("tuning_v1_jaster_dolly_oasst", "v1.0", "dolly_ja jaster oasst1_ja"),
        ("tuning_v1_1", "v1.1", "dolly_en dolly_ja ichikara_003_001 oasst1_en oasst1_ja"),
        ("preferences_v1_1", "v1.1", "hh_rlhf_ja"),
        ("tuning_v2", "v1.1", "dolly_en dolly_ja ichikara_004_001 oasst1_en oasst1_ja oasst2_en oasst2_ja"),
        ("tuning_v2_ac", "v1.1",
         "answer_carefully_001 dolly_en dolly_ja ichikara_004_001 oasst1_en oasst1_ja oasst2_en oasst2_ja"),
    ],
)  # fmt: skip
def test_a_tuning_has_the_papers_sets(name, template, sets):
    tuning = load_tuning(name)
    assert sorted(tuning.sets) == sets.split() and set(tuning.repeats.values()) == {1}
    assert tuning.template == template and tuning.bos == (name == "preferences_v1_1")


def test_model_o_reads_answer_carefully_sixteen_times():
    once, often = load_tuning("tuning_v2_ac"), load_tuning("tuning_v2_ac_16x")
    assert dict(often.repeats) == dict(once.repeats) | {"answer_carefully_001": 16}
    assert "762 x 16" in describe_tuning(often)


def test_jasters_tasks_are_those_of_llm_jp_sft():
    jaster = load_tuning_set("jaster")
    tasks = "jamp janli jcommonsenseqa jemhopqa jnli jsem jsick jsquad jsts niilc".split()
    for patterns in (jaster.train, jaster.validation):
        assert [pattern.rsplit("/", 1)[1] for pattern in patterns] == [f"{task}.json" for task in tasks]  # fmt: skip


def test_a_description_says_what_is_trained_on_and_which_files_are_wanted():
    told = describe_tuning(load_tuning("preferences_v1_1"))
    assert "10,800 pairs an epoch" in told and "10% of its records, seed 42" in told
    assert "DOWNLOADS_DIR/hh_rlhf_ja/hh-rlhf-12k-ja.jsonl" in told


def test_files_are_found_in_any_folder_of_the_download_in_the_order_of_the_patterns(tmp_path):
    jaster = load_tuning_set("jaster")
    for split in ("train", "dev_first100"):
        folder = tmp_path / "jaster" / "1.3.0" / "tuning" / split
        folder.mkdir(parents=True)
        for pattern in reversed(jaster.train):
            (folder / pattern.rsplit("/", 1)[1]).touch()
    files = jaster.files(tmp_path)
    assert [path.name for path in files["train"]] == [p.rsplit("/", 1)[1] for p in jaster.train]
    assert {path.parent.name for path in files["validation"]} == {"dev_first100"}
    (tmp_path / "jaster" / "1.2.0" / "tuning" / "train").mkdir(parents=True)
    (tmp_path / "jaster" / "1.2.0" / "tuning" / "train" / "jnli.json").touch()
    with pytest.raises(UserError, match=r"1\.2\.0.*1\.3\.0.*keep one of them"):
        jaster.files(tmp_path)


@pytest.mark.parametrize(
    "name, how", [("dolly_ja", "tools/download.py dolly_ja"), ("ichikara_003_001", "RIKEN gives")]
)
def test_a_missing_set_is_named_with_the_way_to_get_it(tmp_path, name, how):
    with pytest.raises(UserError, match=f"the set {name} .*{how}"):
        load_tuning_set(name).files(tmp_path)


def test_a_name_that_no_manifest_has_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="did you mean tuning_v2"):
        load_tuning("tuning_v3")
    with pytest.raises(UserError, match="did you mean dolly_ja"):
        load_tuning_set("doly_ja")
    assert "tuning_v1_1" in tuning_names()


def test_repeats_add_to_and_change_those_of_the_tuning_it_is_like(monkeypatch):
    found = read(monkeypatch, {"sets": {"a": TEXT, "b": TEXT}, "tunings": {
        "m": {"template": "v1.1", "repeats": {"a": 1}},
        "n": {"template": "v1.0", "like": "m", "repeats": {"b": 2, "a": 3}},
    }})  # fmt: skip
    assert found["n"].repeats == {"a": 3, "b": 2} and found["m"].repeats == {"a": 1}


def tuning(**fields):
    return {"sets": {"a": TEXT, "p": PAIRS}, "tunings": {"m": {"template": "v1.1", "repeats": {"a": 1}} | fields}}  # fmt: skip


@pytest.mark.parametrize(
    "entries, message",
    [
        ({"sets": {"a": TEXT | {"size": 3}}}, r"\[sets.a\] has an unknown field size"),
        ({"sets": {"a": TEXT | {"download": "dolly"}}}, "download = 'dolly' is none that is known.*did you mean dolly_"),
        ({"sets": {"a": TEXT | {"form": "doly"}}}, "form = 'doly' is none that is known.*did you mean dolly"),
        ({"sets": {"a": TEXT | {"train": []}}}, r"\[sets.a\] has no field train"),
        ({"sets": {"a": TEXT | {"train": "x"}}}, "train = 'x' must be a list of patterns"),
        ({"sets": {"a": TEXT | {"examples": 1.5}}}, "examples = 1.5 must be a positive whole number"),
        ({"sets": {"a": TEXT | {"held_out": {"share": 2.0, "seed": 1}}}}, r"\[sets.a\]: held_out: share = 2.0"),
        ({"sets": {"a": TEXT | {"held_out": {"share": 0.5, "seed": -1}}}}, "seed = -1"),
        ({"sets": {"a": TEXT | {"held_out": 0.1}}}, "held_out must be"),
        ({"sets": {"a": TEXT | {"held_out": {"share": 0.5, "seed": 1}, "validation": ["b"]}}}, "both validation and held_out"),
        ({"sets": {"a": TEXT}, "tunings": {"a": {}}}, r"\[tunings.a\]: data/tuning.toml, \[sets.a\] has this name too"),
        (tuning(note="x"), r"\[tunings.m\] has an unknown field note"),
        (tuning(repeats={"b": 1}), "names the set b, which no manifest has"),
        (tuning(repeats={"a": 0}), "a = 0 must be a positive whole number"),
        (tuning(repeats={"a": 1, "p": 1}), "sets of examples, or sets of pairs"),
        (tuning(repeats={}), "sets of examples, or sets of pairs"),
        (tuning(template=None), "no field template"),
        (tuning(bos=1), "bos = 1 must be true or false"),
        (tuning(like="m"), "like = 'm' must name another tuning"),
        (tuning(like="n"), "like = 'n' must name another tuning"),
    ],
)  # fmt: skip
def test_a_manifest_with_a_mistake_is_refused(monkeypatch, entries, message):
    with pytest.raises(UserError, match=message):
        read(monkeypatch, entries)
