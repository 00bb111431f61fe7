"""tools/prepare_evaluation.py as a user runs it."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.corpus.file_server import Served, file_server
from tests.evaluation.test_preparation_errors import jnli
from tests.evaluation.test_preparation_formats import chabsa

REPOSITORY = Path(__file__).resolve().parents[2]


def run(*arguments, code=0):
    found = subprocess.run(
        [sys.executable, "tools/prepare_evaluation.py", *map(str, arguments)],
        cwd=REPOSITORY, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip
    assert found.returncode == code, found.stdout + found.stderr
    assert "Traceback" not in found.stderr
    return found


def table(found):
    rows = [line.split(None, 4) for line in found.stdout.split("\n\n")[0].splitlines()]
    return {name: rest for name, *rest in rows}


def test_the_table_says_sizes_and_whether_dev_is_the_official_file(shared_data, tmp_path):
    raw = shared_data / "evaluation/raw"
    found = run("--task=jmmlu,mawps,jamp,commonsensemoralja", f"--raw_dir={raw}", f"--output_dir={tmp_path}")  # fmt: skip
    assert table(found) == {
        "task": ["train", "dev", "test", "official dev file"],
        "jmmlu": ["32", "3,524", "3,541", "equal (1.3.1; differs from 1.4.1)"],
        "mawps": ["16", "500", "500", "equal (1.3.1, 1.4.1)"],
        "jamp": ["270", "30", "348", "differs (1.3.1, 1.4.1): 30 of 995 samples"],
        "commonsensemoralja": ["300", "1,996", "500", "equal (1.4.1)"],
    }
    assert len(list(tmp_path.rglob("*.json"))) == 4 * 6


def test_all_goes_on_past_missing_and_broken_data_names_them_and_ends_with_2(tmp_path):
    jnli(tmp_path / "raw")
    chabsa(tmp_path / "raw/chabsa/chABSA-dataset")
    broken = tmp_path / "raw/janli/janli.tsv"
    broken.parent.mkdir()
    broken.write_text("header\nno columns\n")
    out = tmp_path / "out"
    arguments = ("--task=all", f"--raw_dir={tmp_path / 'raw'}", f"--output_dir={out}")
    found = run(*arguments, code=2)
    assert set(table(found)) == {"task", "chabsa", "jnli"}
    assert "python tools/download.py wikipedia_annotated_corpus" in found.stdout
    assert "janli.tsv, line 2 has 1 columns" in found.stdout
    assert "error: 21 of 23 tasks were not prepared" in found.stderr
    assert (out / "evaluation/test/jnli.json").is_file()
    # What is missing may be left out; what is broken may not.
    assert (
        "1 of 23 tasks were not prepared: janli" in run(*arguments, "--skip_missing", code=2).stderr
    )
    broken.unlink()
    found = run(*arguments, "--skip_missing")
    assert "python tools/download.py janli" in found.stdout


def test_an_unregistered_task_has_no_official_hash(tmp_path):
    from tests.evaluation.test_preparation_formats import jcola

    jcola(tmp_path / "raw/jcola")
    found = run("--task=jcola-in-domain", f"--raw_dir={tmp_path / 'raw'}", f"--output_dir={tmp_path / 'out'}")  # fmt: skip
    assert table(found)["jcola-in-domain"] == ["45", "5", "7", "no official hash"]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--task=jnlj"], "did you mean jnli?"),
        (["--task=,"], "name an evaluation task"),
        (["--task=jnli"], "python tools/download.py jglue"),
        (["--task=jnli", "--skip_missing"], "python tools/download.py jglue"),
        (["--task=jnli", "--raw_dir=nowhere"], "--raw_dir=nowhere is no folder"),
    ],
)
def test_a_users_mistake_is_one_sentence(tmp_path, arguments, said):
    found = run(f"--raw_dir={tmp_path}", f"--output_dir={tmp_path / 'out'}", *arguments, code=2)
    assert said in found.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture
def mirror(tmp_path):
    """A server with chABSA's archive and JNLI's files, and a manifest of it."""
    chabsa(tmp_path / "source/chABSA-dataset")
    jnli(tmp_path / "source")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as content:
        for path in (tmp_path / "source/chABSA-dataset").iterdir():
            content.write(path, path.relative_to(tmp_path / "source"))
    with file_server() as server:
        server.files["/chABSA-dataset.zip"] = Served(archive.getvalue())
        entries = [f'{{ url = "{server.url}/chABSA-dataset.zip", sha256 = "unsure", bytes = "unsure", unpack = true }}']  # fmt: skip
        for split in ("train", "valid"):
            name = f"/{split}-v1.1.json"
            server.files[name] = Served((tmp_path / f"source/jnli{name}").read_bytes())
            entries.append(f'{{ url = "{server.url}{name}", path = "jnli{name}", sha256 = "unsure", bytes = "unsure" }}')  # fmt: skip
        head = f'title = "T"\nlicence = "CC-Test-1.0"\nhome = "{server.url}/home"\n'
        manifest = tmp_path / "sources.toml"
        manifest.write_text(
            f"[downloads.chabsa]\n{head}files = [{entries[0]}]\n"
            f"[downloads.jglue]\n{head}files = [{entries[1]}, {entries[2]}]\n"
        )
        yield server, manifest


def test_download_shows_the_licence_fetches_once_and_prepares(tmp_path, mirror):
    server, manifest = mirror
    raw, out = tmp_path / "raw", tmp_path / "out"
    arguments = ("--task=chabsa,jnli,jsquad", f"--raw_dir={raw}", f"--output_dir={out}", "--download", f"--manifest={manifest}")  # fmt: skip
    refused = run(*arguments, code=2)
    assert "licence: CC-Test-1.0" in refused.stdout and "--yes" in refused.stdout
    assert not server.gets("/chABSA-dataset.zip") and not out.exists()
    found = run(*arguments, "--yes", code=2)
    assert "licence: CC-Test-1.0" in found.stdout
    assert (found.stdout.count("chabsa: T"), found.stdout.count("jglue: T")) == (1, 1)
    assert (raw / "chabsa/chABSA-dataset.unpacked/chABSA-dataset/e00000_ann.json").is_file()
    assert "1 of 3 tasks were not prepared: jsquad" in found.stderr  # the mirror has no JSQuAD
    assert len(json.loads((out / "tuning/dev/chabsa.json").read_text())) == 2
    assert (out / "evaluation/train/jnli.json").is_file()
    before = len(server.requests)
    again = run("--task=chabsa,jnli", *arguments[1:])
    assert len(server.requests) == before and "licence" not in again.stdout
