"""Encrypted connections, through a proxy that ends TLS in front of the real server, as gateways do."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import trustme

from client import Detector, TlsOptions
from client.errors import Unreachable
from serving import EmbeddedTriton
from tests.client.conftest import url_of

SMALL = np.zeros((2, 8, 8, 3), np.uint8)


class Certificates(NamedTuple):
    """PEM files of one authority."""

    authority: Path
    client_certificate: Path
    client_key: Path
    server: trustme.LeafCert
    ca: trustme.CA


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    ca = trustme.CA()
    client = ca.issue_cert("client@example.org")
    ca.cert_pem.write_to_path(folder / "ca.pem")
    client.private_key_pem.write_to_path(folder / "key.pem")
    with (folder / "client.pem").open("wb") as file:
        for pem in client.cert_chain_pems:
            file.write(pem.bytes())
    return Certificates(
        folder / "ca.pem", folder / "client.pem", folder / "key.pem", ca.issue_cert("127.0.0.1", "triton.example.org"), ca
    )


@contextlib.contextmanager
def tls_proxy(certificates: Certificates, target: str, *, mutual: bool = False) -> Iterator[int]:
    """A port that speaks TLS and passes everything on to ``target`` (host:port)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    certificates.server.configure_cert(context)
    if mutual:
        certificates.ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0))
    host, port = target.rsplit(":", 1)
    opened: list[socket.socket] = [listener]

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            while data := source.recv(65536):
                sink.sendall(data)
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            plain.settimeout(5)
            try:
                secure = context.wrap_socket(plain, server_side=True)
            except OSError:
                plain.close()
                continue
            secure.settimeout(None)
            behind = socket.create_connection((host, int(port)))
            opened.extend((secure, behind))
            for pair in ((secure, behind), (behind, secure)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=10)
        for sock in opened:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


def secure_url(protocol: str, port: int) -> str:
    return f"{'grpcs' if protocol == 'grpc' else 'https'}://127.0.0.1:{port}"


def target_of(server: EmbeddedTriton, protocol: str) -> str:
    return url_of(server, protocol).removeprefix("http://")


def test_a_trusted_server(bad_triton: EmbeddedTriton, protocol: str, certificates: Certificates) -> None:
    tls = TlsOptions(root_certificates=certificates.authority)
    with tls_proxy(certificates, target_of(bad_triton, protocol)) as port:
        with Detector(secure_url(protocol, port), detector="sane", tls=tls) as client:
            assert [client.infer_frames(SMALL).score for _ in range(3)] == [0.25] * 3


def test_a_server_that_nobody_vouches_for(bad_triton: EmbeddedTriton, protocol: str, certificates: Certificates) -> None:
    with tls_proxy(certificates, target_of(bad_triton, protocol)) as port:
        with (
            Detector(secure_url(protocol, port), deadline_s=10) as client,
            pytest.raises(Unreachable, match=r"(?i)certificate"),
        ):
            client.model()


def test_a_name_that_is_not_the_addresss(bad_triton: EmbeddedTriton, protocol: str, certificates: Certificates) -> None:
    with tls_proxy(certificates, target_of(bad_triton, protocol)) as port:
        named = TlsOptions(root_certificates=certificates.authority, server_name="triton.example.org")
        with Detector(secure_url(protocol, port), detector="sane", tls=named) as client:
            assert client.model().info.image_size_px == 8
        wrong = TlsOptions(root_certificates=certificates.authority, server_name="other.example.org")
        with Detector(secure_url(protocol, port), tls=wrong, deadline_s=10) as client, pytest.raises(Unreachable):
            client.model()


def test_a_server_that_asks_who_is_there(bad_triton: EmbeddedTriton, protocol: str, certificates: Certificates) -> None:
    known = TlsOptions(
        root_certificates=certificates.authority,
        client_certificate=certificates.client_certificate,
        client_key=certificates.client_key,
    )
    with tls_proxy(certificates, target_of(bad_triton, protocol), mutual=True) as port:
        with Detector(secure_url(protocol, port), detector="sane", tls=known) as client:
            assert client.infer_frames(SMALL).score == 0.25
        unknown = TlsOptions(root_certificates=certificates.authority)
        with Detector(secure_url(protocol, port), tls=unknown, deadline_s=10) as client, pytest.raises(Unreachable):
            client.model()
