"""Which folders of models are refused before anything of them is loaded, and what tells one model from another."""

from __future__ import annotations

import json
import shutil

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.search.dense.model_files import check_model_folder, fingerprint_model


@pytest.fixture
def copied(tmp_path, bert):
    shutil.copytree(bert, tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_of_sentence_transformers_may_be_loaded(bert, cross_lingual):
    assert check_model_folder(bert) and check_model_folder(cross_lingual)


def test_a_folder_that_is_not_there_is_not_looked_for_elsewhere(tmp_path):
    with pytest.raises(UserError, match="no folder .*nothing is downloaded"):
        check_model_folder(tmp_path / "sentence-transformers" / "LaBSE")


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(UserError, match="neither modules.json nor config.json"):
        check_model_folder(tmp_path)


def test_weights_in_a_pickle_are_refused(copied):
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(UserError, match="pytorch_model.bin may be a pickle"):
        check_model_folder(copied)


def test_a_pickle_beside_safetensors_is_not_read_and_no_part_of_the_model(copied):
    before = fingerprint_model(copied)
    (copied / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/pwned'\ntR.")
    assert check_model_folder(copied)
    assert fingerprint_model(copied) == before


def test_weights_of_a_module_in_a_pickle_are_refused(copied):
    modules = json.loads((copied / "modules.json").read_text())
    kind = "sentence_transformers.models.Dense"
    modules.append({"idx": 2, "name": "2", "path": "2_Dense", "type": kind})
    (copied / "modules.json").write_text(json.dumps(modules))
    (copied / "2_Dense").mkdir()
    (copied / "2_Dense" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UserError, match="2_Dense/pytorch_model.bin may be a pickle"):
        check_model_folder(copied)


@pytest.mark.parametrize("kind", ["os.system", "modeling_evil.Evil", "sentence_transformersx.A"])
def test_a_module_that_is_code_of_its_own_is_refused(copied, kind):
    modules = json.loads((copied / "modules.json").read_text())
    modules[0]["type"] = kind
    (copied / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UserError, match=f"names the class '{kind}'"):
        check_model_folder(copied)


@pytest.mark.parametrize("path", ["../other", "/etc"])
def test_a_module_outside_of_the_model_is_refused(copied, path):
    modules = json.loads((copied / "modules.json").read_text())
    modules[0]["path"] = path
    (copied / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UserError, match="outside of the model"):
        check_model_folder(copied)


@pytest.mark.parametrize("content", ["[", '{"type": 1}', "[1]"])
def test_a_damaged_list_of_modules_is_named(copied, content):
    (copied / "modules.json").write_text(content)
    with pytest.raises(UserError, match="modules.json is no list of modules"):
        check_model_folder(copied)


def test_the_fingerprint_changes_with_a_weight_and_not_with_a_page_about_the_model(copied):
    before = fingerprint_model(copied)
    (copied / "README.md").write_text("Another page.")
    assert fingerprint_model(copied) == before
    weights = bytearray((copied / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copied / "model.safetensors").write_bytes(weights)
    assert fingerprint_model(copied) != before
