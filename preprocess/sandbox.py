"""Landlock (Linux 5.13 and later): the kernel refuses this process every file and every TCP connection from here on.

What is open stays open, and descriptors that come over a socket may be read. Only this thread and those that it starts
later are bound, so it is called before any thread that looks at hostile bytes is started. See landlock(7).
"""

import ctypes
import logging
import os
import sys

logger = logging.getLogger(__name__)

_CREATE_RULESET, _RESTRICT_SELF = 444, 446  # the same numbers on every architecture
_CREATE_RULESET_VERSION = 1
_PR_SET_NO_NEW_PRIVS = 38
_FILE_RIGHTS_BY_ABI = {1: 13, 2: 14, 3: 15, 5: 16}
"""ABI version from which so many of the lowest bits of handled_access_fs are known."""
_TCP_FROM_ABI, _TCP_RIGHTS = 4, 0b11
_SCOPES_FROM_ABI, _SCOPES = 6, 0b11


def shut_off() -> int:
    """Gives up the right to open files and connections, for good.

    Returns:
        The kernel's Landlock version, or 0 where it has none and nothing was given up.
    """
    if not sys.platform.startswith("linux"):
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    abi = int(libc.syscall(ctypes.c_long(_CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint32(_CREATE_RULESET_VERSION)))
    if abi < 1:
        logger.debug("the kernel has no Landlock: %s", os.strerror(ctypes.get_errno()))
        return 0
    rights = max(count for since, count in _FILE_RIGHTS_BY_ABI.items() if since <= abi)
    attributes = (ctypes.c_uint64 * 3)(
        (1 << rights) - 1, _TCP_RIGHTS if abi >= _TCP_FROM_ABI else 0, _SCOPES if abi >= _SCOPES_FROM_ABI else 0
    )
    size = 8 * (3 if abi >= _SCOPES_FROM_ABI else 2 if abi >= _TCP_FROM_ABI else 1)
    ruleset = int(
        libc.syscall(ctypes.c_long(_CREATE_RULESET), ctypes.byref(attributes), ctypes.c_size_t(size), ctypes.c_uint32(0))
    )
    if ruleset < 0:
        logger.debug("no Landlock ruleset: %s", os.strerror(ctypes.get_errno()))
        return 0
    try:
        # Without rules nothing is allowed. An unprivileged process has to give up gaining privileges first.
        bound = (
            libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            and libc.syscall(ctypes.c_long(_RESTRICT_SELF), ctypes.c_int(ruleset), ctypes.c_uint32(0)) == 0
        )
    finally:
        os.close(ruleset)
    if not bound:
        logger.debug("Landlock could not be entered: %s", os.strerror(ctypes.get_errno()))
    return abi if bound else 0
