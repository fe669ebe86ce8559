import re
from pathlib import Path

import pytest
import trustme

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
    authority = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(authority)
    with pytest.raises(InvalidOption, match=r"which is no file"):
        TlsOptions(root_certificates=tmp_path / "none.pem")
    with pytest.raises(InvalidOption, match="belong together"):
        TlsOptions(client_key=key)
    with pytest.raises(InvalidOption, match="use grpcs:// or https://"):
        Detector("http://localhost", tls=TlsOptions(root_certificates=authority))


def test_tls_files_are_read_before_anything_is_sent(tmp_path: Path) -> None:
    ca = trustme.CA()
    leaf, other = ca.issue_cert("a.example.org"), ca.issue_cert("b.example.org")
    certificate, key, wrong_key, text = (tmp_path / name for name in ("cert.pem", "key.pem", "wrong.pem", "text.pem"))
    leaf.cert_chain_pems[0].write_to_path(certificate)
    leaf.private_key_pem.write_to_path(key)
    other.private_key_pem.write_to_path(wrong_key)
    text.write_text("not a certificate")
    TlsOptions(client_certificate=certificate, client_key=key)
    for bad in (text, key):
        with pytest.raises(InvalidOption, match=rf"{bad.name}.*no certificate can be read"):
            TlsOptions(root_certificates=bad)
    with pytest.raises(InvalidOption, match=r"text\.pem.*cannot be used"):
        TlsOptions(client_certificate=text, client_key=key)
    with pytest.raises(InvalidOption, match=r"wrong\.pem.*key values mismatch"):
        TlsOptions(client_certificate=certificate, client_key=wrong_key)
