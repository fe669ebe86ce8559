"""KServe v2 over gRPC, with the messages of tritonclient and a request that is copied once on its way out."""

import re
import threading
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from client.endpoint import Endpoint, TlsOptions
from client.errors import BadResponse, ConnectionLost, ServerError, Unreachable, from_server
from client.settings import ClientSettings
from client.transport import INPUT, Deadline, InferAnswer, ModelDescription, ModelStatistics, datatype, latest, tensor

_SERVICE = "/inference.GRPCInferenceService/"
_RAW_INPUT_TAG = bytes([7 << 3 | 2])
"""Protobuf key of ``ModelInferRequest.raw_input_contents``: field 7, length-delimited."""
_UNLIMITED = 2**31 - 1
_NEVER_CONNECTED = re.compile(r"failed to connect|errors? resolving|name resolution|handshake", re.IGNORECASE)
_CONNECTION_BROKE = re.compile(
    r"socket closed|stream removed|goaway|rst_stream|connection reset|broken pipe|recvmsg|sendmsg|endpoint clos|transport clos"
    r"|connection (closed|timed out)|keepalive|channel (is )?clos",
    re.IGNORECASE,
)


class GrpcTransport:
    """One channel; gRPC makes it safe for threads. Do not carry it across a fork."""

    def __init__(self, endpoint: Endpoint, *, tls: TlsOptions | None, settings: ClientSettings) -> None:
        self._endpoint = endpoint
        self._url = endpoint.url
        self._options: list[tuple[str, Any]] = [
            ("grpc.max_send_message_length", _UNLIMITED),
            ("grpc.max_receive_message_length", settings.max_response_bytes),
            # Channels of one address share their connection and its back-off by default.
            ("grpc.use_local_subchannel_pool", 1),
            # By its name a back-off; in fact the time that a connection attempt is given.
            ("grpc.min_reconnect_backoff_ms", int(settings.connect_timeout_s * 1000)),
        ]
        self._credentials: grpc.ChannelCredentials | None = None
        if endpoint.secure:
            tls = tls or TlsOptions()
            if tls.server_name:
                self._options.append(("grpc.ssl_target_name_override", tls.server_name))
            self._credentials = grpc.ssl_channel_credentials(
                root_certificates=tls.root_certificates.read_bytes() if tls.root_certificates else None,
                private_key=tls.client_key.read_bytes() if tls.client_key else None,
                certificate_chain=tls.client_certificate.read_bytes() if tls.client_certificate else None,
            )
        self._lock = threading.Lock()
        self._closed = False
        self._stub = self._connect()

    def describe(self, detector: str, deadline: Deadline) -> ModelDescription:
        """See ``Transport``."""
        metadata = self._call("ModelMetadata", service_pb2.ModelMetadataRequest(name=detector), detector, deadline)
        version = latest(metadata.versions)
        config = self._config_of(detector, version, deadline)
        composing = {
            step.model_name: _parameters(self._config_of(step.model_name, "", deadline))
            for step in config.ensemble_scheduling.step
        }
        return ModelDescription(version=version, parameters=_parameters(config), composing=composing)

    def ready_models(self, deadline: Deadline) -> list[str]:
        """See ``Transport``."""
        index = self._call("RepositoryIndex", service_pb2.RepositoryIndexRequest(ready=True), "", deadline)
        return sorted({model.name for model in index.models})

    def infer(self, detector: str, frames: NDArray[np.uint8], deadline: Deadline) -> InferAnswer:
        """See ``Transport``."""
        response = self._call("ModelInfer", encode_request(detector, frames), detector, deadline)
        raws = response.raw_output_contents
        if len(raws) != len(response.outputs):
            raise BadResponse(f"{self._url} answered {len(response.outputs)} outputs with {len(raws)} raw contents; one each")
        outputs = {
            output.name: tensor(output.name, output.datatype, list(output.shape), raw, self._url)
            for output, raw in zip(response.outputs, raws, strict=True)
        }
        return InferAnswer(model_version=response.model_version, outputs=outputs)

    def statistics(self, deadline: Deadline) -> dict[str, ModelStatistics]:
        """See ``Transport``."""
        response = self._call("ModelStatistics", service_pb2.ModelStatisticsRequest(), "", deadline)
        result: dict[str, ModelStatistics] = {}
        for model in response.model_stats:
            stats = model.inference_stats
            result[model.name] = ModelStatistics(
                successes=stats.success.count,
                executions=model.execution_count,
                queue_ns=stats.queue.ns,
                compute_ns=stats.compute_input.ns + stats.compute_infer.ns + stats.compute_output.ns,
            )
        return result

    def close(self) -> None:
        """See ``Transport``."""
        with self._lock:
            self._closed = True
        self._stub.channel.close()

    def _config_of(self, model: str, version: str, deadline: Deadline) -> Any:
        request = service_pb2.ModelConfigRequest(name=model, version=version)
        return self._call("ModelConfig", request, model, deadline).config

    def _connect(self) -> "_Stub":
        target = self._endpoint.authority
        if self._credentials is None:
            return _Stub(grpc.insecure_channel(target, options=self._options))
        return _Stub(grpc.secure_channel(target, self._credentials, options=self._options))

    def _call(self, method: str, request: Any, detector: str, deadline: Deadline) -> Any:
        stub = self._stub
        used = stub.used
        try:
            return stub.call(method, request, deadline)
        except grpc.RpcError as error:
            # A channel that failed to connect refuses calls unheard until its back-off is over, for a server that is back
            # as well. A new one tries at once; nothing was sent, so nothing is sent twice.
            if not (used and error.code() is grpc.StatusCode.UNAVAILABLE and _NEVER_CONNECTED.search(error.details() or "")):
                raise self._typed(error, detector, deadline) from error
        except ValueError as error:  # grpc's word for a channel that was closed
            raise Unreachable(f"the connection to {self._url} is closed ({error}); make a new Detector") from error
        try:
            return self._replaced(stub).call(method, request, deadline)
        except grpc.RpcError as error:
            raise self._typed(error, detector, deadline) from error

    def _replaced(self, broken: "_Stub") -> "_Stub":
        # The old channel is not closed: a thread may still hold it, and it closes itself when the last one lets go.
        with self._lock:
            if self._closed:
                raise Unreachable(f"the connection to {self._url} is closed; make a new Detector")
            if self._stub is broken:
                self._stub = self._connect()
            return self._stub

    def _typed(self, error: Any, detector: str, deadline: Deadline) -> ServerError:
        status: grpc.StatusCode = error.code()
        details = error.details() or status.name
        if status is grpc.StatusCode.DEADLINE_EXCEEDED:
            return deadline.exceeded()
        if status is grpc.StatusCode.UNIMPLEMENTED:
            return BadResponse(f"{self._url} speaks gRPC but is no inference server: {details}; check host and port")
        if status is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
            return BadResponse(f"{self._url} answered more than UNMASK_CLIENT_MAX_RESPONSE_BYTES allows: {details}")
        # gRPC makes up UNAVAILABLE and INTERNAL itself for a broken connection, and servers send them too: only the text
        # tells who spoke.
        if _NEVER_CONNECTED.search(details):
            return Unreachable(
                f"no server can be reached at {self._url} ({details}); start one with `unmask serve`, "
                "or check host, port (gRPC: 8001), TLS and firewall"
            )
        if status is grpc.StatusCode.CANCELLED or _CONNECTION_BROKE.search(details):
            return ConnectionLost(f"{self._url} went away in mid-request ({details}); see the server's log, then send it again")
        return from_server(
            self._url,
            detector,
            details,
            unavailable=status in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED),
            failed=status in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS),
        )


class _Stub:
    """A channel with the methods that are used of it."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.used = False
        self._methods = {
            # Takes bytes: see encode_request.
            "ModelInfer": channel.unary_unary(
                _SERVICE + "ModelInfer", response_deserializer=service_pb2.ModelInferResponse.FromString
            )
        }
        for name in ("ModelMetadata", "ModelConfig", "ModelStatistics", "RepositoryIndex"):
            self._methods[name] = channel.unary_unary(
                _SERVICE + name,
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=getattr(service_pb2, f"{name}Response").FromString,
            )

    def call(self, method: str, request: Any, deadline: Deadline) -> Any:
        """Raises ``grpc.RpcError``, or ``ValueError`` where the channel is closed."""
        self.used = True
        return self._methods[method](request, timeout=deadline.remaining_s())


def encode_request(detector: str, frames: NDArray[np.uint8]) -> bytes:
    """A serialized ``ModelInferRequest``.

    A protobuf message is the concatenation of its fields, so the pixels are appended as they are: they are copied once,
    not three times (``tobytes``, into the message, out of the message).
    """
    head = service_pb2.ModelInferRequest(
        model_name=detector,
        inputs=[service_pb2.ModelInferRequest.InferInputTensor(name=INPUT, datatype=datatype(frames), shape=frames.shape)],
    )
    pixels = np.ascontiguousarray(frames)
    return b"".join((head.SerializeToString(), _RAW_INPUT_TAG, _varint(pixels.nbytes), pixels.data))


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _parameters(config: Any) -> dict[str, str]:
    return {key: value.string_value for key, value in config.parameters.items()}
