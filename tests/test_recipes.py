"""Every gin file parses, fits the others, and says what LLM-jp published: sizes, tokens, rates, mixtures, memory.

Recipes of tuned models, and the files they are made of, are in test_tuning_recipes."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import jax
import numpy as np
import pytest

from llmjp_jax.corpus import load_mixtures, mixtures
from llmjp_jax.gin_arguments import Arguments
from llmjp_jax.gin_files import GinFiles
from llmjp_jax.models import ModelConfig, parameter_count
from llmjp_jax.parallel import MeshConfig, Topology, make_mesh, parameter_shardings
from llmjp_jax.training.compilation import check_compiler_options
from llmjp_jax.training.plan_job import Job
from llmjp_jax.training.plan_memory import bytes_per_device

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGS = REPOSITORY / "gin_configs"
FLAGS = {"MODEL_DIR": "runs/x", "CACHE_DIR": "cache", "VOCABULARY": "tokenizer.model"}
SIZES = {"TRAIN_STEPS": 110000, "BATCH_SIZE": 8, "SEQUENCE_LENGTH": 64}
RATES = {"training.OptimizerConfig.learning_rate": 1e-3, "training.OptimizerConfig.final_learning_rate": 1e-6,
         "training.OptimizerConfig.warmup_steps": 10}  # fmt: skip
STAGES = {"FOLD_STEPS": 10, "REFINED_STEPS": 10, "COOLDOWN_START": 100}


def names(folder: str) -> list[str]:
    return [path.stem for path in sorted((CONFIGS / folder).glob("*.gin"))]


# Of tuned models and of the sets that they are tuned on.
TUNED = [f"{folder}/{name}" for folder in ("v1.0", "v1.1", "v2.0") for name in names(folder) if name.startswith(("instruct", "dpo"))]  # fmt: skip
TUNING_DATA = [name for name in names("data") if name.startswith(("tuning", "preferences"))]
# Of evaluations: tests/evaluation/test_run.py builds them.
EVALUATIONS = [f"{folder}/eval" for folder in ("v1.0", "v1.1", "v2.0")]
RECIPES = [f"{folder}/{name}" for folder in ("v1.0", "v2.0", "llm_jp_3", "ablations") for name in names(folder)
           if f"{folder}/{name}" not in [*TUNED, *EVALUATIONS]]  # fmt: skip
MODELS, HARDWARE, RUNS = names("models"), names("hardware"), names("runs")
DATA = [name for name in names("data") if name not in TUNING_DATA]


@functools.cache
def arguments(*files: str, **macros) -> dict:
    """What gin files, named below gin_configs/, and flags give to `train`."""
    found = GinFiles([str(REPOSITORY)])
    for name in files:
        found.read_file(f"gin_configs/{name}.gin")
    built = Arguments("llmjp_jax.training.train", found)
    for name, value in {**FLAGS, **macros}.items():
        built.read_flag(f"{name} = {value!r}", f"--gin.{name}")
    built.check()
    return built.build()


def recipe(name: str) -> dict:
    start = {"INITIAL_CHECKPOINT_PATH": "llm-jp-13b"} if name in TUNED else {}
    return arguments(name, **start)


def model(name: str) -> ModelConfig:
    return arguments("runs/pretrain", f"models/{name}", "data/quickstart", "hardware/cpu", **SIZES, **RATES)["model"]  # fmt: skip


def mixture_names(keywords: dict) -> list[str]:
    given = keywords["mixture_or_task_name"]
    return [given] if isinstance(given, str) else [name for name, _ in given]


CORPORA_AND_TOKENIZERS = [
    *(f"corpus/{name}" for name in ("own_text", "quickstart", "v1", "v1_refined", "v2")),
    *(f"tokenizer/{name}" for name in ("quickstart", "v2_1", "v2_2", "v3")),
]


def test_every_gin_file_is_in_a_folder_that_these_tests_read():
    known = {f"{folder}/{name}" for folder, found in (("models", MODELS), ("data", DATA + TUNING_DATA),
             ("hardware", HARDWARE), ("runs", RUNS)) for name in found} | {*RECIPES, *TUNED, *EVALUATIONS}  # fmt: skip
    # Included by others, and tested through them.
    parts = ("models/families", "hardware/parts", "corpus/parts")
    for path in CONFIGS.rglob("*.gin"):
        name = str(path.relative_to(CONFIGS).with_suffix(""))
        text = path.read_text()
        # tests/corpus/pipeline/test_recipes.py and tests/tokenizer/test_procedure.py read those of corpora and tokenizers.
        elsewhere = name.startswith("quickstart") or name in CORPORA_AND_TOKENIZERS
        assert name in known or elsewhere or name.startswith(parts), name
        assert "Required macros:" in text, f"{name} does not say what must be given to it"
        if name.startswith(parts):
            included = f"include 'gin_configs/{name}.gin'"
            assert any(included in other.read_text() for other in CONFIGS.rglob("*.gin")), name
        elif name not in ("runs/chat", "runs/infer", "runs/pretrain"):
            assert "Source:" in text, f"{name} does not say where its values come from"


def lay_out(keywords: dict) -> Job:
    """Refuses sizes that do not fit each other or the mesh, as `train` would; makes no arrays."""
    job = Job.of(keywords)
    parameter_shardings(job.model, job.grid)
    parts = math.prod(job.sizes[axis] for axis in ("replica", "data", "fsdp", "expert"))
    rows = job.batch_size // job.accumulation
    assert rows % parts == 0, f"{rows} rows over {parts} devices"
    assert job.sequence_length % (job.sizes["context"] * job.sizes["tensor"]) == 0
    return job


@pytest.mark.parametrize("name", [*RECIPES, "quickstart"])
def test_a_released_recipe_gives_train_all_that_it_needs(name):
    keywords = recipe(name)
    lay_out(keywords)
    for mixture in mixture_names(keywords):
        assert [found.name for found in load_mixtures(mixture)] == [mixture]
    optimizer = keywords["optimizer"]
    assert float(optimizer.learning_rate_at(0)) == 0
    assert float(optimizer.learning_rate_at(optimizer.warmup_steps)) == pytest.approx(optimizer.learning_rate)  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_model_file_describes_a_model(name):
    config = model(name)
    assert parameter_count(config) > 1e6 and config.padded_vocab_size % config.vocab_multiple == 0


@pytest.mark.parametrize("name", HARDWARE)
def test_any_recipe_runs_on_any_hardware_that_follows_it(name):
    before = recipe("v2.0/llm_jp_13b")
    keywords = arguments("v2.0/llm_jp_13b", f"hardware/{name}")
    assert keywords["model"].identity() == before["model"].identity()
    if name not in ("h100_512", "a100_40gb_96"):  # whose axes want another batch
        lay_out(keywords)


@pytest.mark.parametrize("name", [name for name in RUNS if name.startswith("pretrain")])
def test_a_run_file_takes_any_model_and_data(name):
    stages = STAGES if name == "pretrain_v1" else {}
    data = "corpus_v1" if stages else "quickstart"
    keywords = arguments(f"runs/{name}", "models/tiny", f"data/{data}", "hardware/cpu", **SIZES, **RATES, **stages)  # fmt: skip
    optimizer = keywords["optimizer"]
    adam = (optimizer.beta1, optimizer.beta2, optimizer.epsilon, optimizer.weight_decay, optimizer.clip_norm)  # fmt: skip
    assert adam == (0.9, 0.95, 1e-8, 0.1, 1.0)


def test_the_infer_file_gives_infer_all_that_it_needs():
    files = GinFiles([str(REPOSITORY)])
    files.read_file("gin_configs/runs/infer.gin")
    built = Arguments("llmjp_jax.infer.infer", files)
    for macro in ("MODEL_DIR", "PROMPTS", "OUTPUT"):
        built.read_flag(f"{macro} = 'x'", f"--gin.{macro}")
    built.check()
    assert built.build()["prompts"] == "x"


# Sizes. GPT-2: rows h + length h + L (12 h^2 + 13 h) + 2 h. Llama: 2 rows h + L (4 h^2 + 3 h f + 2 h) + h; with experts
# E (3 h f + h) in place of 3 h f.


@pytest.mark.parametrize(
    "name, count, published",
    [
        ("gpt2_1b3_v1", 1_316_605_952, 1.317e9),
        ("gpt2_13b_v1", 12_855_592_960, 12.856e9),
        ("llama_13b_v2", 13_681_710_080, 13.682e9),
        ("llama_7b_v2", 7_271_092_224, 7.271e9),
        ("llama_7b_v2_50k", 6_874_730_496, 6.875e9),
        ("llama_13b_v2_50k", 13_186_257_920, 13.186e9),
        ("moe_8x1b8", 9_266_759_680, 9.27e9),
        ("moe_8x13b", 73_163_822_080, 73.16e9),
        ("gpt2_small", 124_475_904, 124e6),
    ],
)
def test_a_model_has_the_published_number_of_parameters(name, count, published):
    assert parameter_count(model(name)) == count
    assert count == pytest.approx(published, rel=5e-3 if published < 1e9 else 5e-4)


@pytest.mark.parametrize(
    "name, blocks, embeddings",
    [
        ("150m", 50_344_448, 101_874_688),
        ("440m", 243_303_424, 203_749_376),
        ("980m", 684_258_816, 305_624_064),
        ("1b8", 1_459_718_144, 407_498_752),
        ("3b7", 3_171_068_928, 611_248_128),
        ("7b2", 6_476_271_616, 814_997_504),
        ("13b", 12_688_184_320, 1_018_746_880),
        ("172b", 169_947_181_056, 2 * 99_487 * 12_288),
    ],
)
def test_llm_jp_3_has_the_cards_numbers_of_parameters(name, blocks, embeddings):
    config = model(f"llama3_{name}")
    assert config.padded_vocab_size == 99_584
    assert parameter_count(config) - 2 * 99_584 * config.embed == blocks
    assert 2 * 99_487 * config.embed == embeddings  # the cards count the first tokenizer's rows


@pytest.mark.parametrize(
    "name, rows",
    [("gpt2_13b_v1", 50_688), ("llama_13b_v2", 97_024), ("llama_7b_v2_50k", 48_640)],
)
def test_vocabularies_are_padded_as_megatron_padded_them(name, rows):
    assert model(name).padded_vocab_size == rows


# Tokens and rates.


@pytest.mark.parametrize(
    "name, tokens",
    [
        ("v1.0/llm_jp_13b", 276_415_119_360 + 27_223_130_112),
        ("v1.0/llm_jp_1b3", 87_430 * 1_536 * 2_048 + 27_223_130_112),
        ("v2.0/llm_jp_13b", 255_852_544_000),
        *[(f"ablations/exp_{x}", 266_338_304_000) for x in "abcef"],
        *[(f"ablations/exp_{x}", 255_852_544_000) for x in "dg"],
        *[(f"llm_jp_3/{x}", 2_072_489_492_480) for x in ("150m", "440m", "980m", "1b8", "3b7", "7b2", "13b")],
        ("llm_jp_3/172b", 2_072_490_541_056),
        ("llm_jp_3/moe_8x1b8", 492_120 * 1_024 * 4_096),
    ],
)  # fmt: skip
def test_a_recipe_trains_on_the_published_number_of_tokens(name, tokens):
    keywords = recipe(name)
    assert keywords["total_steps"] * keywords["batch_size"] * keywords["sequence_length"] == tokens


@pytest.mark.parametrize("name, peak", [("llm_jp_13b", 1e-4), ("llm_jp_1b3", 2e-4)])
def test_v1_decays_a_second_time_while_it_reads_the_refined_text(name, peak):
    keywords = recipe(f"v1.0/{name}")
    optimizer, stages = keywords["optimizer"], keywords["mixture_or_task_name"]
    assert [stage for stage, _ in stages] == [m.name for m in load_mixtures("corpus_v1")] + ["corpus_v1_refined"]  # fmt: skip
    folds = sum(steps for _, steps in stages[:-1])
    assert folds == optimizer.cooldown_start
    assert folds + stages[-1][1] == keywords["total_steps"] == folds + optimizer.cooldown_steps
    before, switched, last = optimizer.learning_rate_at(np.array([folds - 1, folds, keywords["total_steps"]]))  # fmt: skip
    assert float(switched) == pytest.approx(float(before), rel=1e-4) and 0.8 * peak < before < peak
    assert float(last) == pytest.approx(1e-6)


@pytest.mark.parametrize("name", ["v2.0/llm_jp_13b", "llm_jp_3/7b2", "llm_jp_3/172b"])
def test_v2_and_3_decay_to_a_tenth_at_their_last_step(name):
    keywords = recipe(name)
    rate = keywords["optimizer"].learning_rate_at(keywords["total_steps"])
    assert float(rate) == pytest.approx(keywords["optimizer"].learning_rate / 10)
    assert keywords.get("z_loss", 0.0) == (1e-4 if name.startswith("llm_jp_3") else 0.0)


# Mixtures.


@pytest.mark.parametrize(
    "name, total",
    [
        ("corpus_v1", 270_000_000_000),
        ("corpus_v2", 254_619_248_570),
        ("ablation_a", 265_546_739_802),
        ("ablation_d", 254_619_248_574),
        ("corpus_v2_beta", 263_460_786_308),
        ("corpus_v3", 2_117_240_000_000),  # 2,117,241,409,943 to four digits of each subset
        ("corpus_v3_1", 2_072_490_000_000),  # 2,072,488,058,295
        ("quickstart", 100),
    ],
)
def test_a_mixture_holds_the_published_number_of_tokens(name, total):
    for mixture in load_mixtures(name):
        assert sum(mixture.weights.values()) == total


def test_v2_reads_common_crawl_half_and_all_else_once():
    (mixture,) = load_mixtures("corpus_v2")
    assert {name: round(mixture.epochs(name), 4) for name in mixture.weights} == {
        "ja_wiki": 1, "en_wiki": 1, "code_stack": 1, "en_pile": 1, "ja_cc_v2": 0.4555}  # fmt: skip


def test_every_mixture_and_subset_of_the_manifests_is_some_recipes():
    used = {
        "quickstart",
        "corpus_v1_refined",
        "corpus_v3",
    }  # the last two: data files of no whole recipe
    for name in DATA:
        keywords = arguments("runs/pretrain", "models/tiny", f"data/{name}", "hardware/cpu", **SIZES, **RATES, **(
            {"FOLD_STEPS": 1, "REFINED_STEPS": 1} if name == "corpus_v1" else {}))  # fmt: skip
        used |= set(mixture_names(keywords))
    known = mixtures._all_mixtures()
    assert used == set(known)
    read = {subset for mixture in known.values() for subset in mixture.subsets}
    declared = {name for manifest in mixtures.manifest_names()
                for name in mixtures.load_manifest(manifest).get("subsets", {})}  # fmt: skip
    assert read == declared


def test_every_subset_of_llm_jps_corpora_says_whence_it_comes_and_under_which_licence():
    for mixture in mixtures._all_mixtures().values():
        for subset in mixture.subsets.values():
            assert mixture.name == "quickstart" or (subset.source and subset.url and subset.licence)


# Machines.


@pytest.mark.parametrize("name", [*RECIPES, *TUNED])
def test_a_recipe_fits_the_memory_of_its_machine(name):
    job = Job.of(recipe(name))
    memory = sum(bytes_per_device(job).values())
    assert (
        memory < 0.75 * job.data_sheet.memory_bytes
    )  # what JAX takes of a GPU unless told otherwise
    if name == "v2.0/llm_jp_13b":
        state = 16 * parameter_count(job.model) / 32
        assert job.data_sheet.memory_bytes == 40e9 and state < memory


@pytest.mark.parametrize("name", HARDWARE)
def test_xla_knows_every_compiler_option_by_name(name):
    keywords = arguments("v2.0/llm_jp_13b", f"hardware/{name}")
    options, topology = keywords["compiler_options"] or {}, keywords["mesh"].topology
    assert bool(options) == (name != "cpu")
    if topology:
        pytest.importorskip("libtpu", reason="libtpu (extra 'tpu') is not installed")
        check_compiler_options(options, small_slice(topology.split(":")[0]))
    else:  # jaxlib reads the GPU's options on any device
        check_compiler_options(options, make_mesh(MeshConfig(), jax.devices()[:1]))


@functools.cache
def small_slice(generation: str) -> jax.sharding.Mesh:
    """A mesh of the smallest slice of a generation of TPUs."""
    topology = Topology({"v4": "v4:2x2x4", "v5p": "v5p:2x2x1"}.get(generation, f"{generation}:2x2"))
    return make_mesh(MeshConfig(), topology.devices())


def test_the_table_of_recipes_names_each_one_with_its_data():
    table = (CONFIGS / "README.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("| ") and ".gin`" in line]
    others = [*CORPORA_AND_TOKENIZERS, *EVALUATIONS, "runs/eval", "quickstart_eval"]
    assert len(rows) == len(RECIPES) + len(others) + len(TUNED)
    for name in others:
        assert any(f"`{name}.gin`" in row for row in rows), name
    for name in RECIPES:
        (row,) = [row for row in rows if f"`{name}.gin`" in row]
        data = {found.partition("_fold_")[0] for found in mixture_names(recipe(name))}
        assert ", ".join(sorted(data)) in row
