"""Converts a checkpoint: a run of ours to a Hugging Face directory, or a Hugging Face GPT-2 or Llama model to a run.

  python tools/convert_checkpoint.py --from_run=MODEL_DIR --to_hf=exported --dtype=bfloat16
  python tools/convert_checkpoint.py --from_hf=llm-jp-13b-v2.0 --to_run=llm-jp-13b-v2.0.run
  python tools/convert_checkpoint.py --from_hf=llm-jp-13b-v2.0 --to_hf=in_small_files --max_shard_gb=2

The tokenizer comes along from where the model is, or from --vocabulary. A run made here starts others
(`initial_checkpoint_path`, which takes a Hugging Face directory too); it has no optimizer state to continue from.
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
        if options.step is not None and options.from_run is None:
            raise UserError("--step chooses a checkpoint of a run; give it with --from_run")
        from llmjp_jax.checkpoints import load_hf, load_run, save_hf, save_run

        source = options.from_hf or options.from_run
        vocabulary = _vocabulary(options.vocabulary, Path(source))
        if options.from_hf:
            config, model = load_hf(source, dtype=options.dtype)
        else:
            config, model = load_run(source, step=options.step, dtype=options.dtype)
        if options.to_hf:
            shard_bytes = int(options.max_shard_gb * 1e9)
            save_hf(
                model,
                config,
                options.to_hf,
                vocabulary,
                max_shard_bytes=shard_bytes,
                overwrite=options.overwrite,
            )
        else:
            save_run(model, config, options.to_run, vocabulary)
        print(_summary(config, model, vocabulary, options.to_hf or options.to_run))


def _vocabulary(given: str | None, source: Path) -> Vocabulary | None:
    from llmjp_jax.tokenizer import load_vocabulary

    if given is not None:
        return load_vocabulary(given)
    holds_one = (source / "tokenizer.json").is_file() or any(source.glob("*.model"))
    return load_vocabulary(source) if holds_one else None


def _summary(
    config: ModelConfig, model: Decoder, vocabulary: Vocabulary | None, target: str
) -> str:
    from llmjp_jax.models import parameter_count

    tokenizer = "no tokenizer (give --vocabulary)"
    if vocabulary is not None:
        tokenizer = f"tokenizer of {vocabulary.vocab_size:,} ids, ending at {vocabulary.eos_id}"
    return f"{target}: {parameter_count(config):,} parameters in {model.embed.tokens[...].dtype}, {tokenizer}"


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
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument(
        "--to_hf", metavar="DIR", help="what transformers' AutoModelForCausalLM loads"
    )
    target.add_argument("--to_run", metavar="MODEL_DIR", help="a new directory")
    add = parser.add_argument
    add("--step", type=int, help="checkpoint of the run; the newest if not given")
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
        help="replace a model's directory at --to_hf that this did not write",
    )
    return parser


if __name__ == "__main__":
    main()
