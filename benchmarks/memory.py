"""Memory of a server's processes: what they allocated and what they share in /dev/shm, each shared page counted once over all of them.

Pages of files (libraries, graphs) are left out: they are cache, and their proportional share changes when any other process that maps the
same file starts or ends.
"""

from collections.abc import Iterable
from pathlib import Path


def resident_bytes(pids: Iterable[int]) -> int:
    """Proportional set size of the processes together: anonymous memory and segments of /dev/shm.

    Processes that ended in the meantime count nothing.
    """
    return sum(_pss(pid) for pid in pids)


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
