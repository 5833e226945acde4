"""A worker that fails in each way a worker can, to test its supervisor."""

from __future__ import annotations

import argparse
import os
import signal
import time

from .supervise import add_worker_options, run_worker


def _case(index: int) -> str:
    if index == 2:
        raise ZeroDivisionError("on purpose")
    if index == 4:
        os.kill(os.getpid(), signal.SIGSEGV)
    if index == 6:
        time.sleep(60)
    return "fine"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    add_worker_options(parser)
    run_worker(parser.parse_args().worker, _case)
