"""Asks a Triton over HTTP whether every model is ready and runs the profile that was asked for.

Triton falls back to ``config.pbtxt`` without a word where ``configs/<profile>.pbtxt`` is missing, so readiness alone says little:
every configuration carries a ``profile`` parameter, and the live one is read back.
"""

import json
import urllib.error
import urllib.request
from typing import Any

from serving.errors import ProfileMismatch

_CALL_TIMEOUT_S = 5.0
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _call(url: str, *, method: str = "GET") -> Any:
    request = urllib.request.Request(url, method=method, data=b"" if method == "POST" else None)
    with _opener.open(request, timeout=_CALL_TIMEOUT_S) as response:
        body = response.read()
    return json.loads(body) if body else None


def is_ready(http_url: str) -> bool:
    """True when the server and every loaded model are ready."""
    try:
        _call(f"{http_url}/v2/health/ready")
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return True


def loaded_models(http_url: str) -> dict[str, str]:
    """State of each model of the repository by name, such as ``READY``; an empty state means never loaded."""
    index = _call(f"{http_url}/v2/repository/index", method="POST")
    return {entry["name"]: entry.get("state", "") for entry in index}


def live_config(http_url: str, model: str) -> dict[str, Any]:
    """The configuration that a model runs with, as Triton's JSON."""
    config = _call(f"{http_url}/v2/models/{model}/config")
    assert isinstance(config, dict)
    return config


def check_profile(http_url: str, profile: str) -> None:
    """Every ready model must run ``profile``.

    Raises:
        ProfileMismatch: A model runs another one; the message names it.
    """
    wrong = []
    for model, state in loaded_models(http_url).items():
        if state != "READY":
            continue
        live = live_config(http_url, model).get("parameters", {}).get("profile", {}).get("string_value", "none")
        if live != profile:
            wrong.append(f"{model} runs {live}")
    if wrong:
        raise ProfileMismatch(
            f"the profile {profile} was asked for, but {', '.join(wrong)}: configs/{profile}.pbtxt is missing or names another profile; "
            "build the repository again with `unmask export`"
        )
