"""Who asks: a key in the header, a browser's session, or somebody at this machine who needs neither."""

from dataclasses import dataclass

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from console.errors import KeyRequired, RateLimited
from console.guards import is_loopback
from console.services import Services, services_of

COOKIE = "unmask_session"
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who may use the API."""

    key_id: str | None
    """None: at this machine, without a key."""
    name: str
    """Tells callers apart, for rate limits and idempotency keys."""


def key_needed(request: Request, services: Services) -> bool:
    """Whether this request must show a key.

    A proxy on this machine forwards for others: its headers give it away.
    """
    if services.settings.auth == "always" or not is_loopback(services.settings.host):
        return True
    address = request.client.host if request.client else ""
    return not is_loopback(address) or any(name in request.headers for name in _FORWARDED)


def _identify(request: Request, services: Services) -> Caller | None:
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    given = text.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
    if given:
        key_id = services.keys.check(given)
        return Caller(key_id, f"key:{key_id}") if key_id else None
    token = request.cookies.get(COOKIE)
    if token and (key_id := services.keys.check_session(token)):
        return Caller(key_id, f"key:{key_id}")
    if key_needed(request, services):
        return None
    return Caller(None, f"address:{request.client.host if request.client else ''}")


async def caller(request: Request) -> Caller:
    """Dependency of every route that needs to know.

    Raises:
        KeyRequired: No key, or one that is unknown or revoked.
        RateLimited: The key, or the address, asks too often.
    """
    services = services_of(request)
    found = await run_in_threadpool(_identify, request, services)
    name = found.name if found else f"address:{request.client.host if request.client else ''}"
    for item in services.limits:
        if not services.limiter.hit(item, name):
            raise RateLimited(
                f"more than {item} requests by {'this key' if found and found.key_id else 'this address'}, the limit "
                "(UNMASK_CONSOLE_RATE_LIMIT); wait a moment",
                retry_after_s=max(1.0, services.limiter.get_window_stats(item, name).reset_time - _now()),
            )
    if found is None:
        raise KeyRequired(
            "no API key came with the request, or it is not valid; send 'Authorization: Bearer unm_...' with a key made by "
            "`unmask keys add NAME`, or sign in at /sign-in"
        )
    return found


def _now() -> float:
    import time

    return time.time()
