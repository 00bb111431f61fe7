"""XML files as trees whose elements know their lines. Entities are refused, and nothing outside the file is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from xml.parsers import expat

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.preparation.raw_files import read_text


@dataclasses.dataclass
class Element:
    """An element.

    Attributes:
      text: what stands in it before its first child; not trimmed.
      place: file and line where it begins, for messages.
    """

    tag: str
    attributes: Mapping[str, str]
    place: str
    text: str = ""
    children: list[Element] = dataclasses.field(default_factory=list)

    def all(self, tag: str) -> list[Element]:
        """The children of this name."""
        return [child for child in self.children if child.tag == tag]

    def one(self, tag: str) -> Element:
        """The child of this name.

        Raises:
          UserError: there is none, or there are several.
        """
        found = self.all(tag)
        if len(found) != 1:
            raise UserError(f"{self.place}: <{self.tag}> has {len(found)} elements <{tag}> where one is wanted")  # fmt: skip
        return found[0]

    def below(self, tag: str) -> Iterator[Element]:
        """All elements of this name below this one, in the order of the file."""
        for child in self.children:
            if child.tag == tag:
                yield child
            yield from child.below(tag)


def read_xml(path: Path, change: Callable[[str], str] = lambda text: text) -> Element:
    """The root element of a UTF-8 file.

    Args:
      change: applied to the text before it is read; must keep its lines.

    Raises:
      UserError: as `read_text`; it is not well formed; it declares an entity; names the line.
    """
    parser = expat.ParserCreate(encoding="utf-8")
    parser.buffer_text = True
    root = Element("", {}, str(path))
    open_elements = [root]

    def start(tag: str, attributes: dict[str, str]) -> None:
        element = Element(tag, attributes, f"{path}, line {parser.CurrentLineNumber}")
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def text(data: str) -> None:
        if not open_elements[-1].children:
            open_elements[-1].text += data

    def entity(name: str, *_) -> None:
        raise UserError(f"{path}, line {parser.CurrentLineNumber} declares the entity {name}; take the declaration out")  # fmt: skip

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda tag: open_elements.pop()
    parser.CharacterDataHandler = text
    parser.EntityDeclHandler = entity
    try:
        parser.Parse(change(read_text(path)).encode("utf-8"), True)
    except expat.ExpatError as error:
        reason = expat.errors.messages[error.code]
        raise UserError(f"{path}, line {error.lineno} is no XML ({reason}); correct it or fetch the file again") from None  # fmt: skip
    return root.children[0]
