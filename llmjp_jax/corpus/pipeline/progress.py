"""How far a stage's tasks are: each writes a small file, whoever waits adds them up and shows a bar."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tqdm import tqdm

_PERIOD = 0.5  # seconds


class TaskProgress:
    """The progress files of one stage: `progress/<rank>` holds the bytes done, datatrove's `completions/<rank>` the end."""

    def __init__(self, folder: Path):
        self._folder = folder / "progress"
        self._completions = folder / "completions"

    @contextlib.contextmanager
    def reporting(self, rank: int) -> Iterator[Callable[[int], None]]:
        """A function that a task calls with bytes done; it writes at most twice a second."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{rank:05d}"
        done, written = 0, 0.0

        def report(count: int) -> None:
            nonlocal done, written
            done += count
            now = time.monotonic()
            if now - written >= _PERIOD:
                written = now
                path.write_text(str(done))

        yield report
        path.write_text(str(done))

    def done(self) -> int:
        """Bytes, over all tasks."""
        total = 0
        for path in self._folder.glob("*") if self._folder.is_dir() else ():
            with contextlib.suppress(ValueError, OSError):
                total += int(path.read_text())
        return total

    def finished(self) -> int:
        """Tasks that are finished."""
        return len(list(self._completions.glob("*"))) if self._completions.is_dir() else 0


class ProgressBar:
    """Shows a stage's progress on stderr while the body runs: in bytes where their number is known, else in tasks."""

    def __init__(self, progress: TaskProgress, title: str, tasks: int, size: int | None):
        self._progress, self._size = progress, size
        unit = {"unit": "B", "unit_scale": True, "unit_divisor": 1000} if size else {"unit": "task"}
        self._bar = tqdm(desc=title, total=size or tasks, **unit)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ProgressBar:
        self._thread.start()
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._stop.set()
        self._thread.join()
        if kind is None:
            self._show(self._bar.total)
        self._bar.close()

    def _watch(self) -> None:
        while not self._stop.wait(_PERIOD):
            self._show(self._progress.done() if self._size else self._progress.finished())

    def _show(self, count: int) -> None:
        self._bar.n = min(count, self._bar.total)
        self._bar.refresh()
