"""Many scans on real workers: one is killed half way; nothing is lost, nothing done twice."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from distributed import LocalCluster

from otovox.analysis.cohort import local_workers, run
from otovox.analysis.scan import Options, plan
from otovox.analysis.summary import read_summary
from otovox.errors import ConfigError
from otovox.workers import Status, Workers


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six small heads without ears, and one file that is no scan."""
    folder = tmp_path_factory.mktemp("scans")
    for number in range(6):
        noise = np.random.default_rng(number).normal(0, 100, (40, 40, 40)).astype(np.int16)
        image = sitk.GetImageFromArray(noise)
        image.SetSpacing((1.6, 1.6, 1.6))
        sitk.WriteImage(image, str(folder / f"head-{number}.nii.gz"))
    (folder / "broken.nii.gz").write_bytes(b"no image")
    return folder


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    started = LocalCluster(2, threads_per_worker=1, dashboard_address="127.0.0.1:0")
    yield started
    started.close()


@pytest.mark.slow
def test_a_killed_worker_costs_nothing(scans: Path, tmp_path: Path, cluster: LocalCluster) -> None:
    jobs = plan([scans], tmp_path)
    results = [job.folder / "result.json" for job in jobs]
    workers = Workers(scheduler=cluster.scheduler_address)
    outcomes, written = [], {}
    for outcome in run(jobs, tmp_path, Options(threads=1), workers):
        outcomes.append(outcome)
        if len(outcomes) == 3:
            written = {path: path.stat().st_mtime_ns for path in results if path.exists()}
            os.kill(cluster.workers[0].pid, signal.SIGKILL)
    assert sorted(o.job.name for o in outcomes) == sorted(job.name for job in jobs)
    assert sorted({o.status for o in outcomes}) == [Status.NO_EAR, Status.REFUSED]
    assert {path.exists() for path in results if "broken" not in str(path)} == {True}
    # What was finished before the worker died was not done again.
    assert written
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert len(read_summary(tmp_path / "summary.csv")) == len(jobs)
    # A second run finds all but the broken one up to date.
    again = list(run(jobs, tmp_path, Options(threads=1), workers))
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert {o.job.name: o.status for o in again} == {o.job.name: o.status for o in outcomes}


def test_local_workers_fit_the_machine() -> None:
    assert local_workers(1) == 1
    assert 1 <= local_workers(1000) <= (os.cpu_count() or 1)


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer_is_refused(scans: Path, tmp_path: Path) -> None:
    jobs = plan([scans], tmp_path)
    with pytest.raises(ConfigError, match="no scheduler is reachable"):
        next(run(jobs, tmp_path, Options(), Workers(scheduler="tcp://127.0.0.1:9")))
