"""A small sweep on a real Slurm, started for it on this machine; one of its jobs is cancelled."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seams import sweep
from seams.data import linear
from seams.sweep import cluster, grid, train_jobs
from seams.sweep.cluster import connect, engine, target
from seams.sweep.jobs import Job, Report, unfinished
from seams.training import CHUNK, Store, TrainConfig, run_id

pytestmark = pytest.mark.slow

CONFIGURATION = """
ClusterName=seams
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""

JOBS = [
    Job(
        tuple(
            grid(
                TrainConfig(
                    dataset="linear",
                    resolution=1,
                    network="mlp",
                    width=width,
                    depth=1,
                    latent=2,
                    sigma=linear().sigma,
                    images=20 * CHUNK * 8,
                    batch=8,
                    warmup=0.0,
                ),
                seed=range(2),
            )
        )
    )
    for width in (4, 5, 6, 7)
]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Runs a command of Slurm. Its one node has two cores; nothing lies outside of tmp_path."""
    pytest.importorskip("dask_jobqueue", reason="needs the extra `cluster`")
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin")
    absent = [
        name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(name)
    ]
    if absent:
        pytest.skip(f"needs Slurm; absent: {', '.join(absent)} (Debian: slurm-wlm, munge)")
    if os.geteuid() != 0:
        pytest.skip("needs root: slurmd starts jobs as their users")
    folder, host = tmp_path / "slurm", socket.gethostname().partition(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(host=host, folder=folder, ports=free_ports(2))
    )
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o400)
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))

    def run(*words: str) -> str:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    files = ("key-file=key", "socket=munge.socket", "pid-file=munge.pid", "log-file=munge.log")
    options = [pair.partition("=") for pair in (*files, "seed-file=munge.seed")]
    run("munged", "--force", *(f"--{option}={folder / name}" for option, _, name in options))
    try:
        run("slurmctld")
        run("slurmd", "-N", host)
        while "idle" not in run("sinfo", "--noheader"):
            time.sleep(0.2)
        yield run
    finally:
        subprocess.run(["scancel", "--user=root"], capture_output=True, timeout=60)
        subprocess.run(["scontrol", "shutdown"], capture_output=True, timeout=60)
        os.kill(int((folder / "munge.pid").read_text()), 15)


def test_a_cancelled_job_is_sent_again_and_every_run_is_stored_once(
    slurm: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a single worker, so that all depends on the job that comes after the cancelled one."""
    monkeypatch.setattr(cluster, "_REFILL_SECONDS", 2.0)
    monkeypatch.setenv("SEAMS_PROGRESS", str(tmp_path / "progress"))
    store = Store(tmp_path / "store")
    cancelled: list[str] = []
    show = sweep._show

    def cancelling(bar: object, seen: dict[TrainConfig, int], report: Report) -> None:
        show(bar, seen, report)
        if not cancelled and report.step > 0:
            cancelled.extend(slurm("squeue", "--noheader", "--format=%i").split())
            slurm("scancel", *cancelled)

    monkeypatch.setattr(sweep, "_show", cancelling)
    file = tmp_path / "slurm.yaml"
    lines = ("cores: 1", "memory: 2GB", "interface: lo", "walltime: 01:00:00")
    file.write_text("SLURMCluster:\n" + "".join(f"  {line}\n" for line in lines))
    words = target(file=file)
    assert words
    with connect(words, 1, "cpu", store) as client:
        train_jobs(JOBS, engine(client, store, "cpu"), store)
        after = slurm("squeue", "--noheader", "--format=%i").split()
    assert len(cancelled) == len(after) == 1 and cancelled != after
    wanted = [config for job in JOBS for config in job.configs]
    folders = {p.parent.name for p in store.root.glob("*/config.json")}
    assert folders == {run_id(config) for config in wanted}
    assert not unfinished(wanted, store)
    deadline = time.monotonic() + 60
    while slurm("squeue", "--noheader"):
        assert time.monotonic() < deadline, "jobs are left behind"
        time.sleep(0.5)
