"""Converts a checkpoint between a run of ours, a Hugging Face directory (GPT-2, Llama or Mixtral), and a PEFT LoRA adapter.

  python tools/convert_checkpoint.py --from_run=MODEL_DIR --to_hf=exported --dtype=bfloat16
  python tools/convert_checkpoint.py --from_hf=llm-jp-13b-v2.0 --to_run=llm-jp-13b-v2.0.run
  python tools/convert_checkpoint.py --from_hf=llm-jp-13b-v2.0 --to_hf=in_small_files --max_shard_gb=2
  python tools/convert_checkpoint.py --from_run=LORA_MODEL_DIR --step=best --to_peft=adapter
  python tools/convert_checkpoint.py --from_peft=adapter --base=llm-jp-13b-v2.0 --to_hf=merged

A run or an adapter of LoRA is merged with the model under it, unless it goes to --to_peft. The tokenizer and the chat
template come along from where the model is (the tokenizer also from --vocabulary). A run made here starts others
(`initial_checkpoint_path`, which takes a Hugging Face directory and an adapter too); it has no optimizer state to
continue from.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmjp_jax.errors import UserError, exit_on_user_error  # noqa: E402

if TYPE_CHECKING:
    from llmjp_jax.models import Decoder, ModelConfig
    from llmjp_jax.tokenizer import Vocabulary


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    with exit_on_user_error():
        _check(options)
        from llmjp_jax.checkpoints import save_hf, save_peft, save_run

        source = Path(options.from_hf or options.from_run or options.from_peft)
        vocabulary = _vocabulary(options.vocabulary, source, options.base)
        template, chat_template = _template(source, options.base)
        config, model = _load(options, source)
        if options.to_peft:
            base = _hf_base(source, options.base)
            save_peft(model, config, options.to_peft, str(base.resolve()), options.overwrite)
            print(f"{options.to_peft}: the adapters {config.lora} for {base}")
            return
        config, model, note = _whole(config, model, options.dtype)
        if options.to_hf:
            save_hf(
                model, config, options.to_hf, vocabulary, chat_template=chat_template if vocabulary else None,
                max_shard_bytes=int(options.max_shard_gb * 1e9), overwrite=options.overwrite,
            )  # fmt: skip
        else:
            save_run(model, config, options.to_run, vocabulary, template)
        print(_summary(config, model, vocabulary, options.to_hf or options.to_run) + note)


def _check(options: argparse.Namespace) -> None:
    """The arguments fit each other, and the source is of the kind that its name says."""
    if options.step is not None and options.from_run is None:
        raise UserError("--step chooses a checkpoint of a run; give it with --from_run")
    if options.base is not None and options.from_hf is not None:
        raise UserError("--base is the model under an adapter; give it with --from_peft or --from_run")  # fmt: skip
    if options.to_peft is not None and options.dtype is not None:
        raise UserError("--dtype is that of a whole model; --to_peft writes adapters as they are, leave it out")  # fmt: skip
    for option, file in (("from_hf", "config.json"), ("from_run", "run.json"), ("from_peft", "adapter_config.json")):  # fmt: skip
        given = getattr(options, option)
        if given is not None and not (Path(given) / file).is_file():
            raise UserError(f"--{option}={given} has no {file}; give the directory that holds it")


def _load(options: argparse.Namespace, source: Path) -> tuple[ModelConfig, Decoder]:
    """The model; with adapters in the dtype that is stored, since it is rounded once, when they have been added."""
    from llmjp_jax.checkpoints import load_hf, load_peft, load_run, read_model_config

    if options.from_hf:
        return load_hf(source, dtype=options.dtype)
    if options.from_peft:
        return load_peft(source, options.base)
    dtype = options.dtype if read_model_config(source).lora is None else None
    return load_run(source, options.step, dtype=dtype, base=options.base)


def _whole(
    config: ModelConfig, model: Decoder, dtype: str | None
) -> tuple[ModelConfig, Decoder, str]:
    """The model without adapters, and what to say about it."""
    import jax

    from llmjp_jax.checkpoints import merged
    from llmjp_jax.models import abstract_decoder, assemble, disassemble

    if config.lora is None:
        return config, model, ""
    note = f"; merged the adapters {config.lora}"
    config, model = merged(config, model)
    if dtype is not None:
        parameters = jax.tree.map(lambda array: array.astype(dtype), disassemble(model))
        model = assemble(abstract_decoder(config)[0], parameters)
    return config, model, note


def _hf_base(source: Path, given: str | None) -> Path:
    """The Hugging Face directory under adapters, which PEFT is to load."""
    from llmjp_jax.checkpoints import base_of, read_run

    base = Path(given) if given is not None else base_of(source)
    if not (base / "config.json").is_file():
        step = (
            (read_run(source).get("base") or {}).get("step")
            if (source / "run.json").is_file()
            else None
        )
        at = f" --step={step}" if step is not None else ""
        raise UserError(
            f"{base}, the model under the adapters, is no Hugging Face directory, and PEFT loads no other; "
            f"write one (--from_run={base}{at} --to_hf=DIR) and give it as --base=DIR"
        )
    return base


def _vocabulary(given: str | None, source: Path, base: str | None) -> Vocabulary | None:
    from llmjp_jax.checkpoints import base_of
    from llmjp_jax.tokenizer import load_vocabulary

    if given is not None:
        return load_vocabulary(given)
    folders = [source]
    if (source / "adapter_config.json").is_file():
        folders.append(Path(base) if base is not None else base_of(source))
    for folder in folders:
        if (folder / "tokenizer.json").is_file() or any(folder.glob("*.model")):
            return load_vocabulary(folder)
    return None


def _template(source: Path, base: str | None) -> tuple[str | None, str | None]:
    """The name of the chat template that the source was tuned with, and its text; of other templates the text alone."""
    from llmjp_jax.checkpoints import base_of, read_run
    from llmjp_jax.conversations import chat_template_name, get_template
    from llmjp_jax.tokenizer import read_chat_template

    if (source / "run.json").is_file():
        name = read_run(source).get("template")
        return name, None if name is None else get_template(name).chat_template
    text = read_chat_template(source)
    if text is None and (source / "adapter_config.json").is_file():
        text = read_chat_template(Path(base) if base is not None else base_of(source))
    return None if text is None else chat_template_name(text), text


def _summary(
    config: ModelConfig, model: Decoder, vocabulary: Vocabulary | None, target: str
) -> str:
    from llmjp_jax.models import parameter_count

    tokenizer = "no tokenizer (give --vocabulary)"
    if vocabulary is not None:
        tokenizer = f"tokenizer of {vocabulary.vocab_size:,} ids, ending at {vocabulary.eos_id}"
    return f"{target}: {parameter_count(config):,} parameters in {model.embed.tokens[...].dtype}, {tokenizer}"


def _step(text: str) -> int | str:
    if text != "best" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number nor 'best'")
    return text if text == "best" else int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--from_hf", metavar="DIR", help="config.json with model.safetensors or its shards"
    )
    source.add_argument("--from_run", metavar="MODEL_DIR", help="what a run was given as MODEL_DIR")
    source.add_argument(
        "--from_peft", metavar="DIR", help="adapter_config.json with adapter_model.safetensors"
    )
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument(
        "--to_hf", metavar="DIR", help="what transformers' AutoModelForCausalLM loads"
    )
    target.add_argument("--to_run", metavar="MODEL_DIR", help="a new directory")
    target.add_argument("--to_peft", metavar="DIR", help="the adapters alone, for PEFT")
    add = parser.add_argument
    add(
        "--base",
        metavar="DIR",
        help="the model under the adapters; the one that they name if not given",
    )
    add(
        "--step",
        type=_step,
        metavar="N",
        help="checkpoint of the run, or 'best': of the lowest validation loss; the newest if not given",
    )
    add(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="of the written parameters; as stored if not given",
    )
    add(
        "--vocabulary",
        metavar="PATH",
        help="a .model file, tokenizer.json, or a directory that holds one",
    )
    add(
        "--max_shard_gb",
        type=float,
        default=5.0,
        metavar="N",
        help="most gigabytes (1e9 bytes) a file (5)",
    )
    add(
        "--overwrite",
        action="store_true",
        help="replace a model's directory at --to_hf or --to_peft that this did not write",
    )
    return parser


if __name__ == "__main__":
    main()
