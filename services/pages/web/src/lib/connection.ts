/** Whether the server is reached: `data-connection` on <body>, and an event when it changes. */

export type Connection = "online" | "offline";

const CHANGED = "citycode:connection";

export function connection(): Connection {
  return document.body.dataset["connection"] === "offline" ? "offline" : "online";
}

/** Sets the state; listeners hear of changes only. */
export function setConnection(now: Connection): void {
  if (connection() !== now) {
    document.body.dataset["connection"] = now;
    document.dispatchEvent(new CustomEvent(CHANGED));
  }
}

/** Calls `listener` at once and after every change. */
export function onConnection(listener: (now: Connection) => void): void {
  document.addEventListener(CHANGED, () => listener(connection()));
  listener(connection());
}

/** Asks the server for a sign of life; false after `timeoutMs` or without a network. */
export async function isReachable(timeoutMs: number): Promise<boolean> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), timeoutMs);
  try {
    const answer = await fetch(PING, { method: "HEAD", cache: "no-store", signal: abort.signal });
    return answer.ok;
  } catch {
    return false;
  } finally {
    clearTimeout(timer);
  }
}

const PING = "/ping";
