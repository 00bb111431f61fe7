"""Compiled programs as text: instructions, which computation calls which, and how often a loop's body runs.

XLA has no public interface for this but `compiled.as_text()`. Only what planning reads is parsed.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

_HEAD = re.compile(r"(ENTRY )?%(\S+) \(.*\{$")
_NAME = re.compile(r"^  (ROOT )?%(\S+) = ")
_OPCODE = re.compile(r" ?([a-z][\w-]*)\(")
_OPERAND = re.compile(r"%([^\s,()]+)")
_ARRAY = re.compile(r"\b(pred|bf16|[suf]\d+|c64|c128|f8\w+)\[([\d,]*)\]")
_CALLED = re.compile(
    r"\b(calls|to_apply|body|branch_computations|called_computations)=\{?([^}\s]+)"
)
_LOOKS_THROUGH = ("copy", "bitcast", "convert")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """`%name = result opcode(%operands), attributes`."""

    name: str
    result: str
    opcode: str
    operands: tuple[str, ...]
    inside: str  # the text between the brackets: a constant's value, an operand list
    attributes: str
    root: bool

    def arrays(self) -> list[int]:
        """Bytes of each array of the result; a result that is not a tuple has one."""
        return [_bytes(*found) for found in _ARRAY.findall(self.result)]

    def largest(self) -> str:
        """The largest array of the result, as `bf16[8,4096,5120]`."""
        found = _ARRAY.findall(self.result)
        return "{}[{}]".format(*max(found, key=lambda one: _bytes(*one))) if found else ""

    def called(self) -> dict[str, list[str]]:
        """Names of computations by the attribute that names them."""
        return {
            kind: [name.strip("% ") for name in names.rstrip(",").split(",")]
            for kind, names in _CALLED.findall(self.attributes)
        }


@dataclasses.dataclass(frozen=True)
class Program:
    """The computations of a compiled program, by name, and which one is run."""

    computations: dict[str, list[Instruction]]
    entry: str

    @classmethod
    def parse(cls, text: str) -> Program:
        """The program that `compiled.as_text()` wrote.

        Raises:
          ValueError: it is no such text.
        """
        computations, entry, current = {}, None, None
        for line in text.splitlines():
            if line.startswith("  ") and current is not None:
                instruction = _instruction(line)
                if instruction is not None:
                    current.append(instruction)
            elif head := _HEAD.match(line):
                current = computations.setdefault(head[2], [])
                entry = head[2] if head[1] else entry
        if entry is None:
            raise ValueError("the text has no ENTRY computation")
        return cls(computations, entry)

    def walk(self) -> Iterator[tuple[Instruction, str, tuple[int | None, ...]]]:
        """Every instruction that is run, with its computation and the trip counts of the loops around it.

        None in place of a count stands for a loop whose count cannot be read from the text.
        """
        yield from self._walk(self.entry, ())

    def _walk(self, name: str, loops: tuple[int | None, ...]):
        for instruction in self.computations[name]:
            yield instruction, name, loops
            called = instruction.called()
            if instruction.opcode == "while":
                (body,) = called["body"]
                yield from self._walk(body, (*loops, self.trip_count(name, instruction)))
                continue
            kinds = ["calls", "branch_computations", "called_computations"]
            if instruction.opcode in ("call", "async-start"):
                kinds.append("to_apply")
            for kind in kinds:
                for inner in called.get(kind, ()):
                    if inner in self.computations:
                        yield from self._walk(inner, loops)

    def trip_count(self, name: str, loop: Instruction) -> int | None:
        """How often the body of a `while` runs: `for (i = a; i < b; i += c)` with constants; None for any other."""
        condition = re.search(r"condition=%?([^\s,]+)", loop.attributes)[1]
        (body,) = loop.called()["body"]
        (test,) = [found for found in self.computations[condition] if found.root]
        if test.opcode != "compare" or "direction=LT" not in test.attributes:
            return None
        index, limit = (self._source(condition, operand) for operand in test.operands)
        stop = _constant(limit)
        counter = index and _element(index)
        if stop is None or counter is None:
            return None
        start = _constant(self._tuple_item(name, loop.operands[0], counter))
        (result,) = [found for found in self.computations[body] if found.root]
        advance = self._source(body, result.operands[counter])
        if start is None or advance is None or advance.opcode != "add":
            return None
        parts = [self._source(body, operand) for operand in advance.operands]
        steps = [_constant(part) for part in parts if _constant(part) is not None]
        counters = [part for part in parts if part is not None and _element(part) == counter]
        if len(steps) != 1 or len(counters) != 1 or steps[0] < 1:
            return None
        return max(0, math.ceil((stop - start) / steps[0]))

    @functools.cached_property
    def _by_name(self) -> dict[str, dict[str, Instruction]]:
        return {
            name: {instruction.name: instruction for instruction in instructions}
            for name, instructions in self.computations.items()
        }

    def _source(self, computation: str, name: str) -> Instruction | None:
        """The instruction behind copies and the like."""
        found = self._by_name[computation].get(name)
        while found is not None and found.opcode in _LOOKS_THROUGH:
            found = self._by_name[computation].get(found.operands[0])
        return found

    def _tuple_item(self, computation: str, name: str, index: int) -> Instruction | None:
        found = self._source(computation, name)
        if found is None or found.opcode != "tuple":
            return None
        return self._source(computation, found.operands[index])


def _instruction(line: str) -> Instruction | None:
    name = _NAME.match(line)
    if name is None:
        return None
    start = name.end()
    # A tuple's type has brackets of its own.
    end = _closing(line, start) + 1 if line[start] == "(" else line.index(" ", start)
    opcode = _OPCODE.match(line, end)
    if opcode is None:
        return None
    close = _closing(line, opcode.end() - 1)
    inside = line[opcode.end() : close]
    return Instruction(
        name=name[2],
        result=line[start:end],
        opcode=opcode[1],
        operands=tuple(_OPERAND.findall(inside)),
        inside=inside,
        attributes=line[close + 1 :],
        root=bool(name[1]),
    )


def _closing(line: str, opening: int) -> int:
    depth = 0
    for index in range(opening, len(line)):
        if line[index] == "(":
            depth += 1
        elif line[index] == ")":
            depth -= 1
            if depth == 0:
                return index
    raise ValueError(f"a bracket does not close: {line[:80]}")


def _constant(instruction: Instruction | None) -> int | None:
    if instruction is None or instruction.opcode != "constant":
        return None
    return int(instruction.inside) if re.fullmatch(r"-?\d+", instruction.inside) else None


def _element(instruction: Instruction) -> int | None:
    if instruction.opcode != "get-tuple-element":
        return None
    return int(re.search(r"index=(\d+)", instruction.attributes)[1])


def _bytes(dtype: str, sizes: str) -> int:
    bits = 8 if dtype == "pred" else int(re.search(r"\d+", dtype)[0])
    return math.ceil(math.prod(int(size) for size in sizes.split(",") if size) * bits / 8)
