"""Where the numbers of a run go: metrics.jsonl, TensorBoard, a live line, and loss.png."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write
from llmjp_jax.training.board import Board


class MetricsLog:
    """metrics.jsonl and TensorBoard events of a run.

    One JSON object a line, keyed by `step` (finished updates). A continued run drops the lines after the step it
    continues from, so that every step stands there once.
    """

    def __init__(self, model_dir: Path, after_step: int):
        self.path = model_dir / "metrics.jsonl"
        kept = [record for record in read_metrics(self.path) if record["step"] <= after_step]
        with atomic_write(self.path, "w") as file:
            file.writelines(json.dumps(record) + "\n" for record in kept)
        self._file = self.path.open("a", encoding="utf-8")
        self._board = Board(model_dir / "tensorboard", first_step=after_step + 1)

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Adds a line; nested dicts become TensorBoard tags with slashes."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        finite = {tag: value for tag, value in _flat(values) if math.isfinite(value)}
        self._board.write(step, finite)

    def close(self) -> None:
        self._file.close()
        self._board.close()


class NullLog:
    """What the processes other than the first write to."""

    def write(self, step: int, values: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


class Progress:
    """The live line: step, loss, tokens/s, utilisation and time left.

    On a terminal it is rewritten in place; elsewhere a line appears every `every` seconds and at the last step.
    """

    def __init__(self, total_steps: int, every: float = 10.0, quiet: bool = False):
        self.total, self.every, self.quiet = total_steps, every, quiet
        # Time left counts from the first line, so that compilation is no measure of the steps to come.
        self._first, self._start = None, None
        self._terminal = sys.stderr.isatty()
        self._shown = -math.inf

    def show(
        self, step: int, loss: float, tokens_per_second: float, utilisation: float | None
    ) -> None:
        now = time.monotonic()
        if now - self._shown < (0.1 if self._terminal else self.every) and step != self.total:
            return
        self._shown = now
        if self._first is None:
            self._first, self._start = step, now
        done = step - self._first
        left = _clock((now - self._start) / done * (self.total - step)) if done else "-"
        mfu = "" if utilisation is None else f"  MFU {utilisation:.1%}"
        line = f"step {step}/{self.total}  loss {loss:.4f}  {tokens_per_second:,.0f} tokens/s{mfu}  ETA {left}"
        self._print(line, "" if self._terminal else "\n")

    def say(self, line: str) -> None:
        """A line that stays."""
        self._print(line, "\n")
        self._shown = -math.inf if self._terminal else self._shown

    def _print(self, line: str, end: str) -> None:
        if self.quiet:
            return
        start = "\r\x1b[2K" if self._terminal else ""
        print(start + line, end=end, file=sys.stderr, flush=True)


def read_metrics(path: Path) -> list[dict]:
    """The lines of a metrics.jsonl; a last line that a kill cut short is left out.

    Raises:
      UserError: another line is not JSON.
    """
    if not path.exists():
        return []
    records = []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            records.append(json.loads(line))
        except ValueError:
            if number == len(lines):
                break
            raise UserError(
                f"{path} line {number} is not JSON; restore the file or give a new MODEL_DIR"
            ) from None
    return records


def draw_loss(model_dir: Path) -> Path:
    """Draws MODEL_DIR/loss.png from metrics.jsonl: the training loss, and each corpus' validation loss."""
    from matplotlib.figure import Figure

    records = read_metrics(model_dir / "metrics.jsonl")
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    training = [(r["step"], r["loss"]) for r in records if "loss" in r]
    if training:
        axes.plot(
            *zip(*training, strict=True), color="0.75", linewidth=1, label="training, each step"
        )
        axes.plot(
            *zip(*_smoothed(training), strict=True), color="black", label="training, smoothed"
        )
    curves: dict[str, list[tuple[int, float]]] = {}
    for record in records:
        for name, values in record.get("validation", {}).items():
            curves.setdefault(name, []).append((record["step"], values["loss"]))
    for name, points in sorted(curves.items()):
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=f"validation, {name}")
    axes.set_xlabel("step")
    of_pairs = any("pairs" in record for record in records)
    axes.set_ylabel("loss (per pair)" if of_pairs else "loss (nats per token)")
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    path = model_dir / "loss.png"
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)
    return path


def _smoothed(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Means over windows of a hundredth of the points."""
    width = max(1, len(points) // 100)
    groups = [points[i : i + width] for i in range(0, len(points), width)]
    return [(group[-1][0], sum(loss for _, loss in group) / len(group)) for group in groups]


def _flat(values: dict[str, Any], prefix: str = ""):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
