"""Reads checkpoint files: which container it is, safely, and whole or not at all.

The container is told by its first bytes, never by the file's name. Pickles are loaded with ``weights_only``, so that a file can
hold tensors and plain values and nothing that runs.
"""

import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from export.errors import UnreadableCheckpoint

MAX_BYTES = 4 * 2**30
"""Larger files are refused before they are read; the reference layout has 226.5 MB."""
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
"""Keys under which training scripts put the state_dict; the reference's own are bare."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Tensors by name, in float32, without a ``module.`` prefix, and the text metadata of a safetensors file."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a ``.pt`` (zip or legacy pickle) or a safetensors file.

    Raises:
        UnreadableCheckpoint: Not there, truncated, too large, none of these formats, or a pickle of more than plain values.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise UnreadableCheckpoint(f"{path} cannot be read: {error.strerror}") from error
    if size > MAX_BYTES:
        raise UnreadableCheckpoint(f"{path} has {size} bytes; the limit is {MAX_BYTES}; is this a checkpoint?")
    metadata: dict[str, str] = {}
    if head.startswith(_ZIP) or head.startswith(_PICKLE):
        content = _load_pickle(path)
    elif _is_safetensors(head, size):
        content, metadata = _load_safetensors(path)
    else:
        raise UnreadableCheckpoint(
            f"{path} is no checkpoint: it begins with {head[:8]!r}, and neither torch.save nor safetensors writes that"
        )
    return Checkpoint(path=path, tensors=_normalised(path, _unwrapped(path, content)), metadata=metadata)


def _load_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0] if str(error) else "it is damaged"
        if "GLOBAL" in str(error) or "weights_only" in str(error).lower() or "WeightsUnpickler" in str(error):
            found = _global_name(str(error))
            raise UnreadableCheckpoint(
                f"{path} is a pickle that holds more than tensors{found}; loading it would run its code, so it is refused. "
                "Save model.state_dict() alone with torch.save and export that file"
            ) from error
        raise UnreadableCheckpoint(f"{path} is damaged: {reason}; copy or download it again") from error
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError, OSError) as error:
        # What torch raises on damaged bytes depends on where they are cut.
        first = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
        raise UnreadableCheckpoint(f"{path} is truncated or damaged: {first}; copy or download it again") from error


def _global_name(message: str) -> str:
    """The class or function that the pickle wanted, from torch's message."""
    for marker in ("Unsupported global: GLOBAL ", "Trying to load unsupported GLOBAL ", "Unsupported class "):
        if marker in message:
            return f" ({message.split(marker, 1)[1].split()[0].rstrip('.')})"
    return ""


def _is_safetensors(head: bytes, size: int) -> bool:
    # Eight bytes of length, then a JSON object.
    return len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= size - 8


def _load_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118 - no mapping
    except (SafetensorError, ValueError, OSError) as error:
        raise UnreadableCheckpoint(f"{path} is truncated or damaged: {error}; copy or download it again") from error


def _unwrapped(path: Path, content: Any) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise UnreadableCheckpoint(f"{path} holds a {type(content).__name__}; a state_dict is a mapping of names to tensors")
    for wrapper in _WRAPPERS:
        inner = content.get(wrapper)
        if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
            return inner
    return content


def _normalised(path: Path, content: Mapping[str, Any]) -> dict[str, Tensor]:
    strangers = [str(name) for name, value in content.items() if not isinstance(name, str) or not isinstance(value, Tensor)]
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if not tensors:
        raise UnreadableCheckpoint(f"{path} holds no tensors, only {', '.join(strangers[:8]) or 'nothing'}; save a state_dict")
    if strangers:
        raise UnreadableCheckpoint(
            f"{path} mixes tensors with other values ({', '.join(strangers[:8])}); save model.state_dict() alone, or wrapped "
            f"as one of {', '.join(_WRAPPERS)}"
        )
    # nn.DataParallel puts `module.` before every name.
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    _require_plain(path, tensors)
    broken = [name for name, value in tensors.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if broken:
        raise UnreadableCheckpoint(f"{path} has NaN or infinite values in {', '.join(broken[:8])}; these weights are broken")
    return OrderedDict(
        (name, value.detach().to(torch.float32) if value.is_floating_point() else value) for name, value in tensors.items()
    )


def _require_plain(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Weights are dense numbers that are all in the file. A few bytes can claim to be a tensor of any size."""
    strange = [
        f"{name} ({'meta' if value.is_meta else str(value.layout).removeprefix('torch.')} {str(value.dtype).removeprefix('torch.')})"
        for name, value in tensors.items()
        if value.is_meta
        or value.layout != torch.strided
        or value.is_quantized
        or (value.dtype not in _FLOATS and not name.endswith("num_batches_tracked"))
    ]
    if strange:
        raise UnreadableCheckpoint(
            f"{path} holds tensors that are no plain floating-point weights: {', '.join(strange[:8])}; save the state_dict of the model "
            "in float32, float16 or bfloat16, before it is quantised or compressed"
        )
    claimed = sum(value.numel() for value in tensors.values()) * 4
    if claimed > MAX_BYTES:
        raise UnreadableCheckpoint(
            f"{path} claims tensors of {claimed} bytes in float32; the limit is {MAX_BYTES}; is this a checkpoint?"
        )
