/**
 * The keys of this phone: ECDSA P-256, whose private part cannot be exported, in IndexedDB.
 *
 * A key is made when a form asks for one, before its code exists. It waits under the form's slot, so that a repeated
 * command sends the same key. Later the key of a code is found by its x coordinate, which the token contains; two
 * tabs cannot mix keys up.
 */

import { base64url, contains, type Bytes } from "./bytes";
import { result, transact } from "./database";
import { compress, xCoordinate } from "./point";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256" } as const;
/** More than the codes that one phone can hold; older keys are forgotten first. */
const MAX_KEYS = 32;

interface KeyRecord {
  /** The compressed public key in base64url; the key of the store. */
  readonly publicKey: string;
  readonly compressed: Bytes;
  readonly privateKey: CryptoKey;
  /** The form that asked for it, while no code is known. */
  readonly slot: string | null;
  readonly codeId: string | null;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
}

/** Whether this page may use keys at all: only in a secure context. */
export function canUseKeys(): boolean {
  return typeof crypto === "object" && typeof crypto.subtle === "object" && typeof indexedDB === "object";
}

/** The public key that waits in this slot, made if there is none: 33 bytes in base64url. */
export async function keyForSlot(slot: string): Promise<string> {
  const pair = await crypto.subtle.generateKey(ALGORITHM, false, ["sign"]);
  const compressed = compress(new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)));
  const fresh: KeyRecord = {
    publicKey: base64url(compressed),
    compressed,
    privateKey: pair.privateKey,
    slot,
    codeId: null,
    createdAt: Date.now(),
  };
  return transact("readwrite", async (keys) => {
    const waiting = (await all(keys)).find((record) => record.slot === slot);
    if (waiting) {
      return waiting.publicKey;
    }
    await result(keys.add(fresh));
    return fresh.publicKey;
  });
}

/** The private key of a code, and notes that the code has it; null if this phone does not have it. */
export async function keyOfCode(token: Bytes, codeId: string): Promise<CryptoKey | null> {
  return transact("readwrite", async (keys) => {
    const records = await all(keys);
    const found = records.find((record) => contains(token, xCoordinate(record.compressed)));
    if (!found) {
      return null;
    }
    if (found.codeId !== codeId) {
      await result(keys.put({ ...found, slot: null, codeId }));
      await forgetOldest(keys, records);
    }
    return found.privateKey;
  });
}

/** Deletes the keys of codes that no longer work. */
export async function forgetCodes(codeIds: readonly string[]): Promise<void> {
  await transact("readwrite", async (keys) => {
    const ended = (await all(keys)).filter(({ codeId }) => codeId !== null && codeIds.includes(codeId));
    await Promise.all(ended.map(({ publicKey }) => result(keys.delete(publicKey))));
  });
}

/** Signs with ECDSA and SHA-256; gives r and s, 32 bytes each. */
export async function signWith(key: CryptoKey, bytes: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, key, bytes));
}

function all(keys: IDBObjectStore): Promise<KeyRecord[]> {
  return result<KeyRecord[]>(keys.getAll());
}

async function forgetOldest(keys: IDBObjectStore, records: readonly KeyRecord[]): Promise<void> {
  const newestFirst = [...records].sort((a, b) => b.createdAt - a.createdAt);
  await Promise.all(newestFirst.slice(MAX_KEYS).map(({ publicKey }) => result(keys.delete(publicKey))));
}
