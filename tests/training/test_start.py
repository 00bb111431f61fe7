"""A run's data: stages in turn and Megatron's order, recorded, continued, and refused when they change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.training import read_metrics, train

TURNS = (("tiny_ja", 2), ("tiny_en", 1), ("tiny", 2))


@pytest.fixture
def arguments(run_arguments, tmp_path):
    """With a cache folder of the test's own: Megatron's order is kept beside the stores."""
    cache = tmp_path / "cache"
    shutil.copytree(run_arguments["cache_dir"], cache)
    return run_arguments | {"cache_dir": str(cache), "total_steps": 5}


def losses(arguments: dict) -> list[float]:
    records = read_metrics(Path(arguments["model_dir"]) / "metrics.jsonl")
    return [record["loss"] for record in records if "loss" in record]


def data_of_record(arguments: dict) -> dict:
    return json.loads((Path(arguments["model_dir"]) / "run.json").read_bytes())["identity"]["data"]


def test_a_run_goes_through_its_data_sets_in_turn_and_on_from_where_one_ends(arguments, tmp_path):
    arguments |= {"mixture_or_task_name": TURNS}
    train(**arguments)
    assert [stage["steps"] for stage in data_of_record(arguments).values()] == [2, 1, None]
    validation = read_metrics(Path(arguments["model_dir"]) / "metrics.jsonl")[-1]["validation"]
    assert set(validation) == {"tiny_ja", "tiny_en"}

    again = arguments | {"model_dir": str(tmp_path / "again")}
    train(**again | {"total_steps": 2})
    train(**again)
    assert losses(again) == losses(arguments)
    with pytest.raises(UserError, match=r"data\.stage_1\.steps was 1 and is 2"):
        train(**again | {"mixture_or_task_name": (TURNS[0], ("tiny_en", 2), TURNS[2])})


def test_a_longer_run_in_megatrons_order_is_another_run(arguments):
    arguments |= {"mixture_or_task_name": TURNS, "order": "megatron"}
    train(**arguments)
    samples = [stage["total_samples"] for stage in data_of_record(arguments).values()]
    assert samples == [16, 8, 16] and len(losses(arguments)) == 5
    with pytest.raises(UserError, match=r"data\.stage_2\.total_samples was 16 and is 24"):
        train(**arguments | {"total_steps": 6})
    with pytest.raises(UserError, match=r"data\.stage_0\.order was 'megatron' and is 'windows"):
        train(**arguments | {"order": "windows"})


def test_what_the_data_cannot_be_is_refused_before_anything_is_written(arguments):
    for change, sentence in [
        ({"order": "random"}, "order = 'random' must be one of 'windows', 'megatron'"),
        ({"mixture_or_task_name": ("tiny_ja", "tiny_en")}, "pairs of a name"),
        ({"mixture_or_task_name": (("tiny", 2), ("tiny_fr", 2))}, "no token store of tiny_fr"),
    ]:
        with pytest.raises(UserError, match=sentence):
            train(**arguments | change)
        assert not Path(arguments["model_dir"]).exists()
