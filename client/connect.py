"""Which transport an address asks for; apart from ``transport``, which both of them import."""

from client.endpoint import Endpoint, TlsOptions
from client.settings import ClientSettings
from client.transport import Transport


def connect(endpoint: Endpoint, *, tls: TlsOptions | None, settings: ClientSettings) -> Transport:
    """The transport for an address. Nothing is sent yet."""
    if endpoint.protocol == "grpc":
        from client.grpc_transport import GrpcTransport

        return GrpcTransport(endpoint, tls=tls, settings=settings)
    from client.http_transport import HttpTransport

    return HttpTransport(endpoint, tls=tls, settings=settings)
