"""What Orbax's and TensorStore's background writers raise on a full or read-only disk, as one sentence.

Their threads also print a traceback of every error that they hand back to the caller; here those stay silent.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

from llmjp_jax.errors import UserError

_SIGNS = (
    "No space left",
    "Read-only file system",
    "Permission denied",
    "Disk quota",
    "File too large",
)


@contextlib.contextmanager
def disk_errors(directory: Path) -> Iterator[None]:
    """Turns an error of the place `directory` into a `UserError`; other errors pass through."""
    try:
        yield
    except Exception as error:
        messages = _chain(error).lower()
        for sign in _SIGNS:
            if sign.lower() in messages:
                raise UserError(
                    f"cannot write a checkpoint to {directory}: {sign}; make room or change MODEL_DIR, "
                    "and run the same command again"
                ) from error
        raise


def silence_writers() -> None:
    """Keeps the writers' threads from printing what `Checkpoints.wait` and `save` raise anyway; harmless if repeated."""
    if getattr(threading.excepthook, "writers_silenced", False):
        return
    thread_hook, unraisable_hook = threading.excepthook, sys.unraisablehook

    def on_thread(arguments):
        frames = traceback.extract_tb(arguments.exc_traceback)
        if not any("/orbax/checkpoint/" in frame.filename for frame in frames):
            thread_hook(arguments)

    def on_unraisable(arguments):
        # A write that ends after another one failed finds Orbax's event loop closed, and says so from C++.
        if "Event loop is closed" not in str(arguments.exc_value):
            unraisable_hook(arguments)

    on_thread.writers_silenced = True
    threading.excepthook, sys.unraisablehook = on_thread, on_unraisable
    # Orbax tells at length, at every save, what a user neither did nor can change.
    logging.getLogger("absl").addFilter(lambda record: "/orbax/checkpoint/" not in record.pathname)
    logging.getLogger("asyncio").addFilter(lambda record: "never retrieved" not in record.msg)
    warnings.filterwarnings("ignore", message="coroutine 'async_serialize_from_host")


def _chain(error: BaseException | None) -> str:
    """The messages of an error and of what caused it."""
    texts = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__ or error.__context__
    return " | ".join(texts)
