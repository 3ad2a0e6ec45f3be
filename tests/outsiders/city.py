"""Third-party programs read the codes of a real `citycode up`.

Issues a code over the command line and writes its picture and its print sheet. Debian's `zbarimg` and PyPI's
`zxing-cpp` must read exactly the token from both (the sheet is rendered at 150 dpi). Then PyPI's `cwt` and `pycose` verify
the token with the key from `GET /api/v1/keys`, and its status list, as CWT and (`joserfc`) as JWT, with the keys that
are published for lists. Only public data is used.
"""

import json
import pathlib
import subprocess
import sys
import urllib.error

from _running import ELDER, citycode, eventually, fetch, running

OUT = pathlib.Path(sys.argv[1]).resolve()
ROOT = pathlib.Path(__file__).resolve().parents[2]
LISTS = {"cwt": "application/statuslist+cwt", "jwt": "application/statuslist+jwt"}
COSE_KEYS = "application/cose-key-set"


def verify_with_libraries(*args, expect=0):
    command = [sys.executable, ROOT / "crates/token/tests/outsiders.py", "--token", f"@{OUT / 'token.txt'}", *args]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode == 0) == (expect == 0), f"{args}: {done.stdout}{done.stderr}"


def status_list(url, name, form):
    """Returns the list once it is built; before the first build after the issue no list has this name."""

    def look():
        try:
            return fetch(f"{url}/api/v1/status-lists/{name}", LISTS[form])
        except urllib.error.HTTPError as error:
            assert error.code in (404, 503), error
            return None

    return eventually(f"status list {name}", look)


def write(name, content):
    path = OUT / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def collect_files(url):
    citycode(OUT, url, "register", "--id-number", ELDER, "--name", "张小三", "--channel", "kiosk")
    common = ["--kind", "offline", "--id-number", ELDER]
    code = citycode(OUT, url, "issue", *common, "--channel", "kiosk", "--out", str(OUT / "code.png"))
    citycode(OUT, url, "reprint", *common, "--channel", "pc", "--out", str(OUT / "sheet.pdf"))
    write("token.txt", code["token"].encode())
    write("code.json", code)
    keys = json.loads(fetch(f"{url}/api/v1/keys"))
    assert all(key["use"] == "sig" for key in keys["keys"])
    assert all(key["use"] == "status-list" for key in keys["status_list_keys"])
    assert not {key["kid"] for key in keys["keys"]} & {key["kid"] for key in keys["status_list_keys"]}
    write("keys.json", keys)
    write("keys.cbor", fetch(f"{url}/api/v1/keys", COSE_KEYS))
    write("status-keys.json", fetch(f"{url}/api/v1/status-keys"))
    write("status-keys.cbor", fetch(f"{url}/api/v1/status-keys", COSE_KEYS))
    write("lists-keys.json", {"keys": keys["status_list_keys"]})
    for form in LISTS:
        write(f"list.{form}", status_list(url, code["status"]["list"][-8:], form))
    named = json.loads(fetch(f"{url}/api/v1/status-lists"))
    assert named["status_list_keys"] == keys["status_list_keys"] == json.loads((OUT / "status-keys.json").read_text())["keys"]


def main():
    with running(OUT) as url:
        collect_files(url)
    subprocess.run(
        [sys.executable, ROOT / "crates/qr/tests/outsiders.py", OUT / "token.txt", OUT / "code.png", OUT / "sheet.pdf"],
        check=True,
    )
    verify_with_libraries("--key", f"@{OUT / 'keys.json'}")
    verify_with_libraries("--key", f"@{OUT / 'keys.cbor'}")
    for form in LISTS:
        of_list = ["--list", OUT / f"list.{form}", "--status", "0"]
        for published in ["lists-keys.json", "status-keys.json", "status-keys.cbor"]:
            verify_with_libraries("--key", f"@{OUT / 'keys.json'}", "--list-key", f"@{OUT / published}", *of_list)
        # The set of code-signing keys does not contain the key of the status lists.
        verify_with_libraries("--key", f"@{OUT / 'keys.json'}", "--list-key", f"@{OUT / 'keys.cbor'}", *of_list, expect=1)
    verify_with_libraries("--key", f"@{OUT / 'status-keys.json'}", expect=1)
    print("zbarimg and zxing-cpp read exactly the token from the picture and the sheet; cwt and pycose verify it")
    print("cwt, pycose and joserfc verify its status list with the keys that are published for lists")


main()
