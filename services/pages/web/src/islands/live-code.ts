/**
 * A live code: every 15 seconds a fresh proof by this phone's key, drawn as a QR, with the countdown as text. It needs
 * no network; the server's part is the token in the page.
 */

import { onConnection } from "../lib/connection";
import { canUseKeys, forgetCodes, keyOfCode, signWith } from "../lib/device-key";
import { each, island } from "../lib/island";
import { present, tokenBytes } from "../lib/proof";
import { drawQr } from "../lib/qr";
import { Speaker, sentenceText } from "../lib/say";
import { ServerClock } from "../lib/server-clock";
import type { Bytes } from "../lib/bytes";

/** A proof is renewed long before it is too old for a gate. */
const RENEW_SECONDS = 15;
const RENEWALS_IN_MAX_AGE = 4;

export function attachLiveCode(): void {
  island("live-code", (element) => void new LiveCode(element).start());
}

/** The result of an act names the codes that stopped working: their keys are of no use any more. */
export function attachForgetting(): void {
  each("forget", "[data-died]", (element) => {
    const ended = (element.dataset["died"] ?? "").split(/\s+/).filter(Boolean);
    if (ended.length > 0 && canUseKeys()) {
      forgetCodes(ended).catch(() => undefined);
    }
  });
}

class LiveCode {
  private readonly speaker: Speaker;
  private readonly clock: ServerClock;
  private readonly maxAgeSeconds: number;
  private readonly periodSeconds: number;
  private token: Bytes | null = null;
  private key: CryptoKey | null = null;
  /** When the shown proof was signed, in seconds since 1970; 0 before the first. */
  private signedAt = 0;
  private renewing = false;

  constructor(private readonly root: HTMLElement) {
    this.speaker = new Speaker(root);
    this.clock = new ServerClock(Number(root.dataset["serverTime"]), {
      wall: () => Date.now(),
      monotonic: () => performance.now(),
    });
    this.maxAgeSeconds = Number(root.dataset["maxAgeSeconds"]) || RENEW_SECONDS * RENEWALS_IN_MAX_AGE;
    this.periodSeconds = Math.min(RENEW_SECONDS, Math.max(1, Math.floor(this.maxAgeSeconds / RENEWALS_IN_MAX_AGE)));
  }

  async start(): Promise<void> {
    if (!canUseKeys()) {
      this.stopWith("insecure");
      return;
    }
    try {
      this.token = tokenBytes(this.root.dataset["token"] ?? "");
      this.key = this.token && (await keyOfCode(this.token, this.root.dataset["codeId"] ?? ""));
    } catch {
      this.stopWith("key-failed");
      return;
    }
    if (!this.key) {
      this.stopWith("no-key");
      return;
    }
    if (this.clock.isWrong) {
      this.speaker.show("wrong-clock");
    }
    onConnection((now) => (now === "offline" ? this.speaker.show("no-network") : this.speaker.hide("no-network")));
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") {
        this.clock.wake();
        void this.tick();
        keepScreenOn();
      }
    });
    keepScreenOn();
    setInterval(() => void this.tick(), 1000);
    await this.tick();
  }

  /** Once a second: renews the proof when its period is over, and tells the time left. */
  private async tick(): Promise<void> {
    const age = this.clock.seconds() - this.signedAt;
    if (age >= this.periodSeconds || age < 0) {
      await this.renew();
    }
    this.showCountdown();
  }

  private async renew(): Promise<void> {
    const { token, key } = this;
    if (this.renewing || !token || !key) {
      return;
    }
    this.renewing = true;
    try {
      const now = this.clock.seconds();
      const text = await present(token, now, (bytes) => signWith(key, bytes));
      const place = this.root.querySelector(".qr");
      if (place) {
        drawQr(place, text);
      }
      this.signedAt = now;
      const freshUntil = new Date((now + this.maxAgeSeconds) * 1000);
      this.root.dataset["freshUntil"] = freshUntil.toISOString().replace(/\.\d+Z$/, "Z");
      this.speaker.hide("key-failed");
      this.root.dataset["live"] = "";
    } catch {
      this.fail();
    } finally {
      this.renewing = false;
    }
  }

  private showCountdown(): void {
    const left = Math.max(0, this.periodSeconds - (this.clock.seconds() - this.signedAt));
    const text = this.root.querySelector(".countdown");
    if (text && this.signedAt > 0) {
      text.textContent = sentenceText(this.root, "countdown", { seconds: left });
    }
    const bar = this.root.querySelector("progress");
    if (bar) {
      bar.max = this.periodSeconds;
      bar.value = left;
    }
  }

  /** Signing failed: a code that is still fresh stays, an old one is taken away; the next second tries again. */
  private fail(): void {
    this.speaker.show("key-failed");
    if (this.clock.seconds() - this.signedAt > this.maxAgeSeconds) {
      this.takeAway();
    }
  }

  private stopWith(name: string): void {
    this.takeAway();
    this.speaker.only(name);
  }

  private takeAway(): void {
    delete this.root.dataset["live"];
    delete this.root.dataset["freshUntil"];
    this.root.querySelector(".qr")?.replaceChildren();
    this.root.querySelector(".countdown")?.replaceChildren();
  }
}

/** A screen must not go dark in a queue. The browser ends the lock when the page is hidden; some browsers have none. */
function keepScreenOn(): void {
  if ("wakeLock" in navigator) {
    navigator.wakeLock.request("screen").catch(() => undefined);
  }
}
