"""Runs bert_score or COMET once: a job as JSON on standard input, an answer as JSON on standard output.

A script for `learned.py`, run by any Python from 3.8 that has the package; never imported, and without imports from this
package. The answer is {"scores": [...]}, or {"missing": model, "why": ..., "fix": ...} where a model is not on disk.
"""

import json
import os
import sys

# The script's own folder, whose files would hide modules of others.
sys.path.pop(0)


class Missing(Exception):
    """A model that is not on this machine: its name, why it cannot be loaded, and what to do."""

    def __init__(self, model, why, fix=None):
        super().__init__(model)
        self.why = why
        self.fix = fix or f"fetch it once with `hf download {model}`, or give the path of a folder that has it"  # fmt: skip


def main():
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the packages print is no part of the answer
    job = json.loads(sys.stdin.buffer.read().decode("utf-8"))
    try:
        result = {"scores": METRICS[job.pop("metric")](**job)}
    except Missing as error:
        result = {"missing": error.args[0], "why": error.why, "fix": error.fix}
    with answer:
        json.dump(result, answer)


def bert_score(predictions, golds, language, model, layers):
    """F1 of each pair; the package chooses the model of the language, unless one is given.

    A pair with an empty text scores 0, as the package says it does; under transformers 5 it stops at one instead.
    """
    import bert_score
    from bert_score.utils import lang2model, model2layers

    name = model or lang2model[language]
    if layers is None:
        layers = model2layers.get(os.path.basename(os.path.normpath(name)))  # noqa: PTH119, a name
    if layers is None:
        raise Missing(name, "bert_score's table says no layer for it", "give layers, the layer to compare")  # fmt: skip
    pairs = zip(predictions, golds)  # noqa: B905, Python 3.8 and 3.9 have no strict
    full = [i for i, (prediction, gold) in enumerate(pairs) if prediction.strip() and gold.strip()]
    scores = [0.0] * len(predictions)
    if not full:
        return scores
    try:
        _, _, f1 = bert_score.score([predictions[i] for i in full], [golds[i] for i in full], model_type=name, num_layers=layers, lang=language, verbose=True)  # fmt: skip
    except OSError as error:  # what Hugging Face raises for a model that is not in its cache
        raise Missing(name, str(error)) from error
    for i, value in zip(full, f1):  # noqa: B905
        scores[i] = float(value)
    return scores


def comet(sources, predictions, golds, model, batch_size):
    """The score of each translation, on the GPU if there is one."""
    import comet
    import torch

    path = checkpoint(model)
    try:
        loaded = comet.load_from_checkpoint(path, local_files_only=True)
    except (
        OSError
    ) as error:  # its encoder's tokenizer and configuration come from Hugging Face's cache
        raise Missing(model, str(error), "fetch the encoder too, such as `hf download xlm-roberta-large`") from error  # fmt: skip
    rows = zip(sources, predictions, golds)  # noqa: B905, Python 3.8 and 3.9 have no strict
    samples = [{"src": source, "mt": prediction, "ref": gold} for source, prediction, gold in rows]
    gpus = 1 if torch.cuda.is_available() else 0
    done = loaded.predict(samples, batch_size=batch_size, gpus=gpus, num_workers=0, progress_bar=True)  # fmt: skip
    return [float(value) for value in done.scores]


def checkpoint(model):
    """The .ckpt file of a path or of a repository in Hugging Face's cache."""
    if os.path.isfile(model):  # noqa: PTH113
        path = os.path.abspath(model)  # noqa: PTH100
    elif os.path.isdir(model):  # noqa: PTH112
        path = os.path.join(model, "checkpoints", "model.ckpt")  # noqa: PTH118
    else:
        # Not comet.download_model: where the cache has nothing, it turns to its old download site.
        from huggingface_hub import snapshot_download

        try:
            folder = snapshot_download(repo_id=model, local_files_only=True)
        except Exception as error:
            raise Missing(model, str(error)) from error
        path = os.path.join(folder, "checkpoints", "model.ckpt")  # noqa: PTH118
    parameters = os.path.join(os.path.dirname(os.path.dirname(path)), "hparams.yaml")  # noqa: PTH118, PTH120
    for needed in (path, parameters):
        if not os.path.isfile(needed):  # noqa: PTH113
            raise Missing(model, "there is no " + needed, "give a folder with hparams.yaml and checkpoints/model.ckpt")  # fmt: skip
    return path


METRICS = {"bert_score": bert_score, "comet": comet}

if __name__ == "__main__":
    main()
