import re
from pathlib import Path

import pytest

from client import Detector, TlsOptions
from client.endpoint import parse_url
from client.errors import InvalidOption, InvalidUrl


@pytest.mark.parametrize(
    ("url", "protocol", "secure", "authority", "base_path"),
    [
        ("localhost:8001", "grpc", False, "localhost:8001", ""),
        ("localhost", "grpc", False, "localhost:8001", ""),
        ("127.0.0.1:9", "grpc", False, "127.0.0.1:9", ""),
        ("[::1]:8001", "grpc", False, "[::1]:8001", ""),
        ("grpc://host", "grpc", False, "host:8001", ""),
        ("grpcs://host:443", "grpc", True, "host:443", ""),
        ("http://host", "http", False, "host:8000", ""),
        ("http://[::1]:80/", "http", False, "[::1]:80", ""),
        ("https://host/triton/eu/", "http", True, "host:443", "/triton/eu"),
    ],
)
def test_reads_addresses(url: str, protocol: str, secure: bool, authority: str, base_path: str) -> None:
    endpoint = parse_url(url)
    assert (endpoint.protocol, endpoint.secure, endpoint.authority, endpoint.base_path) == (
        protocol,
        secure,
        authority,
        base_path,
    )


@pytest.mark.parametrize(
    "url",
    [
        "",
        ":8001",
        "ftp://host",
        "host:99999",
        "host:0",
        "host:port",
        "http://",
        "http://user:secret@host",
        "http://host?x=1",
        "grpc://host/path",
        "a b:1",
        "http://[::1",
    ],
)
def test_refuses_addresses_with_value_and_remedy(url: str) -> None:
    with pytest.raises(InvalidUrl, match=re.escape(repr(url)) + r".*write localhost:8001"):
        Detector(url)


@pytest.mark.parametrize("deadline_s", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_deadlines(deadline_s: float) -> None:
    with pytest.raises(InvalidOption, match=r"must be a number of seconds above 0"):
        Detector(deadline_s=deadline_s)


def test_refuses_an_empty_detector() -> None:
    with pytest.raises(InvalidOption, match="name the ensemble"):
        Detector(detector="")


def test_tls_options_are_checked_before_anything_is_sent(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.touch()
    with pytest.raises(InvalidOption, match=r"which is no file"):
        TlsOptions(root_certificates=tmp_path / "none.pem")
    with pytest.raises(InvalidOption, match="belong together"):
        TlsOptions(client_key=key)
    with pytest.raises(InvalidOption, match="use grpcs:// or https://"):
        Detector("http://localhost", tls=TlsOptions(root_certificates=key))
