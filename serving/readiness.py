"""Talks to a Triton over HTTP about its models: are they ready, which profile do they run, and please take no more requests.

Triton falls back to ``config.pbtxt`` without a word where ``configs/<profile>.pbtxt`` is missing, so readiness alone says little:
every configuration carries a ``profile`` parameter, and the live one is read back.
"""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from serving.errors import ProfileMismatch, StartFailed

_CALL_TIMEOUT_S = 5.0
_POLL_S = 0.05
ADMIN_HEADER = "unmask-admin-key"
"""Header that opens the model-repository API (index, load, unload); gRPC puts ``triton-grpc-protocol-`` before it."""
_SERVING = ("READY", "UNLOADING")
"""States in which a model may still have requests in flight."""
_NO_ANSWER = (OSError, http.client.HTTPException)
"""What urllib raises where a server is gone, slow or breaks off; URLError and TimeoutError are OSErrors."""
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _call(url: str, *, method: str = "GET", admin_key: str = "") -> Any:
    headers = {ADMIN_HEADER: admin_key} if admin_key else {}
    request = urllib.request.Request(url, method=method, data=b"" if method == "POST" else None, headers=headers)
    with _opener.open(request, timeout=_CALL_TIMEOUT_S) as response:
        body = response.read()
    return json.loads(body) if body else None


def is_ready(http_url: str) -> bool:
    """True when the server and every loaded model are ready."""
    try:
        _call(f"{http_url}/v2/health/ready")
    except _NO_ANSWER:
        return False
    return True


def loaded_models(http_url: str, admin_key: str) -> dict[str, str]:
    """State of each model of the repository by name, such as ``READY``; an empty state means never loaded.

    Of a model with several versions it is the liveliest: READY, then UNLOADING.
    """
    index = _call(f"{http_url}/v2/repository/index", method="POST", admin_key=admin_key)
    states: dict[str, str] = {}
    for entry in index:
        name, state = entry["name"], entry.get("state", "")
        if state == "READY" or states.get(name) not in _SERVING:
            states[name] = state
    return states


def live_config(http_url: str, model: str) -> dict[str, Any]:
    """The configuration that a model runs with, as Triton's JSON."""
    config = _call(f"{http_url}/v2/models/{model}/config")
    assert isinstance(config, dict)
    return config


def check_profile(http_url: str, profile: str, admin_key: str) -> None:
    """Every ready model must run ``profile``.

    Raises:
        ProfileMismatch: A model runs another one; the message names it.
        StartFailed: The server went away meanwhile.
    """
    try:
        wrong = _other_profiles(http_url, profile, admin_key)
    except _NO_ANSWER as error:
        raise StartFailed(
            f"Triton at {http_url} was ready, but did not answer when it was asked for its profile ({error}); start it again"
        ) from error
    if wrong:
        raise ProfileMismatch(
            f"the profile {profile} was asked for, but {', '.join(wrong)}: configs/{profile}.pbtxt is missing or names another profile; "
            "build the repository again with `unmask export`"
        )


def _other_profiles(http_url: str, profile: str, admin_key: str) -> list[str]:
    wrong = []
    for model, state in loaded_models(http_url, admin_key).items():
        if state != "READY":
            continue
        live = live_config(http_url, model).get("parameters", {}).get("profile", {}).get("string_value", "none")
        if live != profile:
            wrong.append(f"{model} runs {live}")
    return wrong


def drain(http_url: str, timeout_s: float, admin_key: str, *, hopeless: Callable[[], bool] = lambda: False) -> bool:
    """Takes every model out of service, ensembles first, and waits until the requests in flight are answered.

    On SIGTERM alone, Triton closes the schedulers of the composing models at once, and an ensemble between two steps fails with
    UNAVAILABLE. Unloading the ensembles first lets them finish; new requests are refused (NOT_FOUND: unknown model) all the while.
    A busy server may be slow to answer about its models; it is asked again until the time is up.

    Args:
        http_url: Address of the server.
        timeout_s: Longest wait.
        admin_key: Opens the model-repository API.
        hopeless: Asked now and then; true when nothing that is in flight can be answered any more.

    Returns:
        True when nothing was left in flight, False when the timeout ended the wait, nothing was to be hoped for or the server is gone.
    """
    deadline = time.monotonic() + timeout_s
    ensembles: set[str] | None = None
    while time.monotonic() < deadline and not hopeless():
        try:
            states = loaded_models(http_url, admin_key)
            serving = {model for model, state in states.items() if state in _SERVING}
            if not serving:
                return True
            if ensembles is None:
                # One that somebody unloads already has no configuration to read any more; waiting for it first is right in any case.
                ensembles = {
                    model
                    for model in serving
                    if states[model] == "UNLOADING" or "ensemble_scheduling" in live_config(http_url, model)
                }
            for model in serving & ensembles or serving:
                if states[model] == "READY":
                    _call(f"{http_url}/v2/repository/models/{model}/unload", method="POST", admin_key=admin_key)
        except urllib.error.HTTPError:
            pass  # somebody else unloads models, too: what the index said was true a moment before
        except _NO_ANSWER as error:
            if not isinstance(getattr(error, "reason", error), TimeoutError):
                return False
        time.sleep(_POLL_S)
    return False
