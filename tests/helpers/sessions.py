"""Programs that start processes of their own: run apart, and none of them may be left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]


def run_apart(*words: str, timeout: float = 240) -> str:
    """What `python *words` prints, in a session of its own and at the root of the checkout.

    Fails if it fails, if it takes longer, and if one of its processes lives on for 20 seconds. Ray
    and Flower's engine run here and not in the process of the tests: if ray does not start, the
    engine waits for an hour, and both change the environment, warnings and logging around them.
    """
    run = subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = run.communicate(timeout=timeout)
        deadline = time.monotonic() + 20
        while _living(run.pid) and time.monotonic() < deadline:
            time.sleep(0.2)
        left = [process.name() for process in _living(run.pid)]
    finally:
        for process in _living(run.pid):
            process.send_signal(signal.SIGKILL)
    assert run.returncode == 0, printed[-4000:]
    assert left == []
    return printed


def _living(session: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["status"]):
        try:
            ours = os.getsid(process.pid) == session
        except ProcessLookupError:
            continue
        if ours and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found
