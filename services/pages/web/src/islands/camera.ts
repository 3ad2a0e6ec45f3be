/**
 * Reads codes by the camera, and from pictures that are chosen, pasted or dropped. The decoder is loaded only when one
 * of these happens.
 */

import { island } from "../lib/island";
import { Speaker } from "../lib/say";
import { SCANNED, type Scanned } from "./scanned";

/** Pause between two looks at the picture: about eight a second spare a tablet's battery. */
const LOOK_EVERY_MS = 120;

export function attachCamera(): void {
  island("camera", (element) => {
    const form = document.querySelector<HTMLElement>(element.dataset["target"] ?? "#scan");
    if (form) {
      new Camera(element, form).listen();
    }
  });
}

class Camera {
  private readonly speaker: Speaker;
  private readonly video: HTMLVideoElement | null;
  private readonly button: HTMLButtonElement | null;
  private readonly startLabel: string;
  private stream: MediaStream | null = null;

  constructor(
    private readonly root: HTMLElement,
    private readonly form: HTMLElement,
  ) {
    this.speaker = new Speaker(root);
    this.video = root.querySelector("video");
    this.button = root.querySelector<HTMLButtonElement>(".camera-start");
    this.startLabel = this.label()?.textContent ?? "";
  }

  listen(): void {
    this.button?.addEventListener("click", () => (this.stream ? this.stop() : void this.start()));
    this.root.querySelector<HTMLInputElement>("input[type=file]")?.addEventListener("change", (event) => {
      const input = event.currentTarget as HTMLInputElement;
      void this.readFiles(input.files);
      input.value = "";
    });
    document.addEventListener("paste", (event) => {
      if (event.clipboardData && event.clipboardData.files.length > 0) {
        event.preventDefault();
        void this.readFiles(event.clipboardData.files);
      }
    });
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      this.root.dataset["drop"] = "";
    });
    document.addEventListener("dragleave", () => delete this.root.dataset["drop"]);
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      delete this.root.dataset["drop"];
      void this.readFiles(event.dataTransfer?.files ?? null);
    });
    // A camera that nobody watches is switched off.
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "hidden") {
        this.stop();
      }
    });
  }

  private async start(): Promise<void> {
    this.speaker.clear();
    if (!isSecureContext || !navigator.mediaDevices) {
      this.speaker.show("insecure");
      return;
    }
    try {
      const [stream, decode] = await Promise.all([openCamera(), loadDecoder()]);
      this.stream = stream;
      await this.play(stream);
      void this.look(stream, decode);
    } catch (error) {
      this.stop();
      this.speaker.show(reason(error));
    }
  }

  private async play(stream: MediaStream): Promise<void> {
    const view = this.root.querySelector<HTMLElement>(".camera-view");
    if (view && this.video) {
      view.hidden = false;
      this.video.srcObject = stream;
      await this.video.play();
    }
    this.setLabel(this.button?.dataset["labelStop"] ?? this.startLabel);
    this.button?.setAttribute("aria-pressed", "true");
    stream.getVideoTracks()[0]?.addEventListener("ended", () => this.stop());
  }

  private stop(): void {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    const view = this.root.querySelector<HTMLElement>(".camera-view");
    if (view) {
      view.hidden = true;
    }
    if (this.video) {
      this.video.srcObject = null;
    }
    this.setLabel(this.startLabel);
    this.button?.setAttribute("aria-pressed", "false");
  }

  /** Looks at the picture again and again until the camera is stopped. */
  private async look(stream: MediaStream, decode: Decode): Promise<void> {
    const canvas = document.createElement("canvas");
    while (this.stream === stream && this.video) {
      const { videoWidth: width, videoHeight: height } = this.video;
      if (width > 0 && height > 0) {
        canvas.width = width;
        canvas.height = height;
        const picture = canvas.getContext("2d", { willReadFrequently: true });
        picture?.drawImage(this.video, 0, 0);
        const pixels = picture?.getImageData(0, 0, width, height);
        this.take(pixels ? await decode(pixels, "fast") : [], true);
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
  }

  private async readFiles(files: FileList | null): Promise<void> {
    const file = files?.[0];
    if (!file) {
      return;
    }
    this.speaker.clear();
    if (!file.type.startsWith("image/")) {
      this.speaker.show("not-an-image");
      return;
    }
    try {
      const decode = await loadDecoder();
      const texts = await decode(file, "thorough");
      if (texts.length === 0) {
        this.speaker.show("no-code");
      }
      this.take(texts, false);
    } catch {
      this.speaker.show("unsupported");
    }
  }

  /** Of two codes none is chosen: nobody would know whose the verdict is. */
  private take(texts: readonly string[], live: boolean): void {
    const [text] = texts;
    const several = live ? "several-in-sight" : "several";
    if (texts.length > 1) {
      this.speaker.show(several);
    } else if (text !== undefined) {
      this.speaker.hide(several);
      this.hand({ text, live });
    }
  }

  private hand(detail: Scanned): void {
    this.form.dispatchEvent(new CustomEvent(SCANNED, { detail }));
  }

  private label(): Element | null {
    return this.button?.querySelector("span") ?? this.button;
  }

  private setLabel(text: string): void {
    const label = this.label();
    if (label) {
      label.textContent = text;
    }
  }
}

type Decode = typeof import("../lib/decode").decode;

async function loadDecoder(): Promise<Decode> {
  return (await import("../lib/decode")).decode;
}

function openCamera(): Promise<MediaStream> {
  return navigator.mediaDevices.getUserMedia({
    video: { facingMode: "environment", width: { ideal: 1280 }, height: { ideal: 720 } },
    audio: false,
  });
}

/** The sentence for a failure to start. */
function reason(error: unknown): string {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError" || name === "SecurityError") {
    return "denied";
  }
  const noCamera = ["NotFoundError", "NotReadableError", "OverconstrainedError", "AbortError"];
  return noCamera.includes(name) ? "no-camera" : "unsupported";
}
