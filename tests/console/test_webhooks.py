"""Webhooks: signed, tried again, and kept away from private addresses."""

import base64
import contextlib
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from console.database import Database
from console.supervisor import Console
from console.tables import DeliveryRow
from console.webhooks import Courier
from tests.console.conftest import console_settings, uploaded


class Listener:
    """A server that notes what it is sent and answers with the statuses it was given, the last one for ever."""

    def __init__(self, *statuses: int) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.statuses = list(statuses)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(outer.statuses.pop(0) if len(outer.statuses) > 1 else outer.statuses[0])
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/hook?who=me"

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 30
        while len(self.requests) < count:
            assert time.monotonic() < deadline, f"{len(self.requests)} of {count} came"
            time.sleep(0.05)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def listener(request: pytest.FixtureRequest) -> Iterator[Listener]:
    made = Listener(*request.param)
    yield made
    made.close()


@pytest.mark.parametrize("listener", [(204,)], indirect=True)
def test_signed_delivery_of_a_result(console: Console, api: httpx.Client, clips: dict[str, Path], listener: Listener) -> None:
    document = uploaded(api, clips["face.jpg"], detector="trained_fake", webhook=listener.url)
    listener.wait_for(1)
    headers, body = listener.requests[0]
    event = json.loads(body)
    assert event["type"] == "analysis.done"
    assert event["data"]["id"] == document["id"]
    assert event["data"]["label"] == "FAKE"
    # As standardwebhooks.com says, with nothing of ours.
    secret = (console.settings.data_dir / "webhook.secret").read_text()
    signed = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
    expected = base64.b64encode(hmac.new(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256).digest())
    assert headers["webhook-signature"] == "v1," + expected.decode()
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60


@pytest.fixture
def courier(tmp_path: Path) -> Iterator[tuple[Courier, Database]]:
    settings = console_settings(
        tmp_path, webhook_allow_private=True, webhook_attempts=3, webhook_secret="a secret", webhook_timeout_s=2
    )
    settings.make_dirs()
    database = Database(settings.database)
    database.create()
    yield Courier(database, settings), database
    database.close()


def due(database: Database, url: str) -> None:
    """Queues a delivery that is due now."""
    with database.write() as session:
        session.add(DeliveryRow(id="d1", analysis_id="a", url=url, body="{}", attempts=0, next_at=0.0, state="pending"))


def kept(database: Database) -> DeliveryRow:
    with database.read() as session:
        row: DeliveryRow | None = session.scalar(select(DeliveryRow))
    assert row is not None
    return row


@pytest.mark.parametrize("listener", [(500, 429, 200)], indirect=True)
def test_tried_again_later_each_time(courier: tuple[Courier, Database], listener: Listener) -> None:
    deliver, database = courier
    due(database, listener.url)
    waits = []
    for _ in range(3):
        assert deliver.deliver_due() == 1
        assert deliver.deliver_due() == 0  # not before its time
        row = kept(database)
        waits.append(row.next_at - time.time())
        with database.write() as session:
            session.query(DeliveryRow).update({"next_at": 0.0})
    assert row.state == "delivered"
    assert waits[0] < waits[1] < waits[2]
    assert len({headers["webhook-id"] for headers, _ in listener.requests}) == 1


@pytest.mark.parametrize("listener", [(500,)], indirect=True)
def test_given_up_in_the_end(courier: tuple[Courier, Database], listener: Listener) -> None:
    deliver, database = courier
    due(database, listener.url)
    for _ in range(5):
        deliver.deliver_due()
        with database.write() as session:
            session.query(DeliveryRow).update({"next_at": 0.0})
    assert (kept(database).state, kept(database).attempts, kept(database).last_error) == ("given_up", 3, "HTTP 500")
    assert len(listener.requests) == 3


@pytest.mark.parametrize("listener", [(302,)], indirect=True)
def test_redirects_are_not_followed(courier: tuple[Courier, Database], listener: Listener) -> None:
    deliver, database = courier
    due(database, listener.url)
    deliver.deliver_due()
    assert kept(database).last_error == "HTTP 302"


@pytest.mark.parametrize("listener", [(200,)], indirect=True)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", "0.0.0.0"])
def test_private_addresses_are_refused(tmp_path: Path, listener: Listener, host: str) -> None:
    settings = console_settings(tmp_path, webhook_secret="s", webhook_timeout_s=2)
    settings.make_dirs()
    database = Database(settings.database)
    database.create()
    due(database, listener.url.replace("127.0.0.1", host))
    Courier(database, settings).deliver_due()
    assert "private address" in (kept(database).last_error or "")
    assert listener.requests == []
    database.close()


@pytest.mark.parametrize("listener", [(204,)], indirect=True)
def test_receivers_that_never_finish_hold_nobody_up(tmp_path: Path, listener: Listener) -> None:
    """One that is silent, one that answers a byte at a time for ever; each read alone would be in time."""
    settings = console_settings(tmp_path, webhook_allow_private=True, webhook_attempts=3, webhook_timeout_s=2)
    settings.make_dirs()
    database = Database(settings.database)
    database.create()
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent, socket.create_server(("127.0.0.1", 0)) as slow:

        def trickle() -> None:
            connection, _ = slow.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nx-filler: ")
                while not done.wait(0.1):
                    connection.sendall(b"a")

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        urls = [f"http://127.0.0.1:{silent.getsockname()[1]}/{number}" for number in range(10)]
        urls += [f"http://127.0.0.1:{slow.getsockname()[1]}/", listener.url]
        with database.write() as session:
            for number, url in enumerate(urls):
                row = DeliveryRow(id=f"d{number:02}", analysis_id="a", url=url, body="{}", attempts=0, state="pending")
                row.next_at = float(number)  # the good one is the last in the line
                session.add(row)
        assert Courier(database, settings).deliver_due() == 6  # four of the ten, and both others
        done.set()
        thread.join()
    with database.read() as session:
        rows = {row.id: row for row in session.scalars(select(DeliveryRow))}
    assert rows["d11"].state == "delivered"
    assert len(listener.requests) == 1
    assert "no answer within 2 s" in (rows["d10"].last_error or "")
    assert [rows[f"d{number:02}"].attempts for number in range(10)] == [1] * 4 + [0] * 6
    database.close()
