/** IndexedDB as promises, for the one store of this site. It holds keys only: no ID number and no token. */

const NAME = "citycode";
const VERSION = 1;
export const KEYS = "keys";

/** Runs `work` in one transaction and waits until the transaction is durable. */
export async function transact<T>(mode: IDBTransactionMode, work: (keys: IDBObjectStore) => Promise<T>): Promise<T> {
  const database = await open();
  try {
    const transaction = database.transaction(KEYS, mode);
    const done = new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? new Error("the transaction was aborted"));
    });
    const [result] = await Promise.all([work(transaction.objectStore(KEYS)), done]);
    return result;
  } finally {
    database.close();
  }
}

/** The result of one request. */
export function result<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("the request failed"));
  });
}

function open(): Promise<IDBDatabase> {
  const request = indexedDB.open(NAME, VERSION);
  request.onupgradeneeded = () => {
    request.result.createObjectStore(KEYS, { keyPath: "publicKey" });
  };
  return result(request);
}
