"""Where the server is, and how the way to it is secured."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from client.errors import InvalidOption, InvalidUrl

_DEFAULT_PORTS = {"grpc": 8001, "grpcs": 8001, "http": 8000, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions:
    """Certificates for ``grpcs://`` and ``https://``; without any, the system's roots are trusted.

    Raises:
        InvalidOption: A file does not exist or is not what it should be in PEM, or only one of client certificate and key is given.
    """

    root_certificates: Path | None = None
    """PEM file of the authorities to trust."""
    client_certificate: Path | None = None
    """PEM chain that the client shows (mutual TLS)."""
    client_key: Path | None = None
    """PEM private key of ``client_certificate``."""
    server_name: str | None = None
    """Name to expect in the server's certificate where it is not the address's."""

    def __post_init__(self) -> None:
        for name in ("root_certificates", "client_certificate", "client_key"):
            path: Path | None = getattr(self, name)
            if path is not None and not path.is_file():
                raise InvalidOption(f"{name} is {str(path)!r}, which is no file; give a PEM file that exists")
        if (self.client_certificate is None) != (self.client_key is None):
            raise InvalidOption("client_certificate and client_key belong together; give both or neither")
        # gRPC takes anything, and calls the server unreachable later.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.root_certificates is not None:
            try:
                context.load_verify_locations(self.root_certificates)
            except OSError as error:
                raise InvalidOption(
                    f"root_certificates is {str(self.root_certificates)!r}, in which no certificate can be read "
                    f"({_reason(error)}); give a PEM file of authorities"
                ) from error
        if self.client_certificate is not None:
            try:
                # The password keeps OpenSSL from asking for one on the terminal; gRPC takes no encrypted key.
                context.load_cert_chain(self.client_certificate, self.client_key, password="")
            except OSError as error:
                raise InvalidOption(
                    f"client_certificate {str(self.client_certificate)!r} and client_key {str(self.client_key)!r} cannot be used "
                    f"({_reason(error)}); give PEM files of a certificate and of its key, not encrypted"
                ) from error


def _reason(error: OSError) -> str:
    return (getattr(error, "reason", None) or error.strerror or str(error)).replace("_", " ").lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A parsed server address."""

    protocol: Literal["grpc", "http"]
    secure: bool
    host: str
    port: int
    base_path: str
    """Path in front of ``/v2`` (HTTP behind a gateway); empty or with a leading and no trailing slash."""
    url: str
    """As the caller wrote it, for messages."""

    @property
    def authority(self) -> str:
        """``host:port``, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_url(url: str) -> Endpoint:
    """Reads ``host:port`` and ``grpc[s]://host[:port]`` as gRPC, ``http[s]://host[:port][/path]`` as HTTP.

    Raises:
        InvalidUrl: Another scheme, no host, a port outside [1, 65535], or parts that mean nothing here.
    """
    text = url.strip()
    remedy = "write localhost:8001, grpc://HOST:PORT, grpcs://HOST:PORT, http://HOST:PORT or https://HOST:PORT"
    try:
        parts = urlsplit(text if "://" in text else f"grpc://{text}")
        port = parts.port
    except ValueError as error:
        raise InvalidUrl(f"the server's address {url!r} cannot be read ({error}); {remedy}") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise InvalidUrl(f"the server's address {url!r} has the scheme {parts.scheme!r}; {remedy}")
    if not parts.hostname or any(character.isspace() for character in text):
        raise InvalidUrl(f"the server's address {url!r} names no host; {remedy}")
    if port == 0:
        raise InvalidUrl(f"the server's address {url!r} has port 0; ports are in [1, 65535]; {remedy}")
    protocol: Literal["grpc", "http"] = "grpc" if parts.scheme.startswith("grpc") else "http"
    path = parts.path.rstrip("/")
    if parts.username or parts.password or parts.query or parts.fragment or (path and protocol == "grpc"):
        raise InvalidUrl(f"the server's address {url!r} has parts that are not used (user, path, query); {remedy}")
    return Endpoint(
        protocol=protocol,
        secure=parts.scheme in ("grpcs", "https"),
        host=parts.hostname,
        port=port or _DEFAULT_PORTS[parts.scheme],
        base_path=path,
        url=text,
    )
