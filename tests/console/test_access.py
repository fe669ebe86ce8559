"""Who may use the console, and what a browser may be tricked into."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from console.supervisor import Console
from tests.console.conftest import console_settings


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A console that asks everybody for a key."""
    settings = console_settings(
        tmp_path_factory.mktemp("locked"), auth="always", triton_url="127.0.0.1:9", allowed_hosts=("news.example",)
    )
    with Console(settings) as running:
        yield running


@pytest.fixture
def client(locked: Console) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=locked.url, timeout=30, trust_env=False) as client:
        yield client


def keys(console: Console, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`unmask keys ...` on the console's data."""
    environment = {**os.environ, "UNMASK_CONSOLE_DATA_DIR": str(console.settings.data_dir)}
    return subprocess.run(
        [sys.executable, "-m", "unmask", "keys", *arguments], capture_output=True, text=True, env=environment, check=False
    )


@pytest.fixture(scope="module")
def key(locked: Console) -> str:
    """A key, made as a user makes one."""
    made = keys(locked, "add", "the newsroom")
    assert made.returncode == 0
    return made.stdout.strip()


def test_without_a_key(client: httpx.Client) -> None:
    answer = client.get("/v1/analyses")
    assert (answer.status_code, answer.json()["code"]) == (401, "key_required")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "unmask keys add" in answer.json()["detail"]
    for path in ("/healthz", "/readyz", "/metrics", "/docs", "/v1/openapi.json"):
        assert client.get(path).status_code == (503 if path == "/readyz" else 200)
    assert client.get("/readyz").json()["checks"]["triton"] == "unreachable"


def test_with_a_key(locked: Console, client: httpx.Client, key: str) -> None:
    assert client.get("/v1/analyses", headers={"authorization": f"Bearer {key}"}).status_code == 200
    assert client.get("/v1/analyses", headers={"x-api-key": key}).status_code == 200
    prefix, key_id, secret = key.split("_", 2)
    for wrong in (
        f"{prefix}_{key_id}_{secret[:-1]}",
        f"{prefix}_{key_id}_",
        f"{prefix}_00000000_{secret}",
        key_id,
        "_" * 50,
        "é",
    ):
        sent = client.get("/v1/analyses", headers={b"authorization": f"Bearer {wrong}".encode()})
        assert sent.status_code == 401, wrong
    stored = b"".join(path.read_bytes() for path in locked.settings.data_dir.glob("console.sqlite3*"))
    assert key_id.encode() in stored
    assert secret.encode() not in stored


def test_revoked_key_ends_at_once(locked: Console, client: httpx.Client) -> None:
    text = keys(locked, "add", "for a day").stdout.strip()
    headers = {"authorization": f"Bearer {text}"}
    client.post("/sign-in", data={"key": text})
    assert client.get("/v1/limits").status_code == 200
    assert keys(locked, "revoke", text.split("_")[1]).returncode == 0
    assert client.get("/v1/limits", headers=headers).status_code == 401
    assert client.get("/v1/limits").status_code == 401  # the browser that signed in with it
    again = keys(locked, "revoke", text.split("_")[1])
    assert again.returncode == 1
    assert "no live key" in again.stderr
    assert "\trevoked\t" in keys(locked, "list").stdout


def test_signing_in_and_out(client: httpx.Client, key: str) -> None:
    page = client.get("/", headers={"accept": "text/html"})
    assert page.status_code == 401
    assert "/sign-in" in page.text
    assert client.post("/sign-in", data={"key": "unm_no_such"}).status_code == 401
    answer = client.post("/sign-in", data={"key": key})
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert client.get("/", headers={"accept": "text/html"}).status_code == 200
    client.post("/sign-out")
    assert client.get("/").status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://127.0.0.1:1"},
    ],
)
def test_other_sites_change_nothing(client: httpx.Client, key: str, headers: dict[str, str]) -> None:
    for path in ("/v1/analyses", "/analyses/delete", "/sign-in", "/sign-out", "/upload"):
        answer = client.post(path, headers={**headers, "authorization": f"Bearer {key}"})
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")


def test_own_pages_may(locked: Console, client: httpx.Client, key: str) -> None:
    headers = {"origin": locked.url, "sec-fetch-site": "same-origin", "authorization": f"Bearer {key}"}
    assert client.post("/analyses/delete", headers=headers, data={"id": "0" * 24}).status_code == 303


def test_foreign_names_are_refused(client: httpx.Client, key: str) -> None:
    headers = {"authorization": f"Bearer {key}"}
    for host, status in (
        ("rebind.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("[", 421),
        ("news.example", 200),
        ("localhost:1", 200),
    ):
        assert client.get("/v1/limits", headers={**headers, "host": host}).status_code == status, host


def test_headers(client: httpx.Client) -> None:
    for path in ("/sign-in", "/v1/analyses", "/static/app.css"):
        headers = client.get(path, headers={"origin": "https://evil.example"}).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def test_no_key_on_loopback_but_for_a_proxy(api: httpx.Client) -> None:
    assert api.get("/v1/limits").status_code == 200
    assert api.get("/v1/limits", headers={"x-forwarded-for": "203.0.113.7"}).status_code == 401
    assert api.get("/v1/limits", headers={"authorization": "Bearer unm_wrong_key"}).status_code == 401


def test_rate_limit_is_each_key_s_own(tmp_path: Path) -> None:
    with Console(console_settings(tmp_path, auth="always", rate_limit="5/minute", triton_url="127.0.0.1:9")) as running:
        first, second = (keys(running, "add", name).stdout.strip() for name in ("a", "b"))
        with httpx.Client(base_url=running.url, timeout=30, trust_env=False) as client:
            codes = [client.get("/v1/limits", headers={"x-api-key": first}).status_code for _ in range(6)]
            assert codes == [200] * 5 + [429]
            refused = client.get("/v1/limits", headers={"x-api-key": first})
            assert refused.json()["code"] == "rate_limited"
            assert 1 <= int(refused.headers["retry-after"]) <= 60
            assert client.get("/v1/limits", headers={"x-api-key": second}).status_code == 200
