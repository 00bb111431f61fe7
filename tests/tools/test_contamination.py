"""tools/contamination.py: a planted item comes out in the run's file and its report; a user's mistake is one sentence."""
# ruff: noqa: F811 - fixtures that come from the tests of search

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmjp_jax.evaluation.report import write_report
from llmjp_jax.evaluation.report.contamination import read_contamination
from tests.search.small_run import write_data, write_run

TOOL = Path(__file__).resolve().parents[2] / "tools" / "contamination.py"


@pytest.fixture(scope="module")
def work(tmp_path_factory, small_corpora):
    """A data folder whose first and third items stand in the small corpora, and a run that has those two right."""
    folder = tmp_path_factory.mktemp("work")
    ja, en = (max(small_corpora.texts[subset, "train"][:200], key=len) for subset in ("ja", "en"))
    foreign = "ここにある文は、どの文書にも一度として書かれたことがない。"
    pairs = [(ja, "はい"), (foreign, "はい"), (en, "はい"), (foreign[::-1], "はい"), ("？", "はい")]
    write_data(folder / "data", {"niilc": pairs, "jemhopqa": pairs[1:2]})
    answers = {"niilc": ["はい", "いいえ", "はい", "いいえ", "いいえ"], "jemhopqa": ["はい"]}
    write_run(folder / "run", folder / "data", answers)
    return folder


def tool(*arguments):
    return subprocess.run([sys.executable, TOOL, *map(str, arguments)], capture_output=True, text=True)  # fmt: skip


def test_a_planted_item_is_marked_in_the_runs_file_and_its_report(work, small_index_folder, tmp_path):  # fmt: skip
    done = tool("--index", small_index_folder, "--scores", work / "run")
    assert done.returncode == 0, done.stderr
    path = work / "run" / "contamination.json"
    assert done.stdout.splitlines()[-1] == str(path)
    found = read_contamination(path)
    marks = [found.tasks["niilc"][index].mark for index in range(5)]
    assert marks == ["dirty", "clean", "dirty", "clean", "too_short"]
    assert [(store["subset"], store["split"]) for store in found.corpus["stores"]] == [("ja", "train"), ("en", "train"), ("code", "train")]  # fmt: skip
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["niilc", "5", "2", "0", "2", "1", "50.0", "%", "0"] in lines
    assert ["niilc", "exact_match", "0.400", "0.000", "1.000"] in lines

    (niilc, _) = write_report([work / "run"], tmp_path, paper=[], progress=False).contamination[0]
    scores = niilc.scores["exact_match"]
    assert {name: (score.items, score.value) for name, score in scores.items()} == {"all": (5, 0.4), "clean": (2, 0.0), "dirty": (2, 1.0)}  # fmt: skip


def test_a_data_folder_is_looked_up_without_a_run(work, small_index_folder, tmp_path):
    output = tmp_path / "found.json"
    done = tool("--index", small_index_folder, "--data_dir", work / "data", "--split=dev", "--tasks=niilc", "--samples=3", "--output", output)  # fmt: skip
    assert done.returncode == 0, done.stderr
    content = json.loads(output.read_text(encoding="utf-8"))
    assert list(content["tasks"]) == ["niilc"]
    task = content["tasks"]["niilc"]
    assert task["marks"] == {"clean": 1, "partial": 0, "dirty": 2, "too_short": 0}
    assert task["units"] == {"characters": 2, "tokens": 1} and task["mean_covered"] == pytest.approx(2 / 3)  # fmt: skip
    assert content["method"] == {"n": 13, "n_characters": 13, "fewest": 8, "clean_below": 0.2, "dirty_from": 0.8}  # fmt: skip


def test_n_and_where_can_be_chosen(work, small_index_folder, tmp_path):
    arguments = ["--index", small_index_folder, "--data_dir", work / "data", "--split=dev", "--tasks=niilc", "--output", tmp_path / "found.json"]  # fmt: skip
    assert tool(*arguments, "--n=9", "--n_characters=500", "--fewest=400", "--subsets=en").returncode == 0  # fmt: skip
    content = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert [store["subset"] for store in content["corpus"]["stores"]] == ["en"]
    assert [item["mark"] for item in content["tasks"]["niilc"]["items"]] == ["too_short", "too_short", "dirty", "too_short", "too_short"]  # fmt: skip


@pytest.mark.parametrize("arguments, said", [
    (["--index=INDEX"], "name what was evaluated: --scores"),
    (["--index=INDEX", "--data_dir=DATA"], "--data_dir needs --output"),
    (["--index=INDEX", "--scores=RUN", "--tasks=niilc"], "--tasks chooses from a data folder"),
    (["--index=INDEX", "--scores=RUN/summary.json"], "is a file; give the folder"),
    (["--index=INDEX", "--scores=missing"], "there is no run at missing"),
    (["--index=DATA", "--scores=RUN"], "is no index"),
    (["--index=INDEX", "--scores=RUN", "--n=0"], "n = 0 must be a whole number"),
    (["--index=INDEX", "--scores=RUN", "--dirty_from=80"], "must be shares above 0 and up to 1"),
    (["--index=INDEX", "--scores=RUN", "--threads=0"], "threads = 0 must be"),
    (["--index=INDEX", "--scores=RUN", "--subsets=jaa"], "has no subset 'jaa'"),
    (["--index=INDEX", "--scores=RUN", "--data_dir=missing"], "there is no task file missing/evaluation/dev/"),
    (["--index=INDEX", "--data_dir=DATA", "--output=new/x.json", "--tasks=niilcc"], "no evaluation task named niilcc (did you mean niilc?)"),
    (["--index=INDEX", "--data_dir=DATA", "--output=new/x.json", "--split=test"], "holds no task"),
])  # fmt: skip
def test_a_users_mistake_is_one_sentence(work, small_index_folder, tmp_path, arguments, said):
    before = sorted(path.name for path in (work / "run").iterdir())
    names = {"INDEX": small_index_folder, "DATA": work / "data", "RUN": work / "run"}
    for name, path in names.items():
        arguments = [argument.replace(f"={name}", f"={path}") for argument in arguments]
    done = tool(*arguments)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("error: ")
    assert said in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert sorted(path.name for path in (work / "run").iterdir()) == before
    assert not Path("new").exists()


def test_help_comes_at_once():
    begin = time.perf_counter()
    done = tool("--help")
    assert done.returncode == 0 and "--clean_below" in done.stdout
    assert "llmjp_jax.search" not in done.stderr and time.perf_counter() - begin < 5
