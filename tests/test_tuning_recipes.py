"""The gin files of tuned models: each released one, C to O of the paper's table 9, with what LLM-jp published of it."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from llmjp_jax.corpus.tunings import load_tuning, tuning_names
from llmjp_jax.models import abstract_decoder, adapters_of, parameter_count
from llmjp_jax.posttraining import DPO
from tests.test_recipes import CONFIGS, TUNED, TUNING_DATA, arguments, lay_out, recipe

START = {"INITIAL_CHECKPOINT_PATH": "llm-jp-13b"}
TUNING_RUNS = ["sft", "lora", "dpo", "dpo_lora"]
FULL_V1_1, LORA_V1_1 = (
    f"llm-jp/llm-jp-13b-instruct-{how}-dolly_en-dolly_ja-ichikara_003_001-oasst_en-oasst_ja-v1.1"
    for how in ("full", "lora")
)
RELEASED = {
    "v1.0/instruct_full_jaster": "llm-jp/llm-jp-13b-instruct-full-jaster-v1.0",
    "v1.0/instruct_lora_jaster": "llm-jp/llm-jp-13b-instruct-lora-jaster-v1.0",
    "v1.0/instruct_full_dolly_oasst": "llm-jp/llm-jp-13b-instruct-full-dolly-oasst-v1.0",
    "v1.0/instruct_full_jaster_dolly_oasst": "llm-jp/llm-jp-13b-instruct-full-jaster-dolly-oasst-v1.0",
    "v1.0/instruct_lora_dolly_oasst": "llm-jp/llm-jp-13b-instruct-lora-dolly-oasst-v1.0",
    "v1.0/instruct_lora_jaster_dolly_oasst": "llm-jp/llm-jp-13b-instruct-lora-jaster-dolly-oasst-v1.0",
    "v1.1/instruct_full": FULL_V1_1,
    "v1.1/instruct_lora": LORA_V1_1,
    "v1.1/dpo_lora": "llm-jp/llm-jp-13b-dpo-lora-hh_rlhf_ja-v1.1",
    "v2.0/instruct": "llm-jp/llm-jp-13b-instruct-full-dolly-ichikara_004_001_single-oasst-oasst2-v2.0",
    "v2.0/instruct_ac": "llm-jp/llm-jp-13b-instruct-full-ac_001-dolly-ichikara_004_001_single-oasst-oasst2-v2.0",
    "v2.0/instruct_ac_16x": "llm-jp/llm-jp-13b-instruct-full-ac_001_16x-dolly-ichikara_004_001_single-oasst-oasst2-v2.0",
}


def test_each_released_model_is_a_file_and_names_itself():
    assert sorted(RELEASED) == sorted(TUNED)
    for name, released in RELEASED.items():
        first = (CONFIGS / f"{name}.gin").read_text().splitlines()[0]
        assert first.startswith(f"# {released},"), name


def test_the_table_names_each_released_model_with_its_file_and_data():
    rows = [line for line in (CONFIGS / "README.md").read_text().splitlines() if line.startswith("| ")]  # fmt: skip
    for name, released in RELEASED.items():
        (row,) = [row for row in rows if f"`{name}.gin`" in row]
        assert f"`{released}`" in row and recipe(name)["mixture_or_task_name"] in row


@pytest.mark.parametrize("name", TUNED)
def test_a_tuning_recipe_gives_train_all_that_it_needs(name):
    keywords = recipe(name)
    lay_out(keywords)
    tuning, config = load_tuning(keywords["mixture_or_task_name"]), keywords["examples"]
    assert config.template == tuning.template and not config.train_files
    assert (tuning.kind == "pairs") == isinstance(keywords.get("objective"), DPO)
    assert keywords["vocabulary"] and keywords["initial_checkpoint_path"] == "llm-jp-13b"
    assert config.limits(keywords["sequence_length"], tuning.kind == "pairs").max_length == 2048
    rate = keywords["optimizer"].over(1000).learning_rate_at
    assert float(rate(0)) == 0 and float(rate(1000)) == pytest.approx(0, abs=1e-12)
    assert float(rate(100)) == pytest.approx(keywords["optimizer"].learning_rate)


# Rate, epochs, examples a step, rank: llm-jp-sft's READMEs and scripts, llm-jp-dpo's train.py. Those of v2.0 are not published.
@pytest.mark.parametrize(
    "names, rate, epochs, batch, rank",
    [
        (["v1.0/instruct_full_jaster", "v1.0/instruct_full_dolly_oasst", "v1.0/instruct_full_jaster_dolly_oasst"], 1e-5, 2, 256, None),
        (["v1.0/instruct_lora_jaster", "v1.0/instruct_lora_dolly_oasst", "v1.0/instruct_lora_jaster_dolly_oasst"], 1e-4, 5, 128, 8),
        (["v1.1/instruct_full"], 1e-4, 3, 256, None),
        (["v1.1/instruct_lora"], 2e-5, 5, 64, 8),
        (["v1.1/dpo_lora"], 5e-7, 30, 64, 128),
    ],
)  # fmt: skip
def test_a_recipe_has_the_published_hyper_parameters(names, rate, epochs, batch, rank):
    for name in names:
        keywords = recipe(name)
        found = (keywords["optimizer"].learning_rate, keywords["epochs"], keywords["batch_size"])
        assert found == (rate, epochs, batch)
        lora = keywords["model"].lora
        assert (lora and lora.rank) == rank and (lora is None or lora.scale == (2.0 if rank == 128 else 4.0))  # fmt: skip
        assert keywords["optimizer"].schedule == ("linear" if rank == 128 else "cosine")
        assert not keywords[
            "examples"
        ].packing  # a row is an example, so that the batch is LLM-jp's


def test_what_is_not_published_of_v2_is_marked():
    for name in TUNED:
        text = (CONFIGS / f"{name}.gin").read_text()
        assert "[unsure" in text or name == "v1.1/dpo_lora"
        if name.startswith("v2.0"):
            given = [line for line in text.splitlines() if line.startswith(("EPOCHS", "BATCH_SIZE", "training.OptimizerConfig"))]  # fmt: skip
            assert len(given) == 3 and all("[unsure]" in line for line in given)


def test_dpo_is_that_of_llm_jp_dpo():
    keywords = recipe("v1.1/dpo_lora")
    model, config = keywords["model"], keywords["examples"]
    assert keywords["objective"].beta == 0.1
    limits = config.limits(keywords["sequence_length"], pairs=True)
    assert (limits.max_length, limits.max_prompt_length) == (2048, 1024)
    assert keywords["checkpoints"].keep_best and keywords["evaluation"].period == 200
    assert (model.dropout, model.attention_dropout, model.lora.dropout) == (0, 0, 0)  # as TRL's
    assert load_tuning("preferences_v1_1").bos


def test_adapters_of_the_13b_are_as_many_as_pefts():
    # c_attn h + 3 h, c_proj h + h, c_fc and its c_proj h + 4 h: rank x 16 h a layer.
    model = recipe("v1.0/instruct_lora_jaster")["model"]
    adapters = adapters_of(abstract_decoder(model)[1])
    assert sum(np.prod(array.shape) for array in jax.tree.leaves(adapters)) == 40 * 8 * 16 * 5120
    assert parameter_count(recipe("v1.0/instruct_full_jaster")["model"]) == 12_855_592_960


@pytest.mark.parametrize("name", TUNING_DATA)
def test_a_data_file_names_a_tuning_and_its_template(name):
    pairs = load_tuning(name).kind == "pairs"
    keywords = arguments(f"runs/{'dpo' if pairs else 'sft'}", "models/tiny", f"data/{name}", "hardware/cpu", **START,
                         SEQUENCE_LENGTH=4096)  # fmt: skip
    assert keywords["mixture_or_task_name"] == name
    assert keywords["examples"].template == load_tuning(name).template


def test_every_tuning_of_the_manifests_is_some_recipes():
    assert {recipe(name)["mixture_or_task_name"] for name in TUNED} == set(tuning_names())
    assert set(TUNING_DATA) == set(tuning_names())


@pytest.mark.parametrize("run", TUNING_RUNS)
def test_a_run_file_takes_a_file_of_ones_own(run):
    size = {"SEQUENCE_LENGTH": 4096 if run.startswith("dpo") else 64}
    keywords = arguments(f"runs/{run}", "models/tiny", "hardware/cpu", TRAIN_FILE="mine.jsonl", VALIDATION_FILE="held_out.jsonl",
                         TEMPLATE="llm_jp_3", CACHE_DIR=None, **START, **size)  # fmt: skip
    config = keywords["examples"]
    assert (config.train_files, config.validation_files) == (("mine.jsonl",), ("held_out.jsonl",))
    assert config.template == "llm_jp_3" and keywords["mixture_or_task_name"] is None
    assert (keywords["model"].lora is not None) == run.endswith("lora")
