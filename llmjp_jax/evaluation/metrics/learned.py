"""bert_score and COMET: scores by models of others, if their packages and models are on this machine.

Both need PyTorch and run in a process of their own (`learned_worker.py`), whose Python is this one, or the one that the
environment variable LLMJP_METRICS_PYTHON names: unbabel-comet 2.2 pins NumPy below 2 and so cannot be installed beside
JAX. Nothing is imported before it is asked for, and nothing is ever downloaded: models are folders on disk or come from
Hugging Face's cache. A COMET checkpoint is a pickle, which COMET's own loader reads in that process.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.metrics.scores import MetricUnavailable

PYTHON_VARIABLE = "LLMJP_METRICS_PYTHON"
# What llm-jp-eval 1.3 scores translations with, as its metric comet_wmt22.
COMET_MODEL = "Unbabel/wmt22-comet-da"
COMET_BATCH = 8

_PACKAGES = {"bert_score": "bert-score", "comet": "unbabel-comet"}  # module: package on PyPI
_WORKER = Path(__file__).with_name("learned_worker.py")
_FIND = "import sys; sys.path[:] = [p for p in sys.path if p]; from importlib.util import find_spec; s = find_spec(sys.argv[1]); sys.exit(s is None or s.origin is None)"


def available(name: str) -> bool:
    """Whether the package of 'bert_score' or 'comet' is installed where it would run; its models may still be missing.

    Raises UserError for another name, or if LLMJP_METRICS_PYTHON names no Python.
    """
    if name not in _PACKAGES:
        raise UserError(f"there is no learned metric {name!r}; take {' or '.join(_PACKAGES)}")
    return _installed(name, _python())


def bert_score(
    predictions: Sequence[str],
    golds: Sequence[str],
    language: str,
    model: str | None = None,
    layers: int | None = None,
) -> tuple[float, ...]:
    """BERTScore's F1 of each prediction, without idf weights or rescaling, as bert_score.score computes it.

    language: 'en' or 'ja', which choose the package's model (roberta-large; bert-base-multilingual-cased), unless `model`
      names one: a folder, or a repository in Hugging Face's cache. `layers`: of that model, the layer compared; needed
      where the package's table does not have the model's name.
    Raises MetricUnavailable without package or model; it names what to install or to give.
    """
    _same_length(predictions=predictions, golds=golds)
    return _scores("bert_score", tuple(predictions), tuple(golds), language=language, model=model, layers=layers)  # fmt: skip


def comet(
    sources: Sequence[str],
    predictions: Sequence[str],
    golds: Sequence[str],
    model: str | None = None,
) -> tuple[float, ...]:
    """COMET's score of each translation; their mean is the system's score.

    model: a COMET checkpoint (`.ckpt`), a folder with `hparams.yaml` and `checkpoints/model.ckpt`, or a repository in Hugging
      Face's cache; default Unbabel/wmt22-comet-da, as llm-jp-eval 1.3. Its encoder's tokenizer must be in the cache too.
    Raises MetricUnavailable without package or model; it names what to install or to give.
    """
    _same_length(sources=sources, predictions=predictions, golds=golds)
    return _scores("comet", tuple(predictions), tuple(golds), sources=tuple(sources), model=model or COMET_MODEL, batch_size=COMET_BATCH)  # fmt: skip


def _scores(name: str, predictions: tuple, golds: tuple, **arguments) -> tuple[float, ...]:
    if not predictions:
        return ()
    if not available(name):
        raise MetricUnavailable(
            f"{name} needs the package {_PACKAGES[name]}, which {_python()} does not have; install it there, or in another "
            f"environment whose Python {PYTHON_VARIABLE} names"
        )
    return _computed(name, _python(), predictions, golds, tuple(sorted(arguments.items())))


@functools.lru_cache(maxsize=4)
def _computed(
    name: str, python: str, predictions: tuple, golds: tuple, arguments: tuple
) -> tuple[float, ...]:
    """The worker's scores. Those of the last answers are kept, as a metric is asked for twice: sound, and as llm-jp-eval."""
    job = {"metric": name, "predictions": predictions, "golds": golds, **dict(arguments)}
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}  # fmt: skip
    # Its progress bars and warnings go to our standard error.
    done = subprocess.run([python, str(_WORKER)], input=json.dumps(job).encode(), stdout=subprocess.PIPE, env=os.environ | offline)  # fmt: skip
    if done.returncode != 0:
        raise MetricUnavailable(f"{name} stopped with exit code {done.returncode} under {python}; what it said is above")  # fmt: skip
    answer = json.loads(done.stdout)
    if "missing" in answer:
        why = " ".join(answer["why"].split())[:300]
        raise MetricUnavailable(f"{name} cannot load its model {answer['missing']} from this machine ({why}); {answer['fix']}")  # fmt: skip
    scores = tuple(answer["scores"])
    if len(scores) != len(predictions):
        raise MetricUnavailable(f"{name} gave {len(scores)} scores for {len(predictions)} predictions; its version is not supported")  # fmt: skip
    return scores


def _same_length(**columns: Sequence[str]) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"there must be as many of each: {lengths}")


def _python() -> str:
    python = os.environ.get(PYTHON_VARIABLE)
    if python is None:
        return sys.executable
    if not os.access(python, os.X_OK) or Path(python).is_dir():
        raise UserError(f"{PYTHON_VARIABLE} = {python} is no program; give the path of a Python such as /path/to/venv/bin/python")  # fmt: skip
    return python


@functools.cache
def _installed(name: str, python: str) -> bool:
    return subprocess.run([python, "-c", _FIND, name], capture_output=True).returncode == 0
