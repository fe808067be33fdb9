"""Worker processes: results, failures, death, a fast end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from jagpt.errors import DataError, JagptError
from jagpt.workers import Workers


@pytest.fixture(scope="module", autouse=True)
def forked_workers() -> None:
    """Here they start as jagpt starts them."""


def note(folder: Path, job: str) -> None:
    """Write down who did the job; some jobs go wrong."""
    (folder / job).write_text(str(os.getpid()))
    if job == "fail":
        raise DataError("a job failed")
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "sleep":
        time.sleep(60)


def who(folder: Path) -> dict[str, int]:
    return {path.name: int(path.read_text()) for path in folder.iterdir()}


def run(folder: Path, count: int, *jobs: str) -> None:
    with Workers(partial(note, folder), count) as pool:
        for job in jobs:
            pool.submit(job)
        pool.finish()


def test_one_worker_or_one_job_needs_no_process(tmp_path: Path) -> None:
    run(tmp_path, 1, "a", "b")
    run(tmp_path, 4, "c")
    assert who(tmp_path) == dict.fromkeys("abc", os.getpid())


def test_many_jobs_run_in_other_processes(tmp_path: Path) -> None:
    run(tmp_path, 2, *"abcdefgh")
    found = who(tmp_path)
    assert set(found) == set("abcdefgh")
    assert os.getpid() not in found.values()


@pytest.mark.parametrize("count", [1, 2])
def test_a_failure_comes_back(tmp_path: Path, count: int) -> None:
    with pytest.raises(DataError, match="a job failed"):
        run(tmp_path, count, "a", "fail", "b", "c", "d", "e", "f")


def double(job: int) -> int:
    """Later jobs are done sooner."""
    time.sleep(0.02 * (5 - job % 5))
    return 2 * job


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("jobs", [0, 1, 20])
def test_results_come_in_the_order_of_the_jobs(count: int, jobs: int) -> None:
    with Workers(double, count) as pool:
        assert list(pool.results(range(jobs))) == [2 * job for job in range(jobs)]


@pytest.mark.parametrize("count", [1, 2])
def test_jobs_are_taken_only_as_workers_come_free(count: int) -> None:
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for job in range(1000):
            taken.append(job)
            yield job

    with Workers(double, count) as pool:
        results = pool.results(jobs())
        assert next(results) == 0
        results.close()
        assert len(taken) < 20
        assert list(pool.results(range(3))) == [0, 2, 4]  # they can go on with others


def test_a_worker_that_dies_is_told(tmp_path: Path) -> None:
    with pytest.raises(JagptError, match="a worker process died"):
        run(tmp_path, 2, "a", "die", *"bcdefgh")


def test_an_exception_stops_the_workers_at_once(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Workers(partial(note, tmp_path), 2) as pool:
            pool.submit("sleep")
            pool.submit("sleep")
            while not (tmp_path / "sleep").exists():
                time.sleep(0.02)
            raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - start < 20


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are told by /proc")
def test_no_thread_is_left_behind_where_the_tests_fork() -> None:
    """Whatever lock it holds at that moment would be held for ever."""
    from multiprocessing import forkserver

    import processes

    process = processes.context().Process(target=int)  # once it runs, all is imported
    process.start()
    process.join()
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    assert [thread.name for thread in Path(f"/proc/{server}/task").iterdir()] == [str(server)]


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_workers_leave_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from functools import partial\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_workers import note; from jagpt.workers import Workers\n"
        "pool = Workers(partial(note, Path(sys.argv[1])), 2)\n"
        "pool.submit('a'); pool.submit('sleep'); pool.finish()\n"
    )
    (tmp_path / "script.py").write_text(f"if __name__ == '__main__':\n    exec({script!r})\n")
    folder = tmp_path / "jobs"
    folder.mkdir()
    parent = subprocess.Popen([sys.executable, tmp_path / "script.py", folder])
    waited = time.monotonic() + 30
    while not (folder / "sleep").exists() or not (folder / "sleep").read_text():
        assert time.monotonic() < waited
        time.sleep(0.05)
    worker = who(folder)["sleep"]
    parent.kill()
    parent.wait()
    while time.monotonic() < waited and _alive(worker):
        time.sleep(0.05)
    assert not _alive(worker)


def _alive(process: int) -> bool:
    """Whether the process runs (one that ended and waits to be collected does not)."""
    state = Path(f"/proc/{process}/stat")
    if state.exists():
        return state.read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return not Path("/proc").exists()
