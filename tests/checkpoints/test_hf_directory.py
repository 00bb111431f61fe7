"""An export's directory appears whole and replaces nothing but an earlier export."""

import pytest

from llmjp_jax.checkpoints import load_hf, save_hf
from llmjp_jax.checkpoints.hf_directory import new_directory
from llmjp_jax.errors import UserError
from llmjp_jax.models import Decoder, ModelConfig

CONFIG = ModelConfig(
    vocab_size=31, layers=1, embed=8, heads=2, mlp=16, max_length=8, position="rope",
    norm="rmsnorm", activation="swiglu", bias=False, tied_embeddings=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return Decoder(CONFIG)


def test_a_failed_export_leaves_nothing(tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        new_directory(tmp_path / "out", overwrite=False) as temporary,
    ):
        (temporary / "half").write_text("x")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_nothing_bears_the_name_before_everything_is_written(tmp_path):
    with new_directory(tmp_path / "out", overwrite=False) as temporary:
        (temporary / "file").write_text("x")
        assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "file"]


def test_an_earlier_export_and_an_empty_directory_are_replaced(model, tmp_path):
    (tmp_path / "out").mkdir()
    save_hf(model, CONFIG, tmp_path / "out", max_shard_bytes=2000)
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 1
    save_hf(model, CONFIG, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors",
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("foreign", ["notes.md", "checkpoints/0"])
def test_files_that_no_export_has_protect_the_directory(foreign, model, tmp_path):
    save_hf(model, CONFIG, tmp_path / "out")
    (tmp_path / "out" / foreign).parent.mkdir(exist_ok=True)
    (tmp_path / "out" / foreign).write_text("mine")
    with pytest.raises(UserError, match="not an earlier export"):
        save_hf(model, CONFIG, tmp_path / "out")
    assert (tmp_path / "out" / foreign).read_text() == "mine"


def test_a_model_of_others_is_replaced_only_when_asked(model, tmp_path):
    from safetensors.numpy import save_file

    save_hf(model, CONFIG, tmp_path / "out")
    save_file({}, tmp_path / "out" / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="not an earlier export"):
        save_hf(model, CONFIG, tmp_path / "out")
    save_hf(model, CONFIG, tmp_path / "out", overwrite=True)
    assert load_hf(tmp_path / "out")[0].vocab_size == 31


def test_a_directory_that_holds_no_model_is_not_even_overwritten_when_asked(model, tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match="not a model's directory"):
        save_hf(model, CONFIG, tmp_path, overwrite=True)
    with pytest.raises(UserError, match="is a file"):
        save_hf(model, CONFIG, tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "x"
