"""Third-party programs check the public trees of the log of a real `citycode up`.

PyPI's `aics-tlog` verifies every checkpoint with the key from `/log/keys`, computes its root from the tiles that it reads
over HTTP, and proves that later checkpoints grew from earlier ones. `aics-witness` cosigns them and refuses a fork.
`proofbundle` verifies a proof that `citycode log prove` wrote, and `citycode log verify` accepts that proof with the
witness's cosignature. Only public data is used, except for the proof.
"""

import base64
import pathlib
import subprocess
import sys
import time
import urllib.error

from aics_tlog import (HttpTileReader, Note, consistency_proof_from_tiles, parse_checkpoint, parse_note, parse_vkey,
                       tree_root_from_tiles, verify_checkpoint, verify_consistency)
from aics_witness.config import LogConfig
from aics_witness.protocol import format_add_checkpoint_request
from aics_witness.service import Witness, WitnessError
from aics_witness.store import WitnessStore
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from proofbundle.tlogproof import verify_tlog_proof

from _running import BINARY, ELDER, citycode, eventually, fetch, running

OUT = pathlib.Path(sys.argv[1]).resolve()
WITNESS = "witness.example/outsider"


class Log:
    """The tree of one partition as its readers see it."""

    def __init__(self, url, key):
        self.key, self.number = parse_vkey(key), key.split("+")[0].rsplit("/", 1)[1]
        self.vkey, self.origin = key, key.split("+")[0]
        self.url = f"{url}/log/{self.number}"
        self.reader = HttpTileReader(self.url, proxies={})

    def head(self):
        note = parse_note(fetch(f"{self.url}/checkpoint"))
        result = verify_checkpoint(note, self.key, expected_origin=self.origin)
        assert result.ok, result
        head = parse_checkpoint(note.text)
        assert tree_root_from_tiles(self.reader, head.size) == head.root, f"{self.origin} of {head.size} leaves"
        return note, head


def logs(url):
    keys = fetch(f"{url}/log/keys").decode().splitlines()
    assert len(keys) == len(set(keys)) == 16, keys
    return [Log(url, key) for key in keys]


def no_bundles(url):
    for path in ("tile/entries/000", "tile/entries/000.p/1", "tile/0/999", "tile/../checkpoint", "places", "state"):
        try:
            fetch(f"{url}/log/00/{path}")
        except urllib.error.HTTPError as error:
            assert error.code == 404, (path, error)
            continue
        raise AssertionError(f"{path} is public")


def grown(log, old, new):
    proof = consistency_proof_from_tiles(log.reader, old.size, new.size)
    assert verify_consistency(old.size, new.size, old.root, new.root, proof), (log.origin, old.size, new.size)
    return proof


def cosign(log, witness, old_size, proof, note):
    return witness.add_checkpoint(format_add_checkpoint_request(old_size, proof, note.to_bytes())).decode()


def prove(url, code_id, event):
    path = OUT / f"{event}.tlog-proof"
    citycode(OUT, url, "log", "prove", "--code-id", code_id, "--event", event, "--out", str(path), "--purpose", "a test")
    text = path.read_text()
    opening = base64.b64decode(text.splitlines()[1].removeprefix("extra "))
    length = int.from_bytes(opening[32:36], "big")
    return path, text, opening[36:36 + length]


def main():
    with running(OUT) as url:
        citycode(OUT, url, "register", "--id-number", ELDER, "--name", "张小三", "--channel", "kiosk")
        person = ["--kind", "offline", "--id-number", ELDER, "--channel", "kiosk"]
        first = citycode(OUT, url, "issue", *person)["code_id"]
        all_logs = logs(url)
        no_bundles(url)
        time.sleep(5)  # A checkpoint is at most five seconds old.
        before = {log.origin: log.head() for log in all_logs}
        key = Ed25519PrivateKey.from_private_bytes(bytes([14] * 32))
        store = WitnessStore(OUT / "witness.db", create=True)
        peer = Witness(WITNESS, key, store, [LogConfig(log.origin, (log.key,)) for log in all_logs])
        for log in all_logs:
            note, head = before[log.origin]
            cosign(log, peer, 0, [], note)
        for _ in range(30):
            citycode(OUT, url, "issue", *person)
        citycode(OUT, url, "report-loss", *person)

        def all_grown():
            heads = {log.origin: log.head() for log in all_logs}
            return heads if sum(head.size for _, head in heads.values()) >= \
                sum(head.size for _, head in before.values()) + 31 else None

        after = eventually("checkpoints of all events", all_grown, seconds=10)
        cosigned = {}
        for log in all_logs:
            (_, old), (note, new) = before[log.origin], after[log.origin]
            cosigned[log.origin] = cosign(log, peer, old.size, grown(log, old, new), note)
        # A fork: the earlier head again, shown to a witness that has seen the later one.
        forked = next(log for log in all_logs if after[log.origin][1].size > before[log.origin][1].size)
        try:
            cosign(forked, peer, before[forked.origin][1].size, [], before[forked.origin][0])
            raise AssertionError("a witness cosigned a log that went back")
        except WitnessError as refused:
            assert refused.status == 409, refused

        path, text, leaf = prove(url, first, "died")
        origin = text.split("\n\n", 1)[1].splitlines()[0]
        vkey = next(log.vkey for log in all_logs if log.origin == origin)
        held = verify_tlog_proof(text, leaf, vkey, [], threshold=0, expected_origin=origin)
        assert held["ok"], held
        assert not verify_tlog_proof(text, leaf + b"x", vkey, [], threshold=0, expected_origin=origin)["ok"]
        # With the witness's cosignature of the same checkpoint it is a witnessed proof.
        size = text.split("\n\n", 1)[1].splitlines()[1]
        verify = [BINARY, "log", "verify", str(path), "--key", vkey, "--witness", peer.vkey_text.strip(), "--output", "json"]
        assert subprocess.run(verify, capture_output=True).returncode == 3, "it is not witnessed"
        if int(size) == after[origin][1].size:
            path.write_text(text + cosigned[origin])
            done = subprocess.run(verify, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
            assert WITNESS in done.stdout, done.stdout


main()
