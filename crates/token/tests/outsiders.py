#!/usr/bin/env python3
"""Third-party libraries verify our tokens: PyPI `base45`, `cbor2`, `cwt`, `joserfc` and `pycose` (pip install them first).

    outsiders.py --token TEXT --key KEY [--expected JSON] [--at SECONDS]
    outsiders.py --token TEXT --key KEY --list FILE [--list-key KEY] [--status VALUE] [--at SECONDS]

TEXT      a token (CC1:…) or a presentation (CC1P:…), or @FILE.
KEY       a JWK, a JWK set, a public key of 64 hex digits, or @FILE of a JWK (set) or a COSE key set (.cbor).
JSON      the expected content of the token, or @FILE: any of code_id, kind (number), issued_at, expires_at (seconds or
          RFC 3339), status {list, index}; other members, such as those of `issue --output json`, are ignored.
FILE      the status list that the token names, as CWT or (named *.jwt) as JWT, which PyPI `joserfc` reads;
          --list-key is needed if another key than the token's signed it. VALUE is the expected status of the token.
SECONDS   the time at which expiry is checked; without it `cwt` uses the machine's clock.

Prints the content as JSON and exits with 0 only if every library agrees; otherwise names the library that does not.
"""

import argparse
import base64
import datetime
import hashlib
import io
import json
import sys
import zlib

import base45
import cbor2
import cwt
from cryptography.hazmat.primitives.asymmetric import ec
from pycose.algorithms import CoseAlgorithm, EdDSA, Es256
from pycose.headers import KID, Algorithm
from pycose.keys import EC2Key, OKPKey
from pycose.messages import Sign1Message

try:  # only status lists as JWT need it
    from joserfc import jws
    from joserfc.jwk import OKPKey as OKPJwk
except ImportError:
    jws = OKPJwk = None

ED25519, ESP256 = -19, -9


@CoseAlgorithm.register_attribute()
class FullySpecifiedEd25519(EdDSA):
    """RFC 9864: pycose 1.1 implements the signature but does not have its number yet."""

    identifier = ED25519
    fullname = "ED25519"


@CoseAlgorithm.register_attribute()
class FullySpecifiedEs256(Es256):
    """RFC 9864, as above."""

    identifier = ESP256
    fullname = "ESP256"


def argument(text, binary=False):
    if not text.startswith("@"):
        return text
    with open(text[1:], "rb") as file:
        content = file.read()
    return content if binary else content.decode()


def public_keys(text):
    """Returns key ids with their 32-byte keys, from any of the forms that KEY may have."""
    if text.endswith(".cbor"):
        keys = cbor2.loads(argument(text, binary=True))
        assert all(key[1] == 1 and key[3] == ED25519 and key[4] == [2] and key[-1] == 6 for key in keys)
        return {key[2]: key[-2] for key in keys}
    text = argument(text).strip()
    if len(text) == 64:
        found = [bytes.fromhex(text)]
    else:
        jwks = json.loads(text)
        jwks = jwks.get("keys", [jwks])
        assert all(key["kty"] == "OKP" and key["crv"] == "Ed25519" for key in jwks)
        found = [base64.urlsafe_b64decode(key["x"] + "=") for key in jwks]
        for jwk, key in zip(jwks, found):
            assert jwk.get("kid") in (None, hashlib.sha256(key).digest()[:4].hex()), "kid is not the key's hash"
    return {hashlib.sha256(key).digest()[:4]: key for key in found}


def seconds(time):
    if isinstance(time, int):
        return time
    return int(datetime.datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp())


def by_pycose(message_bytes, key, external_aad=b""):
    message = Sign1Message.decode(message_bytes)
    message.key = key
    message.external_aad = external_aad
    assert message.verify_signature(), "pycose does not verify the signature"
    assert not message.uhdr, "unprotected headers"
    return message


def by_cwt(token, kid, key, at):
    cose_key = cwt.COSEKey.new({1: 1, 2: kid, 3: ED25519, -1: 6, -2: key})
    if at is None:
        return cwt.decode(token, cose_key)
    claims = cbor2.loads(cwt.COSE.new().decode(token, cose_key))
    assert claims[6] <= at < claims[4], "not valid at that time"
    return claims


def check_proof(proof, token, cose_key):
    if cose_key[1] == 1:
        key, alg = OKPKey(crv="ED25519", x=cose_key[-2]), ED25519
    else:
        point = bytes([3 if cose_key[-3] else 2]) + cose_key[-2]
        numbers = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point).public_numbers()
        key, alg = EC2Key(crv="P_256", x=cose_key[-2], y=numbers.y.to_bytes(32, "big")), ESP256
    message = by_pycose(proof, key, b"citycode-proof-v1")
    assert message.phdr[Algorithm].identifier == alg
    digest, time, audience = cbor2.loads(message.payload)
    assert digest == hashlib.sha256(token).digest(), "the proof is for another token"
    return {"time": time, "audience": audience}


def status_in(path, keys, uri, index, at):
    """Returns the status at an index of a status list, decoded only as the draft specifies."""
    with open(path, "rb") as file:
        content = file.read()
    if path.endswith(".jwt"):
        header = json.loads(base64.urlsafe_b64decode(content.split(b".")[0] + b"=="))
        key = next(key for kid, key in keys.items() if kid.hex() == header["kid"])
        x = base64.urlsafe_b64encode(key).rstrip(b"=").decode()
        jwk = OKPJwk.import_key({"kty": "OKP", "crv": "Ed25519", "x": x})
        message = jws.deserialize_compact(content, jwk, algorithms=["Ed25519"])
        assert header["typ"] == "statuslist+jwt"
        claims = json.loads(message.payload)
        entry, subject, expiry = claims["status_list"], claims["sub"], claims.get("exp")
        packed = base64.urlsafe_b64decode(entry["lst"] + "=" * (-len(entry["lst"]) % 4))
    else:
        kid = Sign1Message.decode(content).phdr[KID]
        cose_key = cwt.COSEKey.new({1: 1, 2: kid, 3: ED25519, -1: 6, -2: keys[kid]})
        protected, _, payload = cwt.COSE.new().decode_with_headers(content, cose_key)
        assert protected[16] == "application/statuslist+cwt"
        assert by_pycose(content, OKPKey(crv="ED25519", x=keys[kid])).payload == payload
        claims = cbor2.loads(payload)
        entry, subject, expiry = claims[65533], claims[2], claims.get(4)
        packed = entry["lst"]
    assert subject == uri, "the list is another than the token names"
    assert at is None or expiry is None or at < expiry, "the list has expired"
    statuses, bits = zlib.decompress(packed), entry["bits"]
    return statuses[index * bits // 8] >> (index * bits % 8) & ((1 << bits) - 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--token", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--expected", default="{}")
    parser.add_argument("--at", type=int)
    parser.add_argument("--list")
    parser.add_argument("--list-key")
    parser.add_argument("--status", type=int)
    options = parser.parse_args()

    text = argument(options.token).strip().upper()
    prefix, encoded = text.split(":", 1)
    assert prefix in ("CC1", "CC1P"), "not our prefix"
    sequence = base45.b45decode(encoded)
    token = cbor2.dumps(cbor2.CBORDecoder(io.BytesIO(sequence)).decode())
    assert sequence.startswith(token), "not in the shortest form"
    proof = sequence[len(token) :]
    assert bool(proof) == (prefix == "CC1P"), "a proof where none should be, or none"

    keys = public_keys(options.key)
    message = Sign1Message.decode(token)
    kid = message.phdr[KID]
    assert message.phdr[Algorithm].identifier == ED25519 and len(message.phdr) == 2
    assert kid in keys, "the key set does not have the token's key"
    theirs = cbor2.loads(by_pycose(token, OKPKey(crv="ED25519", x=keys[kid])).payload)
    claims = by_cwt(token, kid, keys[kid], options.at)
    assert claims == theirs, "cwt and pycose read different claims"
    assert cbor2.dumps(theirs, canonical=False) == message.payload, "not in the shortest form"

    uri = claims[65535]["uri"]
    said = {
        "code_id": claims[7].hex(),
        "kind": claims[-65537][0],
        "issued_at": claims[6],
        "expires_at": claims[4],
        "status": {"list": uri[-8:], "index": claims[65535]["idx"]},
    }
    expected = json.loads(argument(options.expected))
    for name, value in said.items():
        if name not in expected or (name == "kind" and not isinstance(expected[name], int)):
            continue
        wanted = seconds(expected[name]) if name.endswith("_at") else expected[name]
        assert value == wanted, f"{name}: the token says {value}, expected was {wanted}"
    said.update(uri=uri, bytes=len(token), kid=kid.hex())
    if proof:
        said["proof"] = check_proof(proof, token, claims[8][1])
    if options.list:
        list_keys = public_keys(options.list_key or options.key)
        value = status_in(options.list, list_keys, uri, said["status"]["index"], options.at)
        assert options.status in (None, value), f"the list says {value}, expected was {options.status}"
        said["status"]["value"] = value
    print(json.dumps(said))


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # every failure is one line and a status
        sys.exit(f"outsiders: {type(error).__name__}: {error}")
