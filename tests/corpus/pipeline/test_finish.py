"""Putting files in place may stop after any of its steps: nothing counts as finished before, and the next run completes it."""

import itertools
from pathlib import Path

import pytest

from llmjp_jax.corpus.pipeline.writing import RECORD
from tests.corpus.pipeline.test_build import build, contents, web


class Killed(BaseException):
    """What no code of ours catches, as a kill."""


@pytest.mark.slow
def test_a_build_that_replaces_another_may_stop_anywhere(raw, tmp_path, monkeypatch):
    new = web(validation_fraction=0.0, exact_deduplication=False)
    build(raw, tmp_path / "expected", new, keep_dropped=True)
    expected = contents(tmp_path / "expected")
    replace = Path.replace
    for stop in itertools.count(1):
        output = tmp_path / f"out{stop}"
        build(raw, output, web(validation_fraction=0.5), split_bytes=6000)
        calls = itertools.count(1)

        def replace_or_stop(path, target, calls=calls, stop=stop):
            if "web" in Path(target).parts and next(calls) == stop:
                raise Killed
            return replace(path, target)

        monkeypatch.setattr(Path, "replace", replace_or_stop)
        try:
            build(raw, output, new, keep_dropped=True)
        except Killed:
            monkeypatch.setattr(Path, "replace", replace)
            assert not (output / "web" / RECORD).exists()
            build(raw, output, new, keep_dropped=True)
            assert contents(output) == expected
        else:
            break
    monkeypatch.setattr(Path, "replace", replace)
    # train files, dropped files, statistics, report, record
    assert stop >= 8
