"""The evaluation of a model on llm-jp-eval's tasks: from gin files, or from Python. Read it from top to bottom."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.asking import Asking, Prompt, ask, model_identity, shortened
from llmjp_jax.evaluation.offline import read_answers, write_prompts
from llmjp_jax.evaluation.plan import CHAT, PlannedTask, plan_tasks, template_sha256
from llmjp_jax.evaluation.prompts import PromptTemplate, build_template, find_template
from llmjp_jax.evaluation.results import (
    llm_jp_eval_result,
    provenance,
    score_task,
    summary,
    write_json,
)
from llmjp_jax.files import atomic_write

if TYPE_CHECKING:
    from llmjp_jax.parallel import MeshConfig


def evaluate(
    *,
    data_dir: str,
    output_dir: str | None = None,
    model_dir: str | None = None,
    tasks: str | Sequence[str] = "all",
    split: str = "dev",
    shots: int = 4,
    samples: int | None = 100,
    template: str | PromptTemplate = "llm_jp_eval_1_3",
    chat_template: str | None = None,
    strict: bool = True,
    too_long: str = "error",
    output_length: int | None = None,
    batch_size: int = 16,
    step: int | str | None = None,
    dtype: str | None = None,
    mesh: MeshConfig | None = None,
    run_code: bool = False,
    prompts_dir: str | None = None,
    answers_dir: str | None = None,
    operative_config: str | None = None,
) -> dict[str, Any]:
    """Asks a model, or reads answers that it gave elsewhere, scores them, and writes it all to `output_dir`.

    A run that was killed goes on where it was: no answer is asked for twice.

    Args:
      data_dir: the folder of `tools/prepare_evaluation.py`.
      output_dir: gets answers/TASK.jsonl, tasks/TASK.json, summary.json and results.json (llm-jp-eval's format).
      model_dir: a run directory or a Hugging Face directory. With answers_dir: the name that the answers' model is shown by.
      tasks: 'all' (the 23 of llm-jp-eval 1.3), 'all-1.4', a name or several.
      split: 'dev' or 'test'. shots: of each prompt. samples: the first so many items of a task; None: all.
      template: of the prompts, one of `prompts.PROMPT_TEMPLATES` or of `prompts.custom_template`, or 'chat': the conversation
        template of a tuned model;
        chat_template: which one 'chat' means, one of `conversations.TEMPLATES`; None: what model_dir says.
      strict: a task of 'all' without a file is an error; False: it is left out and named.
      too_long, output_length, batch_size: see `Asking`.
      step, dtype, mesh: see `LanguageModel.load` and `infer`.
      run_code: allows tasks whose metric runs what the model wrote (code_exec), in a separate limited process.
      prompts_dir: write the prompts there for another program, and do no more.
      answers_dir: read that program's answers in place of asking a model.
      operative_config: the gin text of the run, to be saved beside the results.

    Returns:
      The contents of summary.json; empty with prompts_dir.

    Raises:
      UserError: a task, metric, file or number is wrong; a prompt is too long; the answers there are another run's.
    """
    planned, left_out = plan_tasks(
        data_dir, tasks, split=split, shots=shots, samples=samples, strict=strict
    )
    _check(planned, template, run_code, model_dir, output_dir, prompts_dir, answers_dir)
    for sentence in left_out:
        _say(f"left out: {sentence}")
    named = template if template == CHAT else find_template(template).name
    settings = {"tasks": tasks, "split": split, "shots": shots, "samples": samples, "template": named}  # fmt: skip
    asking = Asking(template=template, chat_template=chat_template, too_long=too_long, batch_size=batch_size, output_length=output_length)  # fmt: skip
    if prompts_dir is not None:
        paths = write_prompts(planned, _made(prompts_dir, "prompts_dir"), asking, settings)
        _say(f"{len(paths)} files of prompts in {prompts_dir}")
        return {}

    folder = _made(output_dir, "output_dir")
    if answers_dir is None:
        answerer = _Answerer(folder, model_dir, step, dtype, mesh, asking)
    else:
        answerer = _Offline(answers_dir, model_dir, template)
    origin = provenance(
        model=answerer.name, step=answerer.step, split=split, shots=shots, samples=samples,
        template=answerer.template or named, template_sha256=template_sha256(template, answerer.template),
    )  # fmt: skip
    results = []
    for task in planned:
        prompts, raws = answerer.answers(task)
        results.append(score_task(task, prompts, raws, {**origin, "output_length": asking.length_of(task)}))  # fmt: skip
        write_json(folder / "tasks" / f"{task.name}.json", results[-1])
    found = summary(results, origin, left_out)
    write_json(folder / "summary.json", found)
    write_json(folder / "results.json", _llm_jp_eval(planned, results, template, origin, settings))
    if operative_config is not None:
        with atomic_write(folder / "operative.gin", "w") as file:
            file.write(operative_config)
    _say(table(found))
    return found


def _check(planned, template, run_code, model_dir, output_dir, prompts_dir, answers_dir) -> None:
    if template != CHAT:
        find_template(template)
    code = [task.name for task in planned if task.runs_code]
    if code and not run_code and prompts_dir is None:
        raise UserError(
            f"{', '.join(code)} is scored by running what the model wrote; set run_code = True (RUN_CODE in gin) to allow "
            "it, in a separate limited process, or leave the task out"
        )
    if prompts_dir is not None and answers_dir is not None:
        raise UserError("prompts_dir and answers_dir are both given; write the prompts first, then read their answers")  # fmt: skip
    if template == CHAT and (prompts_dir is not None or answers_dir is not None):
        raise UserError("prompts of template = 'chat' are a model's own, and not for other programs; name a template of prompts.PROMPT_TEMPLATES")  # fmt: skip
    if prompts_dir is None and output_dir is None:
        raise UserError("output_dir is not given; name a folder for the results")
    if prompts_dir is None and model_dir is None:
        raise UserError("model_dir is not given; name a run directory or a Hugging Face directory")


def _made(folder: str, name: str) -> Path:
    """The folder, before a model is loaded that would answer in vain."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{name} = {folder} cannot be made ({error.strerror}); give another folder") from None  # fmt: skip
    return Path(folder)


class _Answerer:
    """A model, and where its answers are kept."""

    def __init__(self, folder: Path, model_dir: str, step, dtype, mesh, asking: Asking):
        from llmjp_jax.checkpoints import resolved_step
        from llmjp_jax.language_model import LanguageModel
        from llmjp_jax.parallel import make_mesh
        from llmjp_jax.training.compilation import keep_programs

        trouble = keep_programs("auto", folder)
        if trouble:
            _say(trouble)
        self.folder, self.name, self.template = folder, str(model_dir), None
        self.step = resolved_step(model_dir, step)
        if asking.template == CHAT:
            import dataclasses

            self.template = asking.chat_template or LanguageModel.template_of(model_dir)
            if self.template is None:
                raise UserError(f"{model_dir} does not say by which template it was tuned; give chat_template (CHAT_TEMPLATE in gin)")  # fmt: skip
            asking = dataclasses.replace(asking, chat_template=self.template)
        self._asking = asking
        self._identity = model_identity(model_dir, self.step, dtype)
        self._model = LanguageModel.load(
            model_dir, self.step, mesh=None if mesh is None else make_mesh(mesh), dtype=dtype
        )

    def answers(self, task: PlannedTask) -> tuple[list[Prompt], list[str]]:
        path = self.folder / "answers" / f"{task.name}.jsonl"
        prompts, raws = ask(self._model, task, self._asking, path, self._identity, progress=True)
        short = shortened(prompts, len(task.shots))
        if short:
            _say(f"{task.name}: of {len(prompts)} prompts {short.get('fewer_shots', 0)} have fewer shots and {short.get('cut', 0)} lost their start, for the model reads {self._model.config.max_length} tokens")  # fmt: skip
        return prompts, raws


class _Offline:
    """Answers that another program gave."""

    def __init__(self, answers_dir: str, name: str, template: str):
        self.name, self.step, self.template = name, None, None
        self._folder, self._asked = answers_dir, template
        if not Path(answers_dir).is_dir():
            raise UserError(f"answers_dir = {answers_dir} is no folder; give that of the files TASK.eval-generated.json")  # fmt: skip

    def answers(self, task: PlannedTask) -> tuple[list[Prompt], list[str]]:
        texts, raws = read_answers(task, self._folder, self._asked)
        return [Prompt(text, (), len(task.shots)) for text in texts], raws


def _llm_jp_eval(planned, results, template, origin, settings) -> dict[str, Any]:
    if template == CHAT:
        template_of = {task.name: "{input}" for task in planned}
    else:
        template_of = {
            task.name: build_template(task.file.instruction, task.shots, template)
            for task in planned
        }
    everything = settings["tasks"] in ("all", "all-1.4")
    return llm_jp_eval_result(results, {**settings, "provenance": origin}, everything, template_of)


def table(found: Mapping[str, Any]) -> str:
    """The summary for a terminal: tasks, categories, and the average; both versions of a metric where they differ."""
    lines = [f"{'task':<24}{'metric':<24}{'score':>8}{'1.3':>8}  items"]
    notes = []
    for name, task in found["tasks"].items():
        for metric, scores in task["metrics"].items():
            value, compat = (
                "-" if scores[kind] is None else f"{scores[kind]:.4f}"
                for kind in ("value", "compat")
            )
            lines.append(f"{name:<24}{metric:<24}{value:>8}{compat:>8}  {task['samples']}")
            if scores["note"] and (value != compat or value == "-"):
                notes.append(f"{metric}: {scores['note']}")
    rows = [*found["categories"].items(), ("average", found["average"])]
    compat = {**found["compat"]["categories"], "average": found["compat"]["average"]}
    averages = [
        f"{name:<48}{value:>8.4f}{compat.get(name) or 0.0:>8.4f}"
        for name, value in rows
        if value is not None
    ]
    parts = [lines, averages, list(dict.fromkeys(notes))]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
