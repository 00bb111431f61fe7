"""What a program sends is read from its text: kinds, groups, pieces of one channel, loops within loops."""

from pathlib import Path

import numpy as np
import pytest

from llmjp_jax.parallel import Interconnect, by_kind, data_sheet, one_collective, read_collectives
from llmjp_jax.parallel.hlo import Program

TEXT = (Path(__file__).parent / "small_program.txt").read_text()
MIB = 2**20


@pytest.fixture
def links():
    """Eight chips of one v5e slice 2 x 4: no axis is wide enough to close."""
    places = np.array([[x, y] for y in range(4) for x in range(2)])
    return Interconnect(places, np.zeros(8, int), (2, 4), data_sheet("TPU v5e"))


def test_each_collective_counts_as_often_as_its_loops_run_it(links):
    sums = {one.kind: one for one in by_kind(read_collectives(TEXT, links))}
    assert sums["all-gather"].runs == 5  # one channel in two pieces, in a loop of five
    assert sums["reduce-scatter"].runs == 5  # an all-reduce within a fusion of that name
    assert sums["all-reduce"].runs == 1
    assert sums["collective-permute"].runs == 5 * 3
    assert all(one.certain for one in sums.values())


def test_a_device_sends_what_a_ring_makes_it_send(links):
    sums = {one.kind: one for one in by_kind(read_collectives(TEXT, links))}
    # bf16[1024,1024] gathered from 4 devices: three quarters of 2 MiB arrive, and as much is sent.
    assert sums["all-gather"].bytes == 5 * 2 * MIB * 3 / 4
    # f32[1024,512] scattered over 2, and summed over all 8 twice round.
    assert sums["reduce-scatter"].bytes == 5 * 2 * MIB / 2
    assert sums["all-reduce"].bytes == 2 * MIB * 2 * 7 / 8
    assert sums["collective-permute"].bytes == 15 * MIB


def test_a_loop_that_cannot_be_counted_is_said(links):
    text = TEXT.replace("s32[] constant(5)", "s32[] parameter(1)")
    sums = {one.kind: one for one in by_kind(read_collectives(text, links))}
    assert sums["all-gather"].runs == 1 and not sums["all-gather"].certain
    assert sums["all-reduce"].certain, "it stands in no loop"


@pytest.mark.parametrize(
    "start, stop, step, count", [(0, 5, 1, 5), (2, 5, 1, 3), (0, 5, 2, 3), (5, 5, 1, 0)]
)
def test_the_count_of_a_loop_is_that_of_its_counter(start, stop, step, count):
    text = (
        TEXT.replace("%zero = s32[] constant(0)", f"%zero = s32[] constant({start})")
        .replace("%limit = s32[] constant(5)", f"%limit = s32[] constant({stop})")
        .replace("%one = s32[] constant(1)", f"%one = s32[] constant({step})")
    )
    program = Program.parse(text)
    (loop,) = [i for i in program.computations[program.entry] if i.opcode == "while"]
    assert program.trip_count(program.entry, loop) == count


@pytest.mark.parametrize(
    "groups, size",
    [
        ("{{0,2,4,6},{1,3,5,7}}", 4),
        ("[2,4]<=[8]", 4),
        ("[4,2]<=[2,4]T(1,0)", 2),
        ("mesh['a'=4,'b'=1,'c'=2] {'a'}", 4),
        ("mesh['a'=2,'b'=2,'c'=2] {'a','c'}", 4),
    ],
)
def test_groups_are_read_however_they_are_written(groups, size, links):
    text = TEXT.replace("replica_groups=[1,8]<=[8]", f"replica_groups={groups}")
    sums = {one.kind: one for one in by_kind(read_collectives(text, links))}
    assert sums["all-reduce"].bytes == 2 * MIB * 2 * (size - 1) / size


def test_what_leaves_the_slice_goes_over_the_network_once():
    places = np.array([[x, y] for _ in range(2) for y in range(2) for x in range(2)])
    sheet = data_sheet("TPU v5e")
    links = Interconnect(places, np.repeat([0, 1], 4), (2, 2), sheet)
    one = one_collective("all-reduce", "", 8 * MIB, range(8), links)
    assert one.bytes == 2 * 8 * MIB * 3 / 4
    assert one.network_bytes == 2 * (8 * MIB / 4) / 2
    assert one.network_seconds == one.network_bytes / sheet.network_bandwidth
    assert one.seconds == one.bytes / (2 * 50e9)


def test_what_a_program_hands_to_the_runtime_between_slices_goes_over_the_network():
    places = np.array([[x, y] for _ in range(2) for y in range(2) for x in range(2)])
    links = Interconnect(places, np.repeat([0, 1], 4), (2, 2), data_sheet("TPU v5e"))
    send = (
        "  %sent = (f32[1024,512]{1,0:T(8,128)}, u32[], token[]) send(%z, %after), channel_id=3, "
        'is_host_transfer=true, frontend_attributes={_xla_megascale_transfer_type="ALL_REDUCE"}\n'
    )
    text = TEXT.replace("[1,8]<=[8]", "[2,4]<=[8]").replace("[2,4]<=[4,2]T(1,0)", "[1,4]<=[4]")
    (before,) = [one for one in by_kind(read_collectives(text, links)) if one.kind == "all-reduce"]
    text = text.replace("  ROOT %total", send + "  ROOT %total")
    (after,) = [one for one in by_kind(read_collectives(text, links)) if one.kind == "all-reduce"]
    assert (before.runs, after.runs) == (1, 2)
    assert (before.network_bytes, after.network_bytes) == (0, 2 * MIB)
    assert after.network_seconds == 2 * MIB / (25e9 / 8)
    assert after.bytes == before.bytes


def test_a_text_that_is_no_program_is_refused():
    with pytest.raises(ValueError, match="ENTRY"):
        Program.parse("nothing")
