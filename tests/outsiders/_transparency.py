"""Independent implementations of the C2SP formats, for the test of crates/transparency of the same name.

PyPI's `aics-tlog` verifies notes, checkpoints, tiles, entry bundles and proofs, and writes its own; `aics-witness`
answers the requests that our witness answers too; `proofbundle` verifies and writes proof files, which the other two do
not know. Usage: `_transparency.py verify|write|witness FOLDER`.
"""

import base64
import json
import pathlib
import shutil
import sys

from aics_tlog import (Checkpoint, FileSystemTileReader, MerkleTree, Note, TileVerificationError, TileWriter,
                       audit_tiles, cosignature_vkey, format_vkey, inclusion_proof_from_tiles,
                       consistency_proof_from_tiles, parse_checkpoint, parse_note, parse_vkey, sign_checkpoint,
                       sign_cosignature, verify_checkpoint, verify_consistency, verify_leaf_inclusion,
                       vkey_from_ed25519)
from aics_witness.config import LogConfig
from aics_witness.protocol import format_add_checkpoint_request
from aics_witness.service import Witness, WitnessError
from aics_witness.store import WitnessStore
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from proofbundle.tlogproof import format_tlog_proof, verify_tlog_proof

ORIGIN = "city.example/log/00"
WITNESS = "witness.example/w1"
NOW = 1_790_000_000
LEAVES = 66_000  # A full tile of level 1, and tiles of three levels.
SIZES = [0, 1, 2, 3, 255, 256, 257, 1000, 65_536, 65_537, LEAVES]


def hashes(texts):
    return [base64.b64decode(text) for text in texts]


def texts(proof):
    return [base64.b64encode(hash).decode() for hash in proof]


def entry(number):
    return f"entry {number}".encode()


def verify(folder):
    """Verifies everything in a folder that our implementation wrote."""
    said = json.loads((folder / "said.json").read_text())
    log, witness = parse_vkey(said["log"]), parse_vkey(said["witness"])
    assert (format_vkey(log), format_vkey(witness)) == (said["log"], said["witness"])
    note = parse_note((folder / "checkpoint").read_bytes())
    result = verify_checkpoint(note, log, [witness], quorum=1, expected_origin=ORIGIN, now=NOW)
    assert result.ok, result
    head = parse_checkpoint(note.text)
    reader = FileSystemTileReader(folder)
    report = audit_tiles(reader, head.size, head.root)
    assert report.tiles > 250 and report.bundles > 250, report
    for proof in said["inclusion"]:
        index, path = proof["index"], hashes(proof["hashes"])
        assert verify_leaf_inclusion(entry(index), index, head.size, path, head.root), index
        assert inclusion_proof_from_tiles(reader, index, head.size) == path, index
        assert not verify_leaf_inclusion(b"another", index, head.size, path, head.root), index
    for proof in said["consistency"]:
        old, root, path = proof["old"], base64.b64decode(proof["root"]), hashes(proof["hashes"])
        assert verify_consistency(old, head.size, root, head.root, path), old
        assert consistency_proof_from_tiles(reader, old, head.size) == path, old
    verify_proof_file(folder, said)
    damage(folder, head)


def verify_proof_file(folder, said):
    text = (folder / "event.tlog-proof").read_text()
    leaf = bytes.fromhex(said["leaf"])

    def ok(leaf=leaf, origin=ORIGIN, threshold=1):
        return verify_tlog_proof(text, leaf, said["log"], [said["witness"]], threshold=threshold,
                                 expected_origin=origin)["ok"]

    assert ok() and ok(threshold=0)
    assert not ok(leaf=leaf + b"x") and not ok(origin="other.example") and not ok(threshold=2)


def damage(folder, head):
    """Our tiles with one changed byte are refused, so that the audit above could have failed."""
    copy = folder.with_name("damaged")
    shutil.copytree(folder, copy)
    tile = copy / "tile/0/100"
    content = bytearray(tile.read_bytes())
    content[4000] ^= 1
    tile.write_bytes(content)
    try:
        audit_tiles(FileSystemTileReader(copy), head.size, head.root)
    except TileVerificationError:
        return
    raise AssertionError("a damaged tile was accepted")


def write(folder):
    """Writes tiles, checkpoints and proofs for our implementation to verify."""
    log_key, witness_key = (Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)) for number in (11, 12))
    log, witness = vkey_from_ed25519(ORIGIN, log_key.public_key()), cosignature_vkey(WITNESS, witness_key.public_key())
    leaves = [entry(number) for number in range(LEAVES)]
    tree = MerkleTree(leaves)
    TileWriter(leaves).write_to(folder)

    def checkpoint(size):
        head = Checkpoint(ORIGIN, size, tree.root(size))
        note = sign_checkpoint(head, log_key, ORIGIN)
        _, cosignature = sign_cosignature(witness_key, WITNESS, NOW, head.origin, head.size, head.root)
        return Note(text=note.text, signatures=(*note.signatures, cosignature))

    signed = checkpoint(LEAVES).serialise()
    (folder / "checkpoint").write_text(signed)
    indices = [0, 1, 255, 256, 40_000, LEAVES - 1]
    proof = format_tlog_proof(40_000, tree.inclusion_proof(40_000), signed, extra=b"extra")
    (folder / "event.tlog-proof").write_text(proof)
    requests = []
    for old, new in zip(SIZES, SIZES[1:]):
        name = f"request-{new:05}"
        body = format_add_checkpoint_request(old, tree.consistency_proof(old, new), checkpoint(new).to_bytes())
        (folder / name).write_bytes(body)
        requests.append(name)
    (folder / "said.json").write_text(json.dumps({
        "log": format_vkey(log),
        "witness": format_vkey(witness),
        "inclusion": [{"index": index, "hashes": texts(tree.inclusion_proof(index))} for index in indices],
        "consistency": [{"old": old, "root": texts([tree.root(old)])[0], "hashes": texts(tree.consistency_proof(old))}
                        for old in SIZES],
        "requests": requests,
    }))


def witness(folder):
    """Answers the requests in the folder in the order of their names."""
    key = Ed25519PrivateKey.from_private_bytes(bytes([13] * 32))
    log = parse_vkey((folder / "log.vkey").read_text())
    store = WitnessStore(folder / "witness.db", create=True)
    peer = Witness(WITNESS, key, store, [LogConfig(ORIGIN, (log,))], clock=lambda: NOW)
    (folder / "witness.vkey").write_text(peer.vkey_text)
    for request in sorted(folder.glob("request-*")):
        try:
            status, body = 200, peer.add_checkpoint(request.read_bytes())
        except WitnessError as refused:
            status, body = refused.status, refused.body
        (folder / request.name.replace("request", "answer")).write_bytes(f"{status}\n".encode() + body)


{"verify": verify, "write": write, "witness": witness}[sys.argv[1]](pathlib.Path(sys.argv[2]).resolve())
