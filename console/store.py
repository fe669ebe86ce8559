"""The API's side of the store: analyses made, read, listed and deleted; idempotency keys; what has expired."""

import base64
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, delete, func, or_, select
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import undefer

from console.bell import Bells
from console.database import Database, is_disk_full
from console.errors import Invalid, KeyReused, NotFound, QueueFull
from console.tables import AnalysisRow, DeliveryRow, IdempotencyRow, SessionRow, WorkerRow

A = AnalysisRow
Sort = Literal["newest", "oldest", "score", "name"]
_ORPHAN_AGE_S = 6 * 3600.0
"""A file without an analysis is an upload in progress until it is this old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which analyses; every field that is not None narrows."""

    state: str | None = None
    label: str | None = None
    batch: str | None = None
    detector: str | None = None
    name: str | None = None
    """Part of the file name, case ignored."""
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some analyses and the way to the next ones."""

    rows: list[AnalysisRow]
    next_cursor: str | None
    total: int


class Store:
    """What the API does with the tables and the folders. Safe for threads."""

    def __init__(
        self, database: Database, *, uploads_dir: Path, results_dir: Path, max_queued: int, bells: Bells | None = None
    ) -> None:
        self._database = database
        self._bells = bells
        self._uploads_dir = uploads_dir
        self._results_dir = results_dir
        self._max_queued = max_queued

    def upload_path(self, analysis_id: str) -> Path:
        """Where the file lies until its analysis has ended."""
        return self._uploads_dir / analysis_id

    def check_room(self, files: int = 1) -> None:
        """Raises:
        QueueFull: So many more may not wait.
        """
        with self._database.read() as session:
            self._check_room(session, files)

    def _check_room(self, session: Any, files: int) -> None:
        waiting = session.scalar(select(func.count()).select_from(A).where(A.state == "queued")) or 0
        if waiting + files > self._max_queued:
            raise QueueFull(
                f"{waiting} analyses wait already and the limit is {self._max_queued} (UNMASK_CONSOLE_MAX_QUEUED); "
                "send it again later",
                retry_after_s=max(1.0, min(60.0, waiting / 10)),
            )

    def add(
        self, rows: Sequence[AnalysisRow], *, owner: str = "", idempotency_key: str | None = None, fingerprint: str = ""
    ) -> list[str] | None:
        """Queues analyses, all or none.

        Returns:
            None, or the ids that an earlier request with the same key was answered with (nothing was added).

        Raises:
            QueueFull: So many more may not wait.
            KeyReused: The key came with another file or other options before.
        """
        try:
            with self._database.write() as session:
                if idempotency_key is not None:
                    known = session.get(IdempotencyRow, (owner, idempotency_key))
                    if known is not None:
                        return _replay(known, fingerprint)
                    ids = json.dumps([row.id for row in rows])
                    session.add(
                        IdempotencyRow(
                            owner=owner, key=idempotency_key, fingerprint=fingerprint, analysis_ids=ids, created_at=time.time()
                        )
                    )
                self._check_room(session, len(rows))
                session.add_all(rows)
        except IntegrityError:
            # Two requests with one key at the same moment (PostgreSQL; SQLite lets them wait for each other).
            with self._database.read() as session:
                known = session.get(IdempotencyRow, (owner, idempotency_key))
            if known is None:
                raise
            return _replay(known, fingerprint)
        if self._bells is not None:
            self._bells.ring("worker")
        return None

    def get(self, analysis_id: str, *, with_verdict: bool = False) -> AnalysisRow:
        """Raises:
        NotFound: No such analysis, or it was deleted.
        """
        options = [undefer(A.verdict)] if with_verdict else []
        with self._database.read() as session:
            row = session.get(A, analysis_id, options=options)
        if row is None:
            raise NotFound(
                f"there is no analysis {analysis_id!r}; it was deleted, its time was up, or the address is not complete"
            )
        return row

    def many(self, ids: Sequence[str]) -> list[AnalysisRow]:
        """Those of the ids that exist, with their verdicts, in the order given."""
        with self._database.read() as session:
            rows = {row.id: row for row in session.scalars(select(A).where(A.id.in_(ids)).options(undefer(A.verdict)))}
        return [rows[item] for item in ids if item in rows]

    def revisions(self, ids: Sequence[str]) -> dict[str, tuple[int, str]]:
        """Revision and state by id; deleted ones are missing."""
        with self._database.read() as session:
            found = session.execute(select(A.id, A.revision, A.state).where(A.id.in_(ids)))
            return {row.id: (row.revision, row.state) for row in found}

    def ahead_of(self, row: AnalysisRow) -> int:
        """Analyses that wait and came before this one."""
        with self._database.read() as session:
            before = and_(A.state == "queued", A.created_at < row.created_at)
            return session.scalar(select(func.count()).select_from(A).where(before)) or 0

    def list(self, wanted: Filter, *, sort: Sort, limit: int, cursor: str | None) -> Page:
        """One page.

        Raises:
            Invalid: The cursor is not one of this list.
        """
        where = _conditions(wanted)
        key: Any
        key, descending = {
            "newest": (A.created_at, True),
            "oldest": (A.created_at, False),
            # Those without a score are neither high nor low; they come last.
            "score": (func.coalesce(A.score, -1.0), True),
            "name": (func.lower(A.filename), False),
        }[sort]
        after = []
        if cursor is not None:
            value, last_id = _read_cursor(cursor, sort)
            beyond = key < value if descending else key > value
            same = and_(key == value, A.id < last_id if descending else A.id > last_id)
            after.append(or_(beyond, same))
        order = (key.desc(), A.id.desc()) if descending else (key.asc(), A.id.asc())
        with self._database.read() as session:
            total = session.scalar(select(func.count()).select_from(A).where(*where)) or 0
            found = session.execute(select(A, key).where(*where, *after).order_by(*order).limit(limit + 1)).all()
        rows = [row for row, _ in found[:limit]]
        more = len(found) > limit
        return Page(rows=rows, next_cursor=_cursor(sort, found[limit - 1][1], rows[-1].id) if more else None, total=total)

    def counts(self, wanted: Filter | None = None) -> dict[str, int]:
        """Number of analyses by state, and by label for those that are done."""
        where = _conditions(wanted or Filter())
        with self._database.read() as session:
            rows = session.execute(select(A.state, A.label, func.count()).where(*where).group_by(A.state, A.label)).all()
        counts: dict[str, int] = {}
        for state, label, count in rows:
            counts[state] = counts.get(state, 0) + count
            if label is not None:
                counts[label] = counts.get(label, 0) + count
        return counts

    def delete(self, analysis_id: str) -> None:
        """Deletes the analysis, its upload and everything made of it. A worker that has it finds its lease gone.

        Raises:
            NotFound: No such analysis.
        """
        try:
            found = self._delete_row(analysis_id)
        except OperationalError as error:
            if not is_disk_full(error):
                raise
            # Nothing can be written, not even that something is gone: make room first.
            self.remove_files(analysis_id)
            found = self._delete_row(analysis_id)
        if not found:
            raise NotFound(f"there is no analysis {analysis_id!r}; it was deleted already or its time was up")
        if self._bells is not None:
            self._bells.ring("api")
        self.remove_files(analysis_id)

    def _delete_row(self, analysis_id: str) -> bool:
        with self._database.write() as session:
            found = session.execute(delete(A).where(A.id == analysis_id).returning(A.id)).all()
            session.execute(delete(DeliveryRow).where(DeliveryRow.analysis_id == analysis_id))
        return bool(found)

    def remove_files(self, analysis_id: str) -> None:
        """Removes the upload and the results from the disk."""
        self.upload_path(analysis_id).unlink(missing_ok=True)
        shutil.rmtree(self._results_dir / analysis_id, ignore_errors=True)

    def purge(self, *, idempotency_ttl_s: float) -> int:
        """Deletes what has expired and sweeps files that belong to nothing; the number of analyses deleted."""
        now = time.time()
        with self._database.read() as session:
            expired = list(session.scalars(select(A.id).where(A.expires_at < now).limit(1000)))
        for analysis_id in expired:
            try:
                self.delete(analysis_id)
            except NotFound:
                continue  # somebody else was faster
        with self._database.write() as session:
            session.execute(delete(IdempotencyRow).where(IdempotencyRow.created_at < now - idempotency_ttl_s))
            session.execute(delete(SessionRow).where(SessionRow.expires_at < now))
            session.execute(delete(WorkerRow).where(WorkerRow.seen_at < now - 3600))
            session.execute(delete(DeliveryRow).where(DeliveryRow.state != "pending", DeliveryRow.next_at < now - 86400))
        self._sweep(now)
        return len(expired)

    def _sweep(self, now: float) -> None:
        """A process that was killed between two steps leaves a file without an analysis, or a file of an ended one."""
        files = {path.name.partition(".")[0]: path for path in self._uploads_dir.iterdir()}
        folders = {path.name: path for path in self._results_dir.iterdir()}
        names = list({*files, *folders})
        states: dict[str, str] = {}
        with self._database.read() as session:
            for at in range(0, len(names), 500):
                part = names[at : at + 500]
                states |= {row.id: row.state for row in session.execute(select(A.id, A.state).where(A.id.in_(part)))}
        for name, path in files.items():
            if states.get(name) in ("done", "failed") or (name not in states and _older(path, now - _ORPHAN_AGE_S)):
                path.unlink(missing_ok=True)
        for name, path in folders.items():
            if name not in states and _older(path, now - _ORPHAN_AGE_S):
                shutil.rmtree(path, ignore_errors=True)


def _older(path: Path, moment: float) -> bool:
    try:
        return path.stat().st_mtime < moment
    except FileNotFoundError:
        return False


def _replay(known: IdempotencyRow, fingerprint: str) -> list[str]:
    if known.fingerprint != fingerprint:
        raise KeyReused(
            f"the Idempotency-Key {known.key!r} came with another file or other options before; take a new key for a new request"
        )
    ids = json.loads(known.analysis_ids)
    assert isinstance(ids, list)
    return ids


def _conditions(wanted: Filter) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = []
    if wanted.state is not None:
        where.append(A.state == wanted.state)
    if wanted.label is not None:
        where.append(A.label == wanted.label)
    if wanted.batch is not None:
        where.append(A.batch_id == wanted.batch)
    if wanted.detector is not None:
        where.append(A.detector == wanted.detector)
    if wanted.name is not None:
        where.append(func.lower(A.filename).contains(wanted.name.lower(), autoescape=True))
    if wanted.since is not None:
        where.append(A.created_at >= wanted.since)
    if wanted.until is not None:
        where.append(A.created_at < wanted.until)
    return where


def _cursor(sort: str, value: Any, last_id: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([sort, value, last_id]).encode()).decode().rstrip("=")


def _read_cursor(cursor: str, sort: str) -> tuple[Any, str]:
    kinds: dict[str, tuple[type, ...]] = {"name": (str,)}
    try:
        made_for, value, last_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if made_for != sort or not isinstance(value, kinds.get(sort, (int, float))) or not isinstance(last_id, str):
            raise ValueError
    except (ValueError, TypeError) as error:
        raise Invalid(
            f"cursor {cursor[:60]!r} is none of this list sorted by {sort}; take next_cursor of the last page"
        ) from error
    return value, last_id
