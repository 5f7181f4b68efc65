"""Where trials run, by its name; and the message that a job becomes."""

import pickle
import pickletools

import pytest

from smidgen.kit.errors import BadInput, MissingExtra
from smidgen.studies import executor
from smidgen.studies.executor import RayExecutor, executor_named
from smidgen.studies.job import Job


@pytest.mark.parametrize(("name", "address"), [
    ("ray", None), ("ray:auto", "auto"), ("ray:h:1", "h:1"), ("ray://h:1", "ray://h:1"),
])  # fmt: skip
def test_names(monkeypatch, name, address):
    monkeypatch.setattr(executor, "installed", lambda package: package == "ray")
    assert executor_named(name) == RayExecutor(address)


def test_this_machine_and_what_is_no_name(monkeypatch):
    assert executor_named(None) is None and executor_named("local") is None
    for wrong in ("", "Local", "ray:", "ray://", "rays", "h:1", "dask"):
        with pytest.raises(BadInput) as caught:
            executor_named(wrong)
        assert str(caught.value) == (
            f"executor: expected local, ray, ray:auto, ray:HOST:PORT or ray://HOST:PORT, got {wrong}."
        )
    monkeypatch.setattr(executor, "installed", lambda package: False)

    def need(name, *, extra, why):
        raise MissingExtra(f"{name} {extra} {why}")

    monkeypatch.setattr(executor, "need", need)
    with pytest.raises(MissingExtra, match="^ray ray Running trials on a Ray cluster$"):
        executor_named("ray")


def test_what_a_dry_run_says():
    assert RayExecutor("h:1").sentence(2) == (
        "Trials would run on the Ray cluster at h:1, on 2 workers; it was not asked."
    )
    assert RayExecutor().sentence(None) == (
        "Trials would run on a Ray cluster (RAY_ADDRESS, or a local one), on as many workers as it has CPUs; it "
        "was not asked."
    )


def test_the_workers_are_of_the_cluster(monkeypatch):
    from smidgen.studies import ray_pool

    monkeypatch.setattr(ray_pool, "RayPool", lambda *given: given)
    assert RayExecutor("h:1").open(3, 500) == (3, 500, "h:1")


def test_a_job_as_it_is_sent():
    job = Job("m:f", (1, [2]), 3.0)
    assert job.packed == b"" and "packed" not in repr(job) and job != Job("m:f", (1, [2]), 3.0)
    job.pack()
    assert pickle.loads(job.packed) == ("call", 0, "m:f", (1, [2]))
    assert next(pickletools.genops(job.packed))[1] == 5
    with pytest.raises(Exception, match="pickle"):
        Job("m:f", (lambda: 0,)).pack()
