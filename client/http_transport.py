"""KServe v2 over HTTP/1.1 with Triton's binary tensor extension, on the standard library.

tritonclient's HTTP client belongs to one thread (gevent) and its time-outs count from the last byte; this one is shared
between threads, keeps its connections, holds the whole request to one deadline, and sends pixels without copying them.
"""

import http.client
import json
import socket
import ssl
import threading
from typing import Any, cast
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from client.deadline_socket import DeadlineSocket
from client.endpoint import Endpoint, TlsOptions
from client.errors import BadResponse, ConnectionLost, DeadlineExceeded, Unreachable, from_server
from client.settings import ClientSettings
from client.transport import INPUT, Deadline, InferAnswer, ModelDescription, ModelStatistics, datatype, latest, tensor

_HEADER_LENGTH = "Inference-Header-Content-Length"


class HttpTransport:
    """A pool of kept-alive connections, one taken by each request that is under way."""

    def __init__(self, endpoint: Endpoint, *, tls: TlsOptions | None, settings: ClientSettings) -> None:
        self._endpoint = endpoint
        self._url = endpoint.url
        self._settings = settings
        self._server_name = endpoint.host
        self._context: ssl.SSLContext | None = None
        if endpoint.secure:
            tls = tls or TlsOptions()
            self._server_name = tls.server_name or endpoint.host
            self._context = ssl.create_default_context(cafile=str(tls.root_certificates) if tls.root_certificates else None)
            if tls.client_certificate:
                self._context.load_cert_chain(tls.client_certificate, tls.client_key)
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self._closed = False

    def describe(self, detector: str, deadline: Deadline) -> ModelDescription:
        """See ``Transport``."""
        versions = self._json("GET", _model_path(detector), detector, deadline).get("versions", [])
        version = latest(str(item) for item in versions)
        config = self._config_of(detector, version, deadline)
        steps = (config.get("ensemble_scheduling") or {}).get("step", [])
        composing = {step["model_name"]: _parameters(self._config_of(step["model_name"], "", deadline)) for step in steps}
        return ModelDescription(version=version, parameters=_parameters(config), composing=composing)

    def ready_models(self, deadline: Deadline) -> list[str]:
        """See ``Transport``."""
        _, body = self._request("POST", "/v2/repository/index", "", deadline, [b'{"ready": true}'], {})
        try:
            return sorted({str(entry["name"]) for entry in json.loads(body)})
        except (ValueError, KeyError, TypeError) as error:
            raise BadResponse(f"{self._url} answered an unreadable list of models ({error!r}); is it Triton?") from None

    def infer(self, detector: str, frames: NDArray[np.uint8], deadline: Deadline) -> InferAnswer:
        """See ``Transport``."""
        pixels = np.ascontiguousarray(frames)
        tensor_json = {
            "name": INPUT,
            "shape": list(frames.shape),
            "datatype": datatype(frames),
            "parameters": {"binary_data_size": pixels.nbytes},
        }
        head = json.dumps({"inputs": [tensor_json], "parameters": {"binary_data_output": True}}).encode()
        body = [head, pixels.data.cast("B")] if pixels.nbytes else [head]
        headers, answer = self._request(
            "POST", f"{_model_path(detector)}/infer", detector, deadline, body, {_HEADER_LENGTH: str(len(head))}
        )
        return self._read_answer(headers, answer)

    def statistics(self, deadline: Deadline) -> dict[str, ModelStatistics]:
        """See ``Transport``."""
        stats = self._json("GET", "/v2/models/stats", "", deadline).get("model_stats", [])
        return {model["name"]: _statistics(model) for model in stats}

    def close(self) -> None:
        """See ``Transport``."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _config_of(self, model: str, version: str, deadline: Deadline) -> dict[str, Any]:
        path = _model_path(model) + (f"/versions/{quote(version, safe='')}" if version else "")
        return self._json("GET", f"{path}/config", model, deadline)

    def _json(self, method: str, path: str, detector: str, deadline: Deadline) -> dict[str, Any]:
        _, body = self._request(method, path, detector, deadline, [], {})
        return self._parse(body)

    def _parse(self, text: bytes | memoryview) -> dict[str, Any]:
        try:
            value = json.loads(bytes(text))
        except ValueError as error:
            raise BadResponse(f"{self._url} answered no JSON ({error}); is it Triton's HTTP port (8000)?") from None
        if not isinstance(value, dict):
            raise BadResponse(f"{self._url} answered {type(value).__name__} where an object belongs; is it Triton's HTTP port?")
        return value

    def _read_answer(self, headers: http.client.HTTPMessage, body: bytes) -> InferAnswer:
        length = headers.get(_HEADER_LENGTH, "")
        if not length.isdigit() or int(length) > len(body):
            raise BadResponse(
                f"{self._url} answered {_HEADER_LENGTH} {length!r} with {len(body)} bytes; it must lie within them"
            )
        view = memoryview(body)
        answer = self._parse(view[: int(length)])
        position = int(length)
        outputs: dict[str, NDArray[np.float32]] = {}
        try:
            for output in answer["outputs"]:
                size = int(output["parameters"]["binary_data_size"])
                name, shape = str(output["name"]), [int(item) for item in output["shape"]]
                outputs[name] = tensor(name, output["datatype"], shape, view[position : position + size], self._url)
                position += size
            return InferAnswer(model_version=str(answer["model_version"]), outputs=outputs)
        except (KeyError, TypeError, ValueError) as error:
            raise BadResponse(f"{self._url} answered an unreadable inference header ({error!r}); is it Triton?") from None

    def _request(
        self, method: str, path: str, detector: str, deadline: Deadline, body: list[Any], headers: dict[str, str]
    ) -> tuple[http.client.HTTPMessage, bytes]:
        """One exchange."""
        connection = self._take(deadline)
        done = False
        try:
            status, answer_headers, answer = self._exchange(connection, method, path, body, headers)
            done = answer_headers.get("Connection", "").lower() != "close"
        except http.client.IncompleteRead as error:
            raise ConnectionLost(f"{self._url} broke off in mid-answer ({error}); send it again") from error
        except OSError as error:  # RemoteDisconnected among them
            raise ConnectionLost(
                f"{self._url} went away in mid-request ({error}); see the server's log, then send it again"
            ) from error
        except (http.client.HTTPException, ValueError) as error:
            raise BadResponse(f"{self._url} does not speak HTTP ({error!r}); is it Triton's HTTP port (8000)?") from error
        finally:
            self._give_back(connection, keep=done)
        if status != http.client.OK:
            raise self._refusal(status, answer, detector)
        return answer_headers, answer

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: list[Any], headers: dict[str, str]
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection.putrequest(method, self._endpoint.base_path + path, skip_accept_encoding=True)
        if body:
            connection.putheader("Content-Length", str(sum(len(part) for part in body)))
        for name, value in headers.items():
            connection.putheader(name, value)
        try:
            connection.endheaders()
            for part in body:
                connection.send(part)
        except BrokenPipeError:
            # A server may refuse before it has read everything; what it said is still there to be read.
            pass
        response = connection.getresponse()
        limit = self._settings.max_response_bytes
        answer = response.read(limit + 1)
        if len(answer) > limit:
            raise BadResponse(f"{self._url} answered more than {limit} bytes; UNMASK_CLIENT_MAX_RESPONSE_BYTES sets the limit")
        if response.length:  # read(n) is silent about a body that ends early
            raise http.client.IncompleteRead(answer, response.length)
        return response.status, response.headers, answer

    def _refusal(self, status: int, body: bytes, detector: str) -> Exception:
        try:
            message = str(json.loads(body)["error"])
        except (ValueError, KeyError, TypeError):
            message = body[:200].decode("utf-8", "replace").strip() or http.client.responses.get(status, "")
            if status == http.client.NOT_FOUND:
                return BadResponse(f"{self._url} answered 404 ({message}); is it Triton's HTTP port (8000)?")
        busy = status in (http.client.SERVICE_UNAVAILABLE, http.client.TOO_MANY_REQUESTS)
        return from_server(
            self._url, detector, f"{message} (HTTP {status})", unavailable=busy, failed=status >= 500 and not busy
        )

    def _take(self, deadline: Deadline) -> http.client.HTTPConnection:
        while True:
            with self._lock:
                if self._closed:
                    raise Unreachable(f"the connection to {self._url} is closed; make a new Detector")
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._connect(deadline)
            sock = cast(DeadlineSocket, connection.sock)
            if not sock.dropped():
                sock.deadline = deadline
                return connection
            connection.close()

    def _give_back(self, connection: http.client.HTTPConnection, *, keep: bool) -> None:
        with self._lock:
            keep = keep and not self._closed and connection.sock is not None
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()

    def _connect(self, deadline: Deadline) -> http.client.HTTPConnection:
        limit_s = min(self._settings.connect_timeout_s, deadline.remaining_s())
        try:
            sock = socket.create_connection((self._endpoint.host, self._endpoint.port), timeout=limit_s)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_hostname=self._server_name)
        except DeadlineExceeded:
            raise
        except OSError as error:
            raise Unreachable(
                f"no server can be reached at {self._url} ({error}, given {limit_s:g} s); start one with `unmask serve`, "
                "or check host, port (HTTP: 8000), TLS and firewall"
            ) from error
        connection = http.client.HTTPConnection(self._endpoint.host, self._endpoint.port)
        connection.sock = DeadlineSocket(sock, deadline)
        return connection


def _model_path(model: str) -> str:
    return f"/v2/models/{quote(model, safe='')}"


def _parameters(config: dict[str, Any]) -> dict[str, str]:
    return {key: str(value.get("string_value", "")) for key, value in (config.get("parameters") or {}).items()}


def _statistics(model: dict[str, Any]) -> ModelStatistics:
    stats = model["inference_stats"]
    return ModelStatistics(
        successes=int(stats["success"]["count"]),
        executions=int(model["execution_count"]),
        queue_ns=int(stats["queue"]["ns"]),
        compute_ns=sum(int(stats[part]["ns"]) for part in ("compute_input", "compute_infer", "compute_output")),
    )
