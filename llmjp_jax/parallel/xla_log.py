"""What XLA's C++ says on standard error while it compiles, caught so that it can be read and does not bury our own lines."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

# An array that XLA can only lay out anew by giving every device the whole of it.
_REMATERIALIZED = re.compile(r"[Ii]nvoluntary full rematerialization.*?%(\S+?) = .*")
_OPERATION = re.compile(r'op_name="([^"]*)"')


@contextlib.contextmanager
def caught_log() -> Iterator[list[str]]:
    """Yields a list that holds the lines written to file descriptor 2 once the body has ended.

    Python's own `sys.stderr` goes on to the real place.
    """
    lines: list[str] = []
    sys.stderr.flush()
    real, python = os.dup(2), sys.stderr
    with tempfile.TemporaryFile() as file, os.fdopen(os.dup(real), "w", buffering=1) as shown:
        os.dup2(file.fileno(), 2)
        if _writes_to_descriptor_2(python):
            sys.stderr = shown
        try:
            yield lines
        finally:
            sys.stderr = python
            os.dup2(real, 2)
            os.close(real)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()


def rematerialized(lines: list[str]) -> list[str]:
    """The operations whose arrays XLA, by its own warning, had to make whole on every device."""
    found = []
    for line in lines:
        if match := _REMATERIALIZED.search(line):
            name = _OPERATION.search(line)
            found.append(name[1] if name else match[1])
    return list(dict.fromkeys(found))


def _writes_to_descriptor_2(stream) -> bool:
    try:
        return stream.fileno() == 2
    except (OSError, ValueError):
        return False
