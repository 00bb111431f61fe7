"""The report as one HTML page that needs nothing but itself: no script, no font, no picture from elsewhere.

Its content security policy forbids the browser to load or run anything, whatever a model's text says.
"""

from __future__ import annotations

from pathlib import Path

from llmjp_jax.corpus.pipeline import report_elements
from llmjp_jax.corpus.pipeline.report_elements import Markup, element
from llmjp_jax.evaluation.report.contamination_section import contamination_section
from llmjp_jax.evaluation.report.findings import Findings
from llmjp_jax.evaluation.report.judged_sections import judges_section, safety_section
from llmjp_jax.evaluation.report.samples import EACH, samples_section
from llmjp_jax.evaluation.report.sections import (
    categories_section,
    method_section,
    runs_section,
    tasks_section,
)

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
# Heading, anchor, and the section of the findings; one without contents is left out, of the page and of its own contents.
SECTIONS = (
    ("Categories", "categories", categories_section),
    ("Tasks", "tasks", tasks_section),
    ("Contamination", "contamination", contamination_section),
    ("Judges", "judges", judges_section),
    ("Safety", "safety", safety_section),
)


def page(findings: Findings, samples: int = EACH) -> str:
    """The page's HTML; the same findings give the same text.

    Args:
      samples: right and wrong answers that are shown of each task.
    """
    sections = [(heading, anchor, build(findings)) for heading, anchor, build in SECTIONS]
    sections.append(("Sample answers", "samples", samples_section(findings.runs, samples)))
    sections.append(("How this was counted", "method", method_section()))
    sections = [part for part in sections if part[2]]
    links = (element("li", element("a", heading, href=f"#{anchor}")) for heading, anchor, _ in sections)  # fmt: skip
    main = element(
        "main",
        element("h1", "Evaluation report", id="top"),
        element("nav", element("ul", *links), aria_label="Sections"),
        runs_section(findings),
        *(body for *_, body in sections),
        element("p", element("a", "Back to the top", href="#top"), class_="top"),
    )
    names = ", ".join(run.name for run in findings.runs)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("link", rel="icon", href="data:,"),
        element("title", f"Evaluation report: {names}"),
        element("style", Markup(_styles())),
    )
    return "<!DOCTYPE html>\n" + element("html", head, element("body", main), lang="en") + "\n"


def _styles() -> str:
    """The look of all reports, and what this one adds."""
    files = (Path(report_elements.__file__).with_name("report.css"), Path(__file__).with_name("report.css"))  # fmt: skip
    return "\n".join(file.read_text(encoding="utf-8") for file in files)
