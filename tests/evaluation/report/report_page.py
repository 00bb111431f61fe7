"""Ways to look into a report: its tags, its tables."""

import html
import re

from tests.corpus.pipeline.report_page import Page

__all__ = ["Page", "cells", "markdown_table", "section"]


def section(page: str, anchor: str) -> str:
    """The part of the page from a heading with this id to the end of its section."""
    return page.split(f'id="{anchor}"')[1].split("</section>")[0]


def cells(part: str) -> list[list[str]]:
    """The text of each cell of the rows in a part of a page, parts of a cell apart by spaces."""
    rows = []
    for row in re.findall("<tr>(.*?)</tr>", part, re.DOTALL):
        found = re.findall("<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        rows.append([" ".join(html.unescape(re.sub("<.*?>", " ", cell)).split()) for cell in found])
    return rows


def markdown_table(text: str, heading: str) -> list[list[str]]:
    """The first table below a heading, rows of cells, its head first."""
    lines = text.split(f"\n{heading}\n")[1].strip().splitlines()
    table = []
    for line in lines:
        if not line.startswith("|"):
            if table:
                break
            continue
        table.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return [table[0], *table[2:]]
