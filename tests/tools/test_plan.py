"""The planning tool takes the launcher's gin flags, needs no data, and writes what it found with how it was found."""

import importlib.util
import json

import pytest

from tools.plan import main

SMALL = [
    "--gin_file=gin_configs/quickstart.gin",
    *[
        f"--gin.models.ModelConfig.{field}"
        for field in ("vocab_size=512", "layers=2", "embed=64", "heads=4", "mlp=128", "unroll=1", "max_length=128")
    ],
    "--gin.BATCH_SIZE=16",
]  # fmt: skip


def test_without_a_topology_the_report_has_the_estimate_and_the_command(tmp_path, capsys):
    report = tmp_path / "plan.md"
    main([*SMALL, f"--output={report}"])
    printed = capsys.readouterr().out
    written = report.read_text()
    assert "XLA              not asked" in printed and printed.strip() in written
    assert written.startswith(
        "# Plan\n\n```\npython tools/plan.py --gin_file=gin_configs/quickstart.gin "
    )
    assert "commit " in written and "libtpu " in written and "jax 0." in written


@pytest.mark.parametrize(
    "flags, sentence",
    [
        (["--topology=v4-128"], "'v4-128' is not a TPU topology"),
        (
            ["--topology=v5e:2x2", "--gin.parallel.MeshConfig.fsdp=3"],
            "does not divide the 4 devices",
        ),
        (["--search"], "--search needs a TPU topology: add --topology=v4:4x4x8"),
        (["--topology=v5e:2x2", "--search", "--top=0"], "--top=0 must be at least 1"),
        (["--output=plan.txt"], "--output=plan.txt must end in .md or .json"),
        (["--gin.NONSENSE=1"], "NONSENSE"),
        (["--topolgy=v5e:2x2"], "unknown flag --topolgy"),
        (["--coordinator_address=auto"], "runs in one process"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence_and_exits_2(flags, sentence, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*SMALL, *flags])
    assert ended.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert sentence in line


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed (extra 'tpu')"
)
def test_a_search_compiles_the_best_and_writes_xla_s_figures(tmp_path, capsys):
    report = tmp_path / "plan.json"
    main([*SMALL, "--topology=v5e:2x2", "--search", "--top=1", f"--output={report}"])
    printed = capsys.readouterr()
    assert "layouts fit by estimate" in printed.err and "[1] " in printed.err
    assert printed.out.startswith(" 1. ") and "fits: peak" in printed.out
    written = json.loads(report.read_text())
    (layout,) = written["layouts"]
    assert layout["fits"] and layout["xla"]["peak"] > layout["xla"]["arguments"] > 0
    assert layout["roofline"]["compute"] > 0
    product = 1
    for size in layout["mesh"].values():
        product *= size
    assert product == 4
    assert written["commit"] and written["versions"]["libtpu"]
