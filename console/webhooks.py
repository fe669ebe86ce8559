"""Tells other programs that an analysis has ended, signed as Standard Webhooks (standardwebhooks.com) describes.

A delivery is a row that is written in the transaction of the result; it is sent at least once, with one id.
"""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import json
import logging
import secrets
import socket
import ssl
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.orm import Session

from console.database import Database
from console.errors import Invalid
from console.settings import ConsoleSettings
from console.tables import AnalysisRow, DeliveryRow

logger = logging.getLogger(__name__)
_LONGEST_WAIT_S = 3600.0
_AT_ONCE = 16
_AT_ONCE_EACH = 4
"""To one receiver: the others' turn comes even while one of them is dead."""
_LOOKED_AT = 500


def check_url(url: str) -> None:
    """Raises:
    Invalid: No http(s) URL with a host, or one with a password in it.
    """
    try:
        parts = urlsplit(url)
        wrong = parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password
        _ = parts.port
    except ValueError:
        wrong = True
    if wrong or len(url) > 2000 or any(ord(c) <= 32 or ord(c) == 127 for c in url):
        raise Invalid(f"webhook is {url[:100]!r}; it must be an http:// or https:// URL of at most 2000 characters")


def enqueue(session: Session, row: AnalysisRow) -> None:
    """Writes the delivery of an analysis that has just ended."""
    assert row.webhook_url is not None
    body = {
        "type": f"analysis.{row.state}",
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(row.finished_at)),
        "data": {
            "id": row.id,
            "batch": row.batch_id,
            "filename": row.filename,
            "sha256": row.sha256,
            "state": row.state,
            "label": row.label,
            "reason": row.reason,
            "score": row.score,
            "error": {"code": row.error_code, "message": row.error_message} if row.error_code else None,
        },
    }
    session.add(
        DeliveryRow(
            id=secrets.token_hex(12), analysis_id=row.id, url=row.webhook_url, body=json.dumps(body),
            attempts=0, next_at=time.time(), state="pending",
        )
    )  # fmt: skip


def load_secret(settings: ConsoleSettings) -> bytes:
    """The signing secret: the setting's, or the one in ``data_dir``, made on first use."""
    if settings.webhook_secret is not None:
        return settings.webhook_secret.encode()
    path = settings.data_dir / "webhook.secret"
    if not path.exists():
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        draft.touch(mode=0o600)
        draft.write_text("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())
        try:
            path.hardlink_to(draft)  # the first of several processes wins
        except FileExistsError:
            logger.debug("another process made the webhook secret")
        finally:
            draft.unlink()
    return path.read_text().strip().encode()


def sign(secret: bytes, delivery_id: str, timestamp: int, body: bytes) -> str:
    """``v1,`` and the base64 of HMAC-SHA256 over ``id.timestamp.body``; a ``whsec_`` secret is base64 after its prefix."""
    key = base64.b64decode(secret[6:]) if secret.startswith(b"whsec_") else secret
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


class Courier:
    """Sends what is due. Several may run: each takes a delivery by moving its next attempt into the future."""

    def __init__(self, database: Database, settings: ConsoleSettings) -> None:
        self._database = database
        self._settings = settings
        self._secret = load_secret(settings)
        self._tls: ssl.SSLContext | None = None

    def deliver_due(self) -> int:
        """Sends some of what is due, side by side, so that a receiver that is dead or slow holds nobody up; the number of attempts."""
        rows = self._take()
        if not rows:
            return 0
        with ThreadPoolExecutor(1, "unmask-webhooks") as beside:  # whoever calls may have an event loop of his own
            errors = beside.submit(lambda: asyncio.run(self._send_all(rows))).result()
        with self._database.write() as session:
            for row, error in zip(rows, errors, strict=True):
                kept = session.get(DeliveryRow, row.id)
                if kept is None:
                    continue  # its analysis was deleted meanwhile
                kept.last_error = error
                if error is None:
                    kept.state = "delivered"
                elif kept.attempts >= self._settings.webhook_attempts:
                    kept.state = "given_up"
                    logger.warning("webhook %s to %s given up after %d attempts: %s", row.id, row.url, kept.attempts, error)
        return len(rows)

    def _take(self) -> list[DeliveryRow]:
        now = time.time()
        due = select(DeliveryRow).where(DeliveryRow.state == "pending", DeliveryRow.next_at <= now)
        with self._database.read() as session:
            if session.scalar(due.limit(1)) is None:
                return []
        taken: list[DeliveryRow] = []
        receivers: Counter[str] = Counter()
        with self._database.write() as session:
            for row in session.scalars(due.order_by(DeliveryRow.next_at).limit(_LOOKED_AT).with_for_update(skip_locked=True)):
                receiver = urlsplit(row.url).netloc
                if len(taken) == _AT_ONCE or receivers[receiver] == _AT_ONCE_EACH:
                    continue
                receivers[receiver] += 1
                row.attempts += 1
                wait_s = min(_LONGEST_WAIT_S, 4.0 ** (row.attempts - 1))
                row.next_at = now + self._settings.webhook_timeout_s + wait_s
                taken.append(row)
        return taken

    async def _send_all(self, rows: list[DeliveryRow]) -> list[str | None]:
        return list(await asyncio.gather(*map(self._send, rows)))

    async def _send(self, row: DeliveryRow) -> str | None:
        import httpx

        body = row.body.encode()
        timestamp = int(time.time())
        headers = {
            "content-type": "application/json",
            "user-agent": "unmask-webhook/1",
            "webhook-id": row.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self._secret, row.id, timestamp, body),
        }
        if self._tls is None:
            self._tls = httpx.create_ssl_context(trust_env=False)
        limit_s = self._settings.webhook_timeout_s
        try:
            # All of it within the limit: httpx's own is for each read, and an answer may come byte by byte.
            async with asyncio.timeout(limit_s):
                url, extensions = await self._pinned(row.url, headers)
                # trust_env off: a proxy of the environment would carry it past the check of the address.
                # Streamed and left unread: the status is all that counts, and the answer may be endless.
                async with (
                    httpx.AsyncClient(timeout=limit_s, follow_redirects=False, trust_env=False, verify=self._tls) as client,
                    client.stream("POST", url, content=body, headers=headers, extensions=extensions) as answer,
                ):
                    return None if answer.is_success else f"HTTP {answer.status_code}"
        except TimeoutError:
            return f"no answer within {limit_s:g} s (UNMASK_CONSOLE_WEBHOOK_TIMEOUT_S)"
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"[:500]

    async def _pinned(self, url: str, headers: dict[str, str]) -> tuple[str, dict[str, Any]]:
        """The URL with the address that was checked in the place of its name, so that a second look-up cannot differ."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [ipaddress.ip_address(str(address).partition("%")[0]) for address in {info[4][0] for info in infos}]
        if not self._settings.webhook_allow_private and not all(address.is_global for address in addresses):
            raise ValueError(
                f"{host} is at a private address, and webhooks may go to public ones alone "
                "(UNMASK_CONSOLE_WEBHOOK_ALLOW_PRIVATE)"
            )
        address = addresses[0]
        headers["host"] = parts.netloc
        literal = f"[{address}]" if address.version == 6 else str(address)
        pinned = parts._replace(netloc=f"{literal}:{port}").geturl()
        return pinned, {"sni_hostname": host} if parts.scheme == "https" else {}
