"""The pipeline: raw files in, `{train,validation}_*.jsonl` with statistics and a report out, by tasks that can be killed.

    from llmjp_jax.corpus import pipeline
    pipeline.build_corpus(input_dir="raw", output_dir="corpora", corpora=[pipeline.Corpus(name="mine", inputs=["*.jsonl"], steps=["not_empty"])])

`Corpus` says what is done; `LocalExecutor`, `SlurmExecutor` and `RayExecutor` who does it. Importing this is light: datatrove, numba
and the readers' libraries are imported when a build starts.
"""

from llmjp_jax.corpus.pipeline.build import build_corpus
from llmjp_jax.corpus.pipeline.corpus import Corpus
from llmjp_jax.corpus.pipeline.executors import LocalExecutor, RayExecutor, SlurmExecutor
from llmjp_jax.corpus.readers.python_files import standard_library

__all__ = [
    "Corpus",
    "LocalExecutor",
    "RayExecutor",
    "SlurmExecutor",
    "build_corpus",
    "standard_library",
]
