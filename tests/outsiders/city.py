"""Strangers read what a real `citycode up` gives out.

Issues a code over the command line, writes its picture and its print sheet, and lets Debian's `zbarimg` and PyPI's
`zxing-cpp` read both (the sheet rendered at 150 dpi) to the very token; then PyPI's `cwt` and `pycose` check the
token with the key from `GET /api/v1/keys`.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import urllib.request

BINARY = os.environ["CITYCODE_BIN"]
OUT = pathlib.Path(sys.argv[1]).resolve()
ROOT = pathlib.Path(__file__).resolve().parents[2]
ELDER = "11010519491231002X"  # printed in GB 11643


def citycode(*args, server):
    command = [BINARY, *args, "--server", server, "--token-file", str(OUT / "data/admin.token"), "--output", "json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def main():
    env = {**os.environ, "HOME": str(OUT), "XDG_STATE_HOME": str(OUT / "state")}
    command = [BINARY, "up", "--listen", "127.0.0.1:0", "--data", str(OUT / "data")]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    try:
        url = server.stdout.readline().removeprefix("ready ").strip()
        citycode("register", "--id-number", ELDER, "--name", "张小三", "--channel", "kiosk", server=url)
        common = ["--kind", "offline", "--id-number", ELDER]
        code = citycode("issue", *common, "--channel", "kiosk", "--out", str(OUT / "code.png"), server=url)
        citycode("reprint", *common, "--channel", "pc", "--out", str(OUT / "sheet.pdf"), server=url)
        (OUT / "token.txt").write_text(code["token"])
        (OUT / "code.json").write_text(json.dumps(code))
        with urllib.request.urlopen(f"{url}/api/v1/keys") as answer:
            (OUT / "keys.json").write_bytes(answer.read())
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)
    subprocess.run(
        [sys.executable, ROOT / "crates/qr/tests/outsiders.py", OUT / "token.txt", OUT / "code.png", OUT / "sheet.pdf"],
        check=True,
    )
    subprocess.run(
        [sys.executable, ROOT / "crates/token/tests/outsiders.py", "--token", f"@{OUT / 'token.txt'}",
         "--key", f"@{OUT / 'keys.json'}"],
        check=True,
    )
    print("zbarimg and zxing-cpp read the picture and the sheet to the very token; cwt and pycose verify it")


main()
