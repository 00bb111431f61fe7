"""A run's first line says where it runs, and a second one says so where its sizes were chosen for another machine."""

import pytest

from llmjp_jax.parallel import MeshConfig
from llmjp_jax.training.record import headline


@pytest.mark.parametrize(
    "mesh, other",
    [
        ({"topology": "v5e:2x2"}, None),
        ({"device_kind": "TPU v5 lite"}, None),
        ({}, None),
        ({"topology": "v4:4x4x8"}, "v4:4x4x8"),
        ({"device_kind": "cpu"}, "cpu"),
    ],
    ids=str,
)
def test_a_machine_that_the_sizes_were_not_made_for_is_said(mesh, other):
    record = {
        "parameters": 5,
        "devices": {"kind": "TPU v5 lite", "count": 4},
        "mesh": {"fsdp": 4},
        "total_steps": 7,
    }
    first, *second = headline(record, MeshConfig(**mesh), begun=0).splitlines()
    assert first == "5 parameters on 4 x TPU v5 lite, mesh {'fsdp': 4}; steps 0 to 7"
    expected = other and f"the configuration was made for {other}, this is TPU v5 lite"
    assert second == ([expected] if other else [])
