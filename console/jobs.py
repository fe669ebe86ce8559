"""The queue's side of the store: a table with leases.

A queue library would bring a broker to install and to keep, and a second truth beside the results; a table with leases is
one transaction with the result. On PostgreSQL workers pass each other with FOR UPDATE SKIP LOCKED, on SQLite with BEGIN
IMMEDIATE. Everything that a worker writes carries its lease's token, so that one which lost its lease (it was too slow, the
analysis was deleted) changes nothing: an analysis ends in exactly one result.
"""

import secrets
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import Session

from console.bell import Bells, Kind
from console.database import Database
from console.tables import AnalysisRow, WorkerRow

A = AnalysisRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An analysis that this worker has the lease of."""

    id: str
    token: str
    attempt: int
    filename: str
    sha256: str
    size_bytes: int
    kind: str
    detector: str
    frames: int | None
    sampling: str
    start_s: float | None
    end_s: float | None
    waiting_since: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an analysis ended in: a verdict's JSON with its facts, or an error."""

    label: str | None = None
    reason: str | None = None
    score: float | None = None
    verdict: str | None = None
    artefacts: str | None = None
    error_code: str | None = None
    error_message: str | None = None


class JobQueue:
    """What workers do with the table. Safe for threads and processes."""

    def __init__(
        self, database: Database, *, lease_s: float, max_attempts: int, result_ttl_s: float, bells: Bells | None = None
    ) -> None:
        self._database = database
        self._bells = bells
        self._lease_s = lease_s
        self._max_attempts = max_attempts
        self._result_ttl_s = result_ttl_s

    def claim(self, worker: str) -> Job | None:
        """Takes the oldest analysis that is due, or whose worker was lost; None where there is none.

        One that was lost ``max_attempts`` times has failed: its file may be what ends workers.
        """
        now = time.time()
        due = or_(
            and_(A.state == "queued", A.available_at <= now),
            and_(A.state == "running", A.lease_until < now),
        )
        with self._database.read() as session:  # idle workers must not take turns at the write lock
            if session.scalar(select(A.id).where(due).limit(1)) is None:
                return None
        job = self._claim_due(worker, due, now)
        if job is not None:
            self._ring("api")
        return job

    def _claim_due(self, worker: str, due: ColumnElement[bool], now: float) -> Job | None:
        with self._database.write() as session:
            while True:
                statement = select(A).where(due).order_by(A.created_at, A.id).limit(1).with_for_update(skip_locked=True)
                row = session.scalar(statement)
                if row is None:
                    return None
                if row.attempts >= self._max_attempts:
                    message = (
                        f"the analysis was interrupted {row.attempts} times, the limit is {self._max_attempts} "
                        "(UNMASK_CONSOLE_MAX_ATTEMPTS); its worker was ended each time: upload the file again, and look at "
                        "the worker's log if it happens again"
                    )
                    self._end(session, row, Outcome(error_code="interrupted", error_message=message))
                    session.flush()
                    continue
                row.state, row.stage = "running", "decode"
                row.frames_done = row.frames_planned = 0
                row.attempts += 1
                row.started_at = now
                row.lease_owner, row.lease_token, row.lease_until = worker, secrets.token_hex(8), now + self._lease_s
                row.revision += 1
                return _job(row)

    def heartbeat(self, worker: str, job: Job | None) -> bool:
        """Says that the worker is alive; False where it lost the job's lease."""
        now = time.time()
        with self._database.write() as session:
            session.merge(WorkerRow(id=worker, seen_at=now))
            return job is None or self._touch(session, job, lease_until=now + self._lease_s)

    def progress(self, job: Job, stage: str, done: int = 0, planned: int = 0) -> bool:
        """Notes how far the job is; False where the lease is lost."""
        with self._database.write() as session:
            kept = self._touch(session, job, stage=stage, frames_done=done, frames_planned=planned, revision=A.revision + 1)
        self._ring("api")
        return kept

    def finish(self, job: Job, outcome: Outcome) -> AnalysisRow | None:
        """Ends the analysis; None where the lease is lost and nothing was changed."""
        with self._database.write() as session:
            row: AnalysisRow | None = session.scalar(self._mine(job).with_for_update())
            if row is not None:
                self._end(session, row, outcome)
        self._ring("api")
        return row

    def postpone(self, job: Job, *, delay_s: float) -> bool:
        """Gives the job back because the server is away: this attempt does not count."""
        now = time.time()
        with self._database.write() as session:
            kept = self._touch(
                session, job, **_QUEUED, attempts=A.attempts - 1, available_at=now + delay_s,
                waiting_since=job.waiting_since or now, stage="waiting",
            )  # fmt: skip
        self._ring("api")
        return kept

    def give_back(self, job: Job) -> bool:
        """Gives the job back because this worker was told to stop: this attempt does not count."""
        with self._database.write() as session:
            kept = self._touch(session, job, **_QUEUED, attempts=A.attempts - 1, available_at=0.0, stage=None)
        self._ring("api", "worker")
        return kept

    def release(self, worker: str) -> int:
        """Queues again, at once, what a worker that is known to be dead had; the number of analyses."""
        with self._database.write() as session:
            session.query(WorkerRow).filter(WorkerRow.id == worker).delete()
            mine = and_(A.state == "running", A.lease_owner == worker)
            # Not to "queued": an expired lease is what tells an interrupted analysis from a new one.
            count = len(session.execute(update(A).where(mine).values(lease_until=0.0).returning(A.id)).all())
        if count:
            self._ring("worker")
        return count

    def alive_workers(self) -> int:
        """Workers that were heard of within a lease's time."""
        with self._database.read() as session:
            return session.query(WorkerRow).filter(WorkerRow.seen_at > time.time() - self._lease_s).count()

    def _ring(self, *kinds: Kind) -> None:
        """After the transaction: whoever is woken must see it."""
        if self._bells is not None:
            for kind in kinds:
                self._bells.ring(kind)

    def _mine(self, job: Job) -> Any:
        return select(A).where(A.id == job.id, A.state == "running", A.lease_token == job.token)

    def _touch(self, session: Session, job: Job, **values: Any) -> bool:
        mine = and_(A.id == job.id, A.state == "running", A.lease_token == job.token)
        return len(session.execute(update(A).where(mine).values(**values).returning(A.id)).all()) == 1

    def _end(self, session: Session, row: AnalysisRow, outcome: Outcome) -> None:
        now = time.time()
        row.state = "failed" if outcome.error_code else "done"
        row.stage = None
        row.label, row.reason, row.score = outcome.label, outcome.reason, outcome.score
        row.verdict, row.artefacts = outcome.verdict, outcome.artefacts
        row.error_code, row.error_message = outcome.error_code, outcome.error_message
        row.lease_owner = row.lease_token = row.lease_until = None
        row.finished_at, row.expires_at = now, now + self._result_ttl_s
        row.revision += 1
        if row.webhook_url:
            from console.webhooks import enqueue

            enqueue(session, row)


_QUEUED: dict[str, Any] = {
    "state": "queued",
    "lease_owner": None,
    "lease_token": None,
    "lease_until": None,
    "revision": A.revision + 1,
}


def _job(row: AnalysisRow) -> Job:
    assert row.lease_token is not None
    return Job(
        id=row.id,
        token=row.lease_token,
        attempt=row.attempts,
        filename=row.filename,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        kind=row.kind,
        detector=row.detector,
        frames=row.frames,
        sampling=row.sampling,
        start_s=row.start_s,
        end_s=row.end_s,
        waiting_since=row.waiting_since,
    )
