"""The report of evaluations: folders of runs in; one HTML page, the same as Markdown, and all numbers as JSON out.

    from llmjp_jax.evaluation.report import write_report
    write_report(["runs/eval", "tuned=runs/eval_sft"], "report", paper=["v2.0-L"])

Other results of a run get a section of their own in `page.SECTIONS`.
"""

from llmjp_jax.evaluation.report.writing import write_report

__all__ = ["write_report"]
