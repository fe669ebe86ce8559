"""Facts about the machine and the software, for the head of each result file."""

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = """numpy onnxruntime onnxruntime-gpu openvino torch nvidia-pytriton tritonclient grpcio mediapipe av
opencv-contrib-python face-recognition dlib-bin unmask""".split()
_FLAGS = "avx2 avx512f avx_vnni avx512_vnni avx512_bf16 avx512_fp16 amx_bf16 amx_int8 asimd i8mm bf16 sve".split()


def machine_facts() -> dict[str, Any]:
    """Processor, cores, memory, system. No host name: it says nothing about speed."""
    facts = _cpu_facts()
    return {
        "processor": facts.get("model name") or facts.get("CPU part") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "flags": [flag for flag in _FLAGS if flag in f" {facts.get('flags', facts.get('Features', ''))} ".split()],
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "gpus": _gpus(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of what computes."""
    found = {"python": sys.version.split()[0]}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpu_facts() -> dict[str, str]:
    facts: dict[str, str] = {}
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return facts
    for line in lines:
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    return facts


def _gpus() -> list[str]:
    names = []
    for path in Path("/proc/driver/nvidia/gpus").glob("*/information"):
        for line in path.read_text().splitlines():
            if line.startswith("Model:"):
                names.append(line.partition(":")[2].strip())
    return names
