#!/bin/sh
# Installs the shared libraries that the wheels expect from the system, where they are missing (Debian, Ubuntu).
# Usage: system-packages.sh PYTHON
set -eu
python=${1:-python3}
missing=$("$python" - <<'PY'
import ctypes, sys, sysconfig
minor = f"{sys.version_info.major}.{sys.version_info.minor}"
needed = {
    "libGL.so.1": "libgl1", "libEGL.so.1": "libegl1", "libGLESv2.so.2": "libgles2", "libglib-2.0.so.0": "libglib2.0-0",
    f"libpython{minor}.so.1.0": f"libpython{minor}",
}
for name, package in needed.items():
    for candidate in (name, f"{sysconfig.get_config_var('LIBDIR')}/{name}"):
        try:
            ctypes.CDLL(candidate)
            break
        except OSError:
            continue
    else:
        print(package)
PY
)
[ -z "$missing" ] && exit 0
missing=$(echo "$missing" | tr '\n' ' ')
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "installing $missing"
    apt-get update -qq
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $missing
else
    echo "shared libraries are missing; as root: apt-get install $missing" >&2
    exit 1
fi
