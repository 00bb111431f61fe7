"""A TPU slice's name says how many devices of which kind it has; libtpu gives the devices, without a TPU."""

import importlib.util

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.parallel import Interconnect, MeshConfig, Topology, data_sheet, make_mesh

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed (extra 'tpu')"
)

SLICES = [
    ("v4:4x4x8", 1, "TPU v4", 128),
    ("v5p:4x4x4", 1, "TPU v5", 64),
    ("v5e:16x16", 1, "TPU v5 lite", 256),
    ("v6e:8x8", 2, "TPU v6 lite", 128),
    ("v4:2x2x1", 3, "TPU v4", 12),
]


@pytest.mark.parametrize("name, slices, kind, count", SLICES, ids=str)
def test_kind_and_count_need_no_libtpu(name, slices, kind, count, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    topology = Topology(name, slices)
    assert (topology.device_kind, topology.device_count) == (kind, count)
    assert data_sheet(kind).torus == len(topology.shape)
    with pytest.raises(UserError, match=r"pip install -e '\.\[tpu\]'"):
        topology.devices()


@needs_libtpu
@pytest.mark.parametrize("name, slices, kind, count", SLICES, ids=str)
def test_libtpu_gives_as_many_devices_of_the_same_kind(name, slices, kind, count):
    devices = Topology(name, slices).devices()
    assert len(devices) == count
    assert {device.device_kind for device in devices} == {kind}
    assert len({getattr(device, "slice_index", None) for device in devices}) == slices


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("v4", "is not a TPU topology; write a generation"),
        ("v4-128", "is not a TPU topology"),
        ("v9:4x4", "is not a TPU topology"),
        ("v4:4x0x4", "is not a TPU topology"),
        ("v5e:4x4x4", "a v5e slice has 2, as 'v5e:4x4'"),
        ("v4:8x8", "a v4 slice has 3, as 'v4:4x4x4'"),
        ("v5e:3x4", "whole hosts"),
    ],
)
def test_a_name_that_is_no_slice_is_one_sentence(name, sentence):
    with pytest.raises(UserError, match=sentence):
        Topology(name)


@needs_libtpu
def test_links_count_twice_where_a_group_closes_a_ring():
    topology = Topology("v4:4x4x8")
    mesh = make_mesh(MeshConfig(data=1, fsdp=32, tensor=4), topology.devices())
    links = Interconnect.of(mesh.devices.flat, topology.shape, data_sheet("TPU v4"))
    one = 50e9
    assert links.bandwidth(range(128)) == 6 * one
    places = links.coordinates.tolist()
    ring = [places.index([x, 0, 0]) for x in range(4)]
    assert links.bandwidth(ring) == 2 * one
    assert links.bandwidth(ring[:2]) == one
    half = [places.index([0, 0, z]) for z in range(4)]
    assert links.bandwidth(half) == one


@needs_libtpu
def test_replicas_are_the_slices():
    mesh = make_mesh(MeshConfig(replica=2, data=1, fsdp=-1), Topology("v5e:4x4", 2).devices())
    slices = [{device.slice_index for device in part.flat} for part in mesh.devices]
    assert sorted(map(tuple, slices)) == [(0,), (1,)]


def test_the_longest_name_decides_which_data_sheet_holds():
    assert data_sheet("NVIDIA A100-SXM4-40GB").memory_bytes == 40e9
    assert data_sheet("NVIDIA A100-SXM4-80GB").memory_bytes == 80e9
    assert data_sheet("NVIDIA H200").memory_bandwidth == 4800e9
    assert data_sheet("TPU v5 lite").peak_flops == 197e12
    assert data_sheet("TPU v5").peak_flops == data_sheet("TPU v5p").peak_flops == 459e12
    assert data_sheet("an abacus") is None
