"""Turns into the command it is given, after asking the kernel to end it together with its parent.

An engine that outlives its gateway would hold the machine's memory and cores. This runs in a process of
its own, so nothing has to happen between fork and exec in a gateway that has threads.

    python -m serve.engine.leash <parent's process id> <command> <arguments …>
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def main(arguments: Sequence[str]) -> int:
    """Bind to the parent, then become the command; returns only if the parent is gone already."""
    parent, command = int(arguments[0]), list(arguments[1:])
    # SIGTERM, not SIGKILL: the engine must get the chance to stop its own children.
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        return 1
    os.execvp(command[0], command)  # never returns; raises OSError when the command cannot run


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
