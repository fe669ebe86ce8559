"""API keys and browser sessions. A key reads ``unm_<id>_<secret>``; the secret is 256 random bits, kept as SHA-256 alone.

A slow password hash would protect guessable secrets; these are not, and a hash a request must be cheap.
"""

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass

from sqlalchemy import select

from console.database import Database
from console.errors import NotFound
from console.tables import KeyRow, SessionRow

_PREFIX = "unm"
_NOBODY = "0" * 64


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made; ``text`` is shown once."""

    id: str
    text: str


class KeyRing:
    """Keys and sessions in the database."""

    def __init__(self, database: Database, *, session_ttl_s: float) -> None:
        self._database = database
        self._session_ttl_s = session_ttl_s

    def add(self, name: str) -> NewKey:
        """Makes a key."""
        key_id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        with self._database.write() as session:
            session.add(KeyRow(id=key_id, name=name, secret_sha256=_hash(secret), created_at=time.time(), revoked_at=None))
        return NewKey(key_id, f"{_PREFIX}_{key_id}_{secret}")

    def revoke(self, key_id: str) -> None:
        """Ends a key and the sessions opened with it.

        Raises:
            NotFound: No such key, or it was revoked before.
        """
        with self._database.write() as session:
            row = session.get(KeyRow, key_id)
            if row is None or row.revoked_at is not None:
                raise NotFound(f"there is no live key {key_id!r}; `unmask keys list` names them")
            row.revoked_at = time.time()
            session.query(SessionRow).filter(SessionRow.key_id == key_id).delete()

    def all(self) -> list[KeyRow]:
        """Every key, oldest first, the revoked ones included."""
        with self._database.read() as session:
            return list(session.scalars(select(KeyRow).order_by(KeyRow.created_at)))

    def check(self, text: str) -> str | None:
        """The id of a live key, or None. Takes the same time whatever part of the key is wrong."""
        prefix, _, rest = text.partition("_")
        key_id, _, secret = rest.partition("_")
        row = None
        if prefix == _PREFIX and key_id.isalnum() and len(key_id) <= 32:
            with self._database.read() as session:
                row = session.get(KeyRow, key_id)
        known = row.secret_sha256 if row is not None and row.revoked_at is None else _NOBODY
        return key_id if hmac.compare_digest(_hash(secret), known) and row is not None else None

    def open_session(self, key_id: str) -> str:
        """A token for a browser that showed the key."""
        token = secrets.token_urlsafe(32)
        with self._database.write() as session:
            session.add(SessionRow(token_sha256=_hash(token), key_id=key_id, expires_at=time.time() + self._session_ttl_s))
        return token

    def check_session(self, token: str) -> str | None:
        """The id of the key that the session was opened with, or None."""
        with self._database.read() as session:
            row = session.get(SessionRow, _hash(token))
            return row.key_id if row is not None and row.expires_at > time.time() else None

    def close_session(self, token: str) -> None:
        """Signs out."""
        with self._database.write() as session:
            session.query(SessionRow).filter(SessionRow.token_sha256 == _hash(token)).delete()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
