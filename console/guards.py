"""What stands before every route: the name that was addressed, where a browser's request came from, body limits and headers.

Plain ASGI, not ``BaseHTTPMiddleware``: uploads and event streams pass through untouched.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.errors import ConsoleError, CrossSite, HostNotAllowed, TooLarge
from console.problems import handle_console_error
from console.settings import ConsoleSettings

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_UPLOADS = frozenset({"/v1/analyses", "/upload"})
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own."""
    if host.rstrip(".").lower() == "localhost" or host.rstrip(".").lower().endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guards:
    """The middleware."""

    def __init__(self, app: ASGIApp, settings: ConsoleSettings) -> None:
        self._app = app
        self._settings = settings
        any_address = settings.host in ("0.0.0.0", "::", "")
        self._hosts = {name.lower() for name in settings.allowed_hosts} | (
            {settings.host.lower()} if not any_address else set()
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    answered.setdefault(name, value)
                # Static files may be kept, and are asked about each time: an update shows at once.
                answered.setdefault("cache-control", "no-cache" if scope["path"].startswith("/static/") else "no-store")
            await send(message)

        try:
            self._check_host(headers)
            self._check_origin(scope["method"], headers)
            limited = self._limited(scope, headers, receive)
        except ConsoleError as error:
            await handle_console_error(Request(scope), error)(scope, receive, send_with_headers)
            return
        await self._app(scope, limited, send_with_headers)

    def _check_host(self, headers: Headers) -> None:
        host = headers.get("host", "")
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            name = ""
        if not (is_loopback(name) or name.lower() in self._hosts):
            raise HostNotAllowed(
                f"the Host header is {host[:80]!r}, which is no name of this console; add it to UNMASK_CONSOLE_ALLOWED_HOSTS"
            )

    def _check_origin(self, method: str, headers: Headers) -> None:
        """Forms and scripts of other sites can send requests here with a browser's cookies; browsers say so."""
        if method in _SAFE:
            return
        site = headers.get("sec-fetch-site")
        origin = headers.get("origin")
        foreign = site is not None and site not in ("same-origin", "none")
        if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
            foreign = True
        if foreign:
            raise CrossSite(
                f"this request was made by a page of {(origin or 'another site')[:80]!r}; only the console's own pages may do that"
            )

    def _limited(self, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        if scope["method"] == "POST" and scope["path"] in _UPLOADS:
            return receive  # ``console.uploads`` counts for itself
        limit = self._settings.max_body_bytes
        message = (
            f"the body has more than {limit} bytes, the limit of requests that are no uploads; send files to POST /v1/analyses"
        )
        declared = headers.get("content-length", "0")
        if declared.isdecimal() and int(declared[:20]) > limit:
            raise TooLarge(message)
        count = 0

        async def counted() -> Message:
            nonlocal count
            part = await receive()
            if part["type"] == "http.request":
                count += len(part.get("body", b""))
                if count > limit:
                    raise TooLarge(message)
            return part

        return counted
