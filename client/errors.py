"""What can go wrong between a clip and its verdict, once, for both transports.

    ClientError
    ├── InvalidRequest        refused here, before anything was sent
    │   ├── InvalidUrl
    │   ├── InvalidFrames     not (T, H, W, 3) uint8 of the model's size, or too few or too many frames
    │   └── InvalidOption
    └── ServerError           the server, or the way to it
        ├── Unreachable       nobody answers at the address
        │   └── ConnectionLost    somebody did, and went away in mid-request
        ├── DeadlineExceeded  the client's own budget is used up
        ├── Overloaded        refused for now: full queue, or draining
        ├── Rejected          the server found the request wrong
        │   └── DetectorNotFound  no such model, or not loaded
        │       └── ExplainerNotFound  there is a detector and nothing that says where it looked
        ├── ServerFailed      the server tried and failed
        └── BadResponse       an answer that cannot be trusted: missing outputs, wrong shapes, NaN, unreadable metadata

Each message says what was met, what the limit is, and what to do; ``code`` is the stable name for programs.
"""

from typing import ClassVar


class ClientError(Exception):
    """Root of everything that ``client`` raises on purpose."""

    code: ClassVar[str] = "client_error"


class InvalidRequest(ClientError):
    """Refused before anything was sent."""

    code = "invalid_request"


class InvalidUrl(InvalidRequest):
    """The server's address cannot be read."""

    code = "invalid_url"


class InvalidFrames(InvalidRequest):
    """The frames are not what the served model takes."""

    code = "invalid_frames"


class InvalidOption(InvalidRequest):
    """An option is outside its range."""

    code = "invalid_option"


class ServerError(ClientError):
    """The server, or the way to it."""

    code = "server_error"


class Unreachable(ServerError):
    """Nobody answers at the address."""

    code = "unreachable"


class ConnectionLost(Unreachable):
    """The connection broke after the request was under way."""

    code = "connection_lost"


class DeadlineExceeded(ServerError):
    """The client's own time budget for the request is used up."""

    code = "deadline_exceeded"


class Overloaded(ServerError):
    """The server refuses for now; the same request may be accepted later."""

    code = "overloaded"


class Rejected(ServerError):
    """The server found the request wrong; sending it again cannot help."""

    code = "rejected"


class DetectorNotFound(Rejected):
    """The server has no such model, or has not loaded it."""

    code = "detector_not_found"


class ExplainerNotFound(DetectorNotFound):
    """The server has no explainer of this detector, or one of other weights."""

    code = "explainer_not_found"


class ServerFailed(ServerError):
    """The server accepted the request and failed at it."""

    code = "server_failed"


class BadResponse(ServerError):
    """An answer that cannot be trusted."""

    code = "bad_response"


def from_server(url: str, detector: str, message: str, *, unavailable: bool, failed: bool) -> ServerError:
    """The typed error for a refusal that the server itself sent; one place, so that gRPC and HTTP agree.

    Triton has one status for a full queue, an expired queue timeout, a shut-down and a model that is not loaded, and its
    HTTP status for the last is 400; only the text tells them apart.
    """
    text = message.lower()
    if "unknown model" in text or "is not ready" in text or "no available versions" in text:
        return DetectorNotFound(
            f"{url} does not serve {detector!r}: {message}; name a detector that it serves (--detector), "
            "or wait until the server is ready"
        )
    if "queue size" in text or "timeout expired" in text or "server is stopping" in text or "shutting down" in text:
        return Overloaded(f"{url} refuses {detector!r} for now: {message}; send it again later or send less at a time")
    if failed:
        return ServerFailed(f"{url} failed at {detector!r}: {message}; the server's log says more")
    if unavailable:
        return Overloaded(f"{url} is unavailable for {detector!r}: {message}; send it again later")
    return Rejected(f"{url} rejected the request to {detector!r}: {message}")
