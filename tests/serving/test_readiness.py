"""What is asked of a server over HTTP, where there is none any more."""

import socket

import pytest

from serving.errors import StartFailed
from serving.readiness import check_profile


def test_a_server_that_went_away_is_a_failed_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(StartFailed, match=rf"127\.0\.0\.1:{port} was ready, but did not answer"):
        check_profile(f"http://127.0.0.1:{port}", "cpu", "key")
