"""The table with leases, on SQLite and on PostgreSQL: nothing is lost, nothing runs twice."""

import os
import secrets
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.database import Database
from console.errors import KeyReused, QueueFull
from console.jobs import JobQueue, Outcome
from console.store import Filter, Store
from console.tables import AnalysisRow

_DONE = Outcome(label="REAL", score=0.1, verdict="{}", artefacts="x")


def _postgres_tools() -> dict[str, str] | None:
    found = {}
    for name in ("initdb", "pg_ctl"):
        places = [*sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True), shutil.which(name)]
        if not (path := next((str(place) for place in places if place), None)):
            return None
        found[name] = path
    return found


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a PostgreSQL server of our own, on a socket in a folder of its own."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (extra `postgres`)")
    tools = _postgres_tools()
    if tools is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql); SQLite covers the same tests")
    import tempfile

    # Sockets have short paths, and the server refuses to run as root.
    with tempfile.TemporaryDirectory(prefix="unmask-pg-") as name:
        folder = Path(name)
        as_user: list[str] = []
        if os.getuid() == 0:
            if shutil.which("runuser") is None:
                pytest.skip("PostgreSQL does not run as root, and runuser is not installed")
            shutil.chown(folder, "postgres")
            as_user = ["runuser", "-u", "postgres", "--"]
        data = str(folder / "data")
        run = {"check": True, "capture_output": True, "cwd": name}
        subprocess.run([*as_user, tools["initdb"], "-D", data, "-A", "trust", "-U", "unmask", "-N"], **run)  # type: ignore[call-overload]
        options = f"-k {name} -c listen_addresses= -c fsync=off -c max_connections=60"
        start = [*as_user, tools["pg_ctl"], "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start"]
        subprocess.run(start, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=name)
        try:
            yield f"postgresql+psycopg://unmask@/postgres?host={name}"
        finally:
            subprocess.run([*as_user, tools["pg_ctl"], "-D", data, "-m", "immediate", "stop"], **run)  # type: ignore[call-overload]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind."""
    url = f"sqlite:///{tmp_path}/queue.sqlite3" if request.param == "sqlite" else request.getfixturevalue("postgres")
    opened = Database(url)
    opened.create()
    with opened.write() as session:
        for table in ("analyses", "idempotency", "deliveries", "workers"):
            session.connection().exec_driver_sql(f"DELETE FROM {table}")
    yield opened
    opened.close()


@pytest.fixture
def store(database: Database, tmp_path: Path) -> Store:
    """The API's side."""
    (tmp_path / "uploads").mkdir()
    (tmp_path / "results").mkdir()
    return Store(database, uploads_dir=tmp_path / "uploads", results_dir=tmp_path / "results", max_queued=500)


def queue_of(database: Database, *, lease_s: float = 30.0) -> JobQueue:
    """The workers' side."""
    return JobQueue(database, lease_s=lease_s, max_attempts=2, result_ttl_s=3600)


def new_row(number: int = 0) -> AnalysisRow:
    """An analysis that waits."""
    return AnalysisRow(
        id=secrets.token_hex(12), filename=f"{number}.mp4", size_bytes=5 * 2**31, sha256="0" * 64, kind="video", container="mp4",
        detector="deepfake_detector", sampling="uniform", state="queued", frames_done=0, frames_planned=0, revision=0,
        attempts=0, available_at=0.0, created_at=time.time(),
    )  # fmt: skip


def test_many_workers_take_each_analysis_once(database: Database, store: Store) -> None:
    rows = [new_row(number) for number in range(120)]
    store.add(rows)
    taken: Counter[str] = Counter()
    lock = threading.Lock()

    def work(name: str) -> None:
        queue = queue_of(database)
        while (job := queue.claim(name)) is not None:
            assert queue.finish(job, _DONE) is not None
            with lock:
                taken[job.id] += 1

    threads = [threading.Thread(target=work, args=(f"worker-{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == Counter(row.id for row in rows)
    assert store.counts() == {"done": 120, "REAL": 120}


def test_oldest_first(database: Database, store: Store) -> None:
    rows = [new_row(number) for number in range(3)]
    for row in rows:
        store.add([row])
    queue = queue_of(database)
    claimed = [queue.claim("w") for _ in rows]
    assert [job.id for job in claimed if job] == [row.id for row in rows]
    assert queue.claim("w") is None


def test_lost_worker_s_analysis_runs_again_once(database: Database, store: Store) -> None:
    (row,) = rows = [new_row()]
    store.add(rows)
    queue = queue_of(database, lease_s=0.05)
    first = queue.claim("killed")
    time.sleep(0.1)
    second = queue.claim("other")
    assert first is not None
    assert second is not None
    assert (second.id, second.attempt) == (first.id, 2)
    # The first one was only slow: nothing that it says counts any more.
    assert not queue.heartbeat("killed", first)
    assert not queue.progress(first, "faces", 1, 2)
    assert queue.finish(first, Outcome(label="FAKE", score=0.9, verdict="{}")) is None
    assert queue.finish(second, _DONE) is not None
    assert store.get(row.id).label == "REAL"


def test_interrupted_twice_has_failed(database: Database, store: Store) -> None:
    (row,) = rows = [new_row()]
    store.add(rows)
    queue = queue_of(database)
    for name in ("first", "second"):
        assert queue.claim(name) is not None
        assert queue.release(name) == 1  # what the supervisor does when it finds a worker dead
    assert queue.claim("third") is None
    ended = store.get(row.id)
    assert (ended.state, ended.error_code) == ("failed", "interrupted")


def test_waiting_for_the_server_is_no_attempt(database: Database, store: Store) -> None:
    (row,) = rows = [new_row()]
    store.add(rows)
    queue = queue_of(database)
    for _ in range(5):
        job = queue.claim("w")
        assert job is not None
        assert job.attempt == 1
        assert queue.postpone(job, delay_s=0.0)
    assert store.get(row.id).waiting_since is not None
    job = queue.claim("w")
    assert job is not None
    assert queue.postpone(job, delay_s=60.0)
    assert queue.claim("w") is None


def test_heartbeat_keeps_the_lease(database: Database, store: Store) -> None:
    store.add([new_row()])
    queue = queue_of(database, lease_s=0.4)
    job = queue.claim("w")
    for _ in range(6):
        time.sleep(0.1)
        assert queue.heartbeat("w", job)
        assert queue.claim("other") is None
    assert queue.alive_workers() == 1


def test_deleted_while_it_runs(database: Database, store: Store) -> None:
    (row,) = rows = [new_row()]
    store.add(rows)
    queue = queue_of(database)
    job = queue.claim("w")
    assert job is not None
    store.delete(row.id)
    assert queue.finish(job, _DONE) is None
    assert store.counts() == {}


def test_room_is_counted_in_the_same_transaction(database: Database, tmp_path: Path) -> None:
    small = Store(database, uploads_dir=tmp_path, results_dir=tmp_path, max_queued=2)
    small.add([new_row(), new_row()])
    with pytest.raises(QueueFull, match="limit is 2"):
        small.add([new_row()])


def test_one_key_at_the_same_moment_gives_one_analysis(store: Store) -> None:
    answers: list[str] = []
    barrier = threading.Barrier(6)

    def send() -> None:
        row = new_row()
        barrier.wait()
        earlier = store.add([row], owner="o", idempotency_key="k", fingerprint="f")
        answers.append(earlier[0] if earlier else row.id)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 6
    assert len(set(answers)) == 1
    assert store.counts() == {"queued": 1}
    with pytest.raises(KeyReused):
        store.add([new_row()], owner="o", idempotency_key="k", fingerprint="other")


def test_expired_results_and_orphans_are_swept(database: Database, store: Store, tmp_path: Path) -> None:
    rows = [new_row(), new_row()]
    store.add(rows)
    queue = JobQueue(database, lease_s=30, max_attempts=2, result_ttl_s=-1)
    for row in rows:
        store.upload_path(row.id).write_bytes(b"x")
    job = queue.claim("w")
    assert job is not None
    queue.finish(job, _DONE)
    (tmp_path / "results" / job.id).mkdir()
    for name in ("old.part", "new.part"):
        (tmp_path / "uploads" / name).write_bytes(b"x")
    os.utime(tmp_path / "uploads" / "old.part", (0, 0))
    assert store.purge(idempotency_ttl_s=10) == 1
    assert {path.name for path in (tmp_path / "uploads").iterdir()} == {rows[1].id, "new.part"}
    assert list((tmp_path / "results").iterdir()) == []
    assert store.list(Filter(), sort="newest", limit=10, cursor=None).total == 1
