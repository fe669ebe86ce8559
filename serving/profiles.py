"""Which of a model's configurations this machine can run: ``reference``, ``cpu`` or ``gpu``.

``reference`` is ``config.pbtxt`` itself; the others are ``configs/<profile>.pbtxt`` of every model.
"""

import importlib.util
import platform
from pathlib import Path
from typing import Literal

from serving.errors import ProfileUnavailable
from serving.settings import ProfileChoice

Profile = Literal["reference", "cpu", "gpu"]
PROFILES: tuple[Profile, ...] = ("gpu", "cpu", "reference")
"""Fastest first: the order in which ``auto`` tries them."""


def why_not(profile: Profile) -> str | None:
    """None where the profile can run here, else the reason and the remedy."""
    if profile == "cpu":
        if platform.machine().lower() not in ("x86_64", "amd64"):
            return f"it is for x86-64 processors, this one is {platform.machine()}; use the profile reference"
        if importlib.util.find_spec("openvino") is None:
            return "openvino is not installed; install it with `pip install 'unmask[serve]'`"
        return None
    if importlib.util.find_spec("onnxruntime") is None:
        return "onnxruntime is not installed; install it with `pip install 'unmask[serve]'`"
    if profile == "gpu":
        import onnxruntime

        if not {"CUDAExecutionProvider", "TensorrtExecutionProvider"} & set(onnxruntime.get_available_providers()):
            return "this onnxruntime has no CUDA; install onnxruntime-gpu beside an NVIDIA driver"
        if not Path("/dev/nvidiactl").exists():
            return "no NVIDIA driver is loaded (/dev/nvidiactl is missing)"
    return None


def pick(choice: ProfileChoice) -> Profile:
    """The profile to start.

    Raises:
        ProfileUnavailable: It cannot run here, or none can.
    """
    if choice != "auto":
        if reason := why_not(choice):
            raise ProfileUnavailable(f"the profile {choice} cannot run here: {reason}")
        return choice
    reasons = {profile: why_not(profile) for profile in PROFILES}
    for profile, reason in reasons.items():
        if reason is None:
            return profile
    raise ProfileUnavailable("no profile can run here: " + "; ".join(f"{profile}: {why}" for profile, why in reasons.items()))
