"""Putting files in place may stop after any of its steps: nothing counts as finished before, and whatever comes next is whole."""

import itertools
import json
from pathlib import Path

import pytest

from tests.corpus.pipeline.test_build import build, contents, documents, web


class Killed(BaseException):
    """What no code of ours catches, as a kill."""


@pytest.fixture
def small(raw):
    """One raw file: fewer tasks, and many builds."""
    (raw / "a.jsonl").unlink()
    (raw / "b.jsonl.gz").unlink()
    return raw


OLD = web(validation_fraction=0.5, exact_deduplication=False)
NEW = web(validation_fraction=0.0, exact_deduplication=False)
THIRD = web(validation_fraction=0.2, exact_deduplication=False)


@pytest.mark.slow
def test_a_build_that_replaces_another_may_stop_anywhere(small, tmp_path, monkeypatch):
    expected = {}
    for name, corpus in {"new": NEW, "third": THIRD}.items():
        build(small, tmp_path / name, corpus)
        expected[name] = contents(tmp_path / name)
    replace = Path.replace
    for stop in itertools.count(1):
        output = tmp_path / f"out{stop}"
        build(small, output, OLD, split_bytes=20000)
        assert len(list(output.glob("web/train_*"))) > 3
        calls = itertools.count(1)

        def replace_or_stop(path, target, calls=calls, stop=stop):
            if "web" in Path(target).parts and next(calls) == stop:
                raise Killed
            return replace(path, target)

        monkeypatch.setattr(Path, "replace", replace_or_stop)
        try:
            build(small, output, NEW)
        except Killed:
            monkeypatch.setattr(Path, "replace", replace)
            if stop > 1:  # before, the old corpus stands as it was
                assert "fingerprint" not in json.loads((output / "web/corpus.json").read_text())
            if stop % 2:
                # Another build comes first: nothing of the two before it stays, and the stopped one is then built anew.
                build(small, output, THIRD)
                assert contents(output) == expected["third"]
            build(small, output, NEW)
            assert contents(output) == expected["new"]
        else:
            break
    monkeypatch.setattr(Path, "replace", replace)
    assert stop == 6  # the record of replacing, the train file, statistics, report, the record


def test_a_corpus_in_folds_and_one_without_share_a_folder(small, tmp_path):
    build(small, tmp_path / "out", web(folds=2))
    folds = contents(tmp_path / "out" / "web")
    build(small, tmp_path / "out", web())
    both = contents(tmp_path / "out" / "web")
    assert folds.items() <= both.items()
    assert documents(tmp_path / "out" / "web", "train")
    build(small, tmp_path / "out", web(folds=2))  # still there, so not built again
    assert contents(tmp_path / "out" / "web") == both
