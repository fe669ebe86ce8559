"""What the API refuses, with its status; translated to problem documents (RFC 9457) in one place, ``console.problems``.

::

    ConsoleError
    ├── BadUpload              400  bad_upload            the body is no multipart form, or is cut off
    ├── KeyRequired            401  key_required          no API key, or one that is unknown or revoked
    ├── CrossSite              403  cross_site            a browser sent it for another site's page
    ├── HostNotAllowed         421  host_not_allowed      addressed under a name that is not the console's
    ├── NotFound               404  not_found
    ├── UploadTimeout          408  upload_timeout        bytes stopped coming
    ├── NotFinished            409  not_finished          asked for a result that is not there yet
    ├── NoResult               409  no_result             asked for the report of an analysis that failed
    ├── NoHeatmaps             409  no_heatmaps           nobody was scored, or the faces were not kept
    ├── NoExplainer            409  no_explainer          the detector's server has none
    ├── ModelChanged           409  model_changed         the weights that made the result are served no more
    ├── TooLarge               413  too_large             a file, a field or the whole request
    ├── UnsupportedMedia       415  (preprocessing's code)  the first bytes are of no video or image that is read here
    ├── Invalid                422  invalid_option        an option is outside its range
    ├── KeyReused              422  idempotency_key_reused
    ├── RateLimited            429  rate_limited
    ├── QueueFull              429  queue_full
    ├── TooManyStreams         503  too_many_streams
    ├── ServerDown             503  (the client's code)   Triton cannot be asked
    ├── DatabaseDown           503  database_down         jobs and results cannot be read or written
    └── DiskFull               507  disk_full
"""

from typing import ClassVar


class ConsoleError(Exception):
    """Root; the message has the offending value, the limit and the remedy."""

    status: ClassVar[int] = 500
    code: str = "internal"
    title: ClassVar[str] = "Something went wrong here"

    def __init__(self, message: str, *, code: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.retry_after_s = retry_after_s


class BadUpload(ConsoleError):
    status, code, title = 400, "bad_upload", "The upload cannot be read"


class KeyRequired(ConsoleError):
    status, code, title = 401, "key_required", "An API key is needed"


class CrossSite(ConsoleError):
    status, code, title = 403, "cross_site", "Requests from other sites are refused"


class NotFound(ConsoleError):
    status, code, title = 404, "not_found", "There is nothing here"


class UploadTimeout(ConsoleError):
    status, code, title = 408, "upload_timeout", "The upload took too long"


class NotFinished(ConsoleError):
    status, code, title = 409, "not_finished", "The analysis is not finished"


class NoResult(ConsoleError):
    status, code, title = 409, "no_result", "The analysis has no result"


class NoHeatmaps(ConsoleError):
    status, code, title = 409, "no_heatmaps", "There is nothing to explain"


class NoExplainer(ConsoleError):
    status, code, title = 409, "no_explainer", "This server has no heat maps"


class ModelChanged(ConsoleError):
    status, code, title = 409, "model_changed", "The detector was replaced since"


class TooLarge(ConsoleError):
    status, code, title = 413, "too_large", "Too large"


class UnsupportedMedia(ConsoleError):
    status, code, title = 415, "unsupported_media", "Not a video or image that can be read"


class HostNotAllowed(ConsoleError):
    status, code, title = 421, "host_not_allowed", "Not the name of this console"


class Invalid(ConsoleError):
    status, code, title = 422, "invalid_option", "An option is not valid"


class KeyReused(ConsoleError):
    status, code, title = 422, "idempotency_key_reused", "The idempotency key was used for something else"


class RateLimited(ConsoleError):
    status, code, title = 429, "rate_limited", "Too many requests"


class QueueFull(ConsoleError):
    status, code, title = 429, "queue_full", "The queue is full"


class TooManyStreams(ConsoleError):
    status, code, title = 503, "too_many_streams", "Too many requests are waiting"


class ServerDown(ConsoleError):
    status, code, title = 503, "unreachable", "The detector's server does not answer"


class DatabaseDown(ConsoleError):
    status, code, title = 503, "database_down", "The console's database does not answer"


class DiskFull(ConsoleError):
    status, code, title = 507, "disk_full", "No room for another file"
