"""Steps of a corpus: filters and maps by name, run over documents in order, with a count of what each lets through."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmjp_jax.corpus.documents import Document
from llmjp_jax.corpus.filters import FILTERS, MAPS
from llmjp_jax.corpus.filters.paragraphs import document_text
from llmjp_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Step:
    """One filter or map with its parameters.

    Attributes:
      name: in `filters.FILTERS` or `filters.MAPS`.
      parameters: of that function.
      label: unique in its list; what reports and dropped documents call it.
    """

    name: str
    parameters: Mapping[str, Any]
    label: str

    @property
    def kind(self) -> str:
        return "filter" if self.name in FILTERS else "map"

    @property
    def function(self) -> Callable[..., Any]:
        return FILTERS[self.name] if self.name in FILTERS else MAPS[self.name]


def parse_steps(written: Sequence[Any], place: str) -> list[Step]:
    """Steps as a gin file writes them: names, or (name, {parameter: value}).

        ["not_empty", ("is_japanese", {"lookup": 50})] -> labels "not_empty", "is_japanese(lookup=50)"

    Args:
      place: what to call the list in an error, as `ja_cc: steps`.

    Raises:
      UserError: a name that is unknown (names the nearest), or parameters that the step does not take or lacks.
    """
    steps: list[Step] = []
    labels: dict[str, int] = {}
    for one in written:
        name, parameters = (one, {}) if isinstance(one, str) else _pair(one, place)
        function = FILTERS.get(name) or MAPS.get(name)
        if function is None:
            known = [*FILTERS, *MAPS]
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(known)}"
            raise UserError(f"{place} names the step {name}, which there is not; {hint}")
        try:
            inspect.signature(function).bind(None, **parameters)
        except TypeError as error:
            wanted = list(inspect.signature(function).parameters)[1:]
            raise UserError(
                f"{place}: {name} has wrong parameters ({error}); it takes {', '.join(wanted) or 'none'}"
            ) from None
        _check_types(function, parameters, f"{place}: {name}")
        label = _label(name, parameters)
        labels[label] = labels.get(label, 0) + 1
        if labels[label] > 1:
            label = f"{label} #{labels[label]}"
        steps.append(Step(name, parameters, label))
    return steps


def _pair(one: Any, place: str) -> tuple[str, Mapping[str, Any]]:
    if isinstance(one, list | tuple) and len(one) == 2:
        name, parameters = one
        if isinstance(name, str) and isinstance(parameters, Mapping):
            return name, dict(parameters)
    raise UserError(
        f"{place} has the entry {one!r}; write 'name' or ('name', {{'parameter': value}})"
    )


def _check_types(function: Callable[..., Any], parameters: Mapping[str, Any], place: str) -> None:
    """Refuses a word where a number is wanted, which would show in the middle of a build alone."""
    hints = inspect.get_annotations(function)
    for name, value in parameters.items():
        if hints.get(name) in ("int", "float") and (
            isinstance(value, bool) or not isinstance(value, int | float)
        ):
            raise UserError(f"{place}: {name} is {value!r}; it must be a number")


def _label(name: str, parameters: Mapping[str, Any]) -> str:
    """Parameters that are long, as lists, are shown by their length; files by their names."""
    shown = []
    for key, value in parameters.items():
        text = f"{len(value)} values" if isinstance(value, list | tuple) else str(value)
        shown.append(f"{key}={text.rpartition('/')[2]}")
    return f"{name}({', '.join(shown)})" if shown else name


class Chain:
    """Runs steps over documents and counts what each one meets and lets through.

    Attributes:
      counts: by the step's label [documents in, documents out, bytes in, bytes out]; bytes are of UTF-8 text.
    """

    def __init__(self, steps: Sequence[Step]):
        self._steps = [
            (step.label, step.kind == "filter", step.function, dict(step.parameters))
            for step in steps
        ]
        self.counts: dict[str, list[int]] = {step.label: [0, 0, 0, 0] for step in steps}

    def run(self, document: Document, size: int) -> tuple[Document, str | None]:
        """The document after all steps; or, where a filter dropped it, as it was then.

        Args:
          size: bytes of the document's text.

        Returns:
          The document, and the label of the filter that dropped it or None.

        Raises:
          UserError: the document has not what a step reads.
        """
        met: list[tuple[list[int], int, int | None]] = []
        reason = None
        for label, is_filter, function, parameters in self._steps:
            count = self.counts[label]
            if not is_filter:
                before, document = size, function(document, **parameters)
                size = text_bytes(document)
                met.append((count, before, size))
            elif function(document, **parameters):
                met.append((count, size, size))
            else:
                met.append((count, size, None))
                reason = label
                break
        # Counted at the end: a document that a step cannot read, which raises, was never there.
        for count, before, after in met:
            count[0] += 1
            count[2] += before
            if after is not None:
                count[1] += 1
                count[3] += after
        return document, reason


def text_bytes(document: Document) -> int:
    """UTF-8 bytes of a document's text, or of its paragraphs where it has some."""
    return len(document_text(document).encode("utf-8", "surrogatepass"))
