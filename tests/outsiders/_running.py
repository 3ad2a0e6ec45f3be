"""Starts a real `citycode up` for the scripts in this folder, and calls its command line."""

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.request

BINARY = os.environ["CITYCODE_BIN"]
ELDER = "11010519491231002X"  # printed in GB 11643


@contextlib.contextmanager
def running(out):
    """Yields the URL of a system whose data folder is `out`/data; the system stops at the end of the block."""
    env = {**os.environ, "HOME": str(out), "XDG_STATE_HOME": str(out / "state")}
    command = [BINARY, "up", "--listen", "127.0.0.1:0", "--data", str(out / "data")]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    try:
        yield server.stdout.readline().removeprefix("ready ").strip()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)


def citycode(out, url, *args):
    """Runs a command and returns its output, parsed as JSON."""
    command = [BINARY, *args, "--server", url, "--token-file", str(out / "data/admin.token"), "--output", "json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def fetch(url, accept="application/json"):
    """Returns the bytes at a public URL."""
    request = urllib.request.Request(url, headers={"accept": accept})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


def eventually(what, look, seconds=60):
    """Repeats `look` until it returns a value: status lists are built every ten seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found is not None:
            return found
        time.sleep(0.2)
    raise TimeoutError(f"{what}: not within {seconds} s")
