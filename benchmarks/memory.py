"""Memory of a server's processes: proportional share (PSS), in which each shared page counts once over all of them."""

from collections.abc import Iterable
from pathlib import Path


def resident_bytes(pids: Iterable[int]) -> int:
    """Proportional set size of the processes together, segments of /dev/shm that they map included.

    Processes that ended in the meantime count nothing.
    """
    return sum(_pss(pid) for pid in pids)


def _pss(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0
