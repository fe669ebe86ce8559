"""The tables. Times are seconds since 1970 (UTC): compared in queries, formatted at the edge."""

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, deferred, mapped_column


class Base(DeclarativeBase):
    """All tables."""


class AnalysisRow(Base):
    """One file: the job while it waits and runs, and its result after."""

    __tablename__ = "analyses"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    batch_id: Mapped[str | None] = mapped_column(String(64), index=True)
    key_id: Mapped[str | None] = mapped_column(String(32))
    filename: Mapped[str] = mapped_column(Text)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(8))
    container: Mapped[str] = mapped_column(String(16))

    detector: Mapped[str] = mapped_column(String(128))
    frames: Mapped[int | None] = mapped_column(Integer)
    sampling: Mapped[str] = mapped_column(String(16))
    start_s: Mapped[float | None] = mapped_column(Float)
    end_s: Mapped[float | None] = mapped_column(Float)
    webhook_url: Mapped[str | None] = mapped_column(Text)

    state: Mapped[str] = mapped_column(String(8), index=True)
    """queued, running, done or failed."""
    stage: Mapped[str | None] = mapped_column(String(16))
    frames_done: Mapped[int] = mapped_column(default=0)
    frames_planned: Mapped[int] = mapped_column(default=0)
    revision: Mapped[int] = mapped_column(default=0)
    """Counts changes that somebody watching wants to see."""
    attempts: Mapped[int] = mapped_column(default=0)
    available_at: Mapped[float] = mapped_column(Float, default=0.0)
    waiting_since: Mapped[float | None] = mapped_column(Float)
    """When the server was first found unreachable for it; None once it answered."""
    lease_owner: Mapped[str | None] = mapped_column(String(128))
    lease_token: Mapped[str | None] = mapped_column(String(32))
    lease_until: Mapped[float | None] = mapped_column(Float)

    created_at: Mapped[float] = mapped_column(Float, index=True)
    started_at: Mapped[float | None] = mapped_column(Float)
    finished_at: Mapped[float | None] = mapped_column(Float)
    expires_at: Mapped[float | None] = mapped_column(Float, index=True)

    label: Mapped[str | None] = mapped_column(String(16), index=True)
    reason: Mapped[str | None] = mapped_column(String(32))
    score: Mapped[float | None] = mapped_column(Float)
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    artefacts: Mapped[str | None] = mapped_column(String(64))
    """Folder below the analysis's own in ``results_dir``: each attempt writes its own, the one that counts is named here."""
    verdict: Mapped[str | None] = deferred(mapped_column(Text))
    """JSON of ``client.Verdict``."""

    __table_args__ = (
        Index("ix_analyses_queue", "state", "available_at", "created_at"),
        Index("ix_analyses_newest", "created_at", "id"),
    )


class IdempotencyRow(Base):
    """What a request with this key was answered with."""

    __tablename__ = "idempotency"

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    analysis_ids: Mapped[str] = mapped_column(Text)
    created_at: Mapped[float] = mapped_column(Float, index=True)


class KeyRow(Base):
    """An API key; its secret is kept as a hash alone."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    secret_sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[float] = mapped_column(Float)
    revoked_at: Mapped[float | None] = mapped_column(Float)


class SessionRow(Base):
    """A browser that signed in with a key."""

    __tablename__ = "sessions"

    token_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"))
    expires_at: Mapped[float] = mapped_column(Float)


class WorkerRow(Base):
    """A worker that is alive, or was."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    seen_at: Mapped[float] = mapped_column(Float)


class DeliveryRow(Base):
    """A webhook that is to be sent."""

    __tablename__ = "deliveries"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    analysis_id: Mapped[str] = mapped_column(String(32), index=True)
    url: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[float] = mapped_column(Float, index=True)
    state: Mapped[str] = mapped_column(String(16), default="pending")
    """pending, delivered or given_up."""
    last_error: Mapped[str | None] = mapped_column(Text)
