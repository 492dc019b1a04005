"""Runs a script, or `-m MODULE`, until it ends or its parent is gone.

A parent that is killed cannot end what it started. Its end of a pipe is closed then,
of which this process has the other end as its stdin.
"""

import os
import runpy
import sys
import threading


def main(command: list[str]) -> None:
    threading.Thread(target=_wait_for_parent, daemon=True).start()
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")


def _wait_for_parent() -> None:
    os.read(0, 1)  # nobody writes
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
