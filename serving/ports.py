"""Ports: free ones where 0 was asked for, and a clear error where somebody else listens."""

import errno
import socket

from serving.errors import PortInUse


def reserve(host: str, ports: dict[str, int]) -> dict[str, int]:
    """Resolves each port by binding it for a moment.

    All are held together, so that two zeros never become the same port.

    Raises:
        PortInUse: A port cannot be bound; the message names it and its setting.
    """
    held: list[socket.socket] = []
    resolved: dict[str, int] = {}
    try:
        for name, port in ports.items():
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            probe = socket.socket(family, socket.SOCK_STREAM)
            held.append(probe)
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise PortInUse(
                        f"{name} port {port} on {host} is in use; end what listens there, or choose another with --{name}-port "
                        "(0 takes a free one)"
                    ) from None
                raise PortInUse(f"cannot listen on {host} port {port} ({name}): {error.strerror}") from None
            resolved[name] = probe.getsockname()[1]
    finally:
        for probe in held:
            probe.close()
    return resolved
