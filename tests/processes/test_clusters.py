"""What a cluster's variables say about a run's processes."""

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.processes import clusters
from llmjp_jax.processes.clusters import detect, node_names, slurm, tpu_pod

STEP = {
    "SLURM_JOB_ID": "5000", "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "n[03-04,11],head",
    "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2", "SLURM_NODEID": "2",
    "SLURM_LOCALID": "0", "SLURM_STEP_TASKS_PER_NODE": "1(x4)",
}  # fmt: skip


@pytest.mark.parametrize(
    "text, names",
    [
        ("node001", ["node001"]),
        ("node001,host2", ["node001", "host2"]),
        ("node[001-003],host2", ["node001", "node002", "node003", "host2"]),
        ("node[001,007-009]", ["node001", "node007", "node008", "node009"]),
        ("n[9-11]", ["n9", "n10", "n11"]),
        ("n[098-101]", ["n098", "n099", "n100", "n101"]),
        ("r[1-2]n[1-2]-ib0", ["r1n1-ib0", "r1n2-ib0", "r2n1-ib0", "r2n2-ib0"]),
        ("a[1],b-c[2-2]d", ["a1", "b-c2d"]),
        ("n1.cluster.org,n2.cluster.org", ["n1.cluster.org", "n2.cluster.org"]),
    ],
)
def test_a_slurm_node_list_names_its_nodes_in_order(text, names):
    assert list(node_names(text)) == names


@pytest.mark.parametrize("text", ["n[1-2", "n1]", "n[2-1]", "n[a-b]", "n[]", "a,,b", "", "n[[1]]"])
def test_a_node_list_that_is_none_is_refused(text):
    with pytest.raises(UserError, match="Slurm's node list"):
        list(node_names(text))


def test_a_slurm_step_gives_the_place():
    place = slurm(STEP)
    assert (place.host, place.count, place.index) == ("n03", 4, 2)
    assert place.port == 5000 % 4096 + 61440, "JAX's own choice of the port"
    assert place.local_device_ids is None
    assert slurm(STEP | {"SLURM_STEP_ID": "1"}).port == place.port + 1
    assert slurm(STEP | {"JAX_COORDINATOR_PORT": "1234"}).port == 1234
    assert slurm({}) is None


def test_the_count_is_of_the_step_or_else_of_the_job():
    assert slurm({k: v for k, v in STEP.items() if k != "SLURM_STEP_NUM_TASKS"}).count == 8


@pytest.mark.parametrize("name", ["SLURM_STEP_NODELIST", "SLURM_PROCID"])
def test_a_job_without_srun_is_one_sentence(name):
    with pytest.raises(UserError, match="job 5000, but srun did not start it; put srun before"):
        slurm({k: v for k, v in STEP.items() if k != name})


@pytest.mark.parametrize(
    "variables, devices",
    [
        # Alone on its node: all GPUs.
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x4)", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}, None),
        # Four tasks that see the node's eight: two each.
        (
            {"SLURM_STEP_TASKS_PER_NODE": "4", "CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"}
            | {"SLURM_GPUS_ON_NODE": "8", "SLURM_LOCALID": "3"},
            (6, 7),
        ),
        # Four tasks, each bound to its own.
        (
            {"SLURM_STEP_TASKS_PER_NODE": "4", "CUDA_VISIBLE_DEVICES": "0", "SLURM_LOCALID": "3"},
            None,
        ),
        (
            {"SLURM_STEP_TASKS_PER_NODE": "2", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}
            | {"SLURM_GPUS_ON_NODE": "8", "SLURM_LOCALID": "1"},
            None,
        ),
        # The tasks of this node, the third, are two.
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x2),2", "SLURM_LOCALID": "1"}, (1,)),
        ({"SLURM_STEP_TASKS_PER_NODE": "2(x2),1", "SLURM_LOCALID": "0"}, None),
    ],
)
def test_tasks_of_one_node_share_its_gpus(variables, devices):
    assert slurm(STEP | variables).local_device_ids == devices


def test_a_tpu_pod_gives_the_place():
    variables = {"TPU_WORKER_HOSTNAMES": "w0,w1,w2,w3", "TPU_WORKER_ID": "1"}
    place = tpu_pod(variables)
    assert (place.address, place.count, place.index) == ("w0:8482", 4, 1)
    split = tpu_pod(variables | {"TPU_PROCESS_ADDRESSES": "a:1,b:2"})
    assert (split.address, split.count) == ("a:8482", 2)
    assert tpu_pod({"TPU_WORKER_ID": "1"}) is None


def test_slices_of_a_tpu_follow_each_other():
    place = tpu_pod({
        "TPU_WORKER_HOSTNAMES": "b0,b1", "TPU_WORKER_ID": "1", "MEGASCALE_NUM_SLICES": "3",
        "MEGASCALE_SLICE_ID": "2", "MEGASCALE_COORDINATOR_ADDRESS": "a0:8080",
    })  # fmt: skip
    assert (place.address, place.count, place.index) == ("a0:8482", 6, 5)


@pytest.fixture
def nowhere(monkeypatch):
    """No variable of any cluster, and no TPU machine to ask."""
    for name in list(clusters.os.environ):
        if name.startswith(("SLURM_", "TPU_", "OMPI_", "MEGASCALE_", "KUBERNETES_")):
            monkeypatch.delenv(name)
    for module in ("cluster", "cloud_tpu_cluster"):
        monkeypatch.setattr(f"jax._src.clusters.{module}.running_in_cloud_tpu_vm", False)
    return monkeypatch


def test_without_a_cluster_auto_says_what_to_give(nowhere):
    with pytest.raises(UserError, match="no cluster here .* give --hosts=HOST,HOST, or HOST:PORT"):
        detect(1)


def test_open_mpi_is_found_as_jax_finds_it(nowhere):
    nowhere.setenv("OMPI_MCA_orte_hnp_uri", "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911")
    for name, value in (("SIZE", 4), ("RANK", 3), ("LOCAL_RANK", 1)):
        nowhere.setenv(f"OMPI_COMM_WORLD_{name}", str(value))
    place = detect(1)
    assert (place.host, place.count, place.index) == ("10.96.0.1", 4, 3)
    assert place.local_device_ids == (1,)


def test_a_cluster_that_does_not_answer_is_one_sentence(nowhere):
    class Silent:
        @staticmethod
        def auto_detect_unset_distributed_params(*arguments):
            raise OSError("no route to metadata")

    nowhere.setattr("jax._src.clusters.ClusterEnv", Silent)
    with pytest.raises(UserError, match=r"give --hosts=.* \(no route to metadata\)"):
        detect(1)


def test_a_jax_that_cannot_be_asked_is_left_to_itself(nowhere):
    nowhere.delattr("jax._src.clusters.ClusterEnv")
    assert detect(1) is None
