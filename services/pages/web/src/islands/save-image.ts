/** A link with `download`. Where the browser can share files (phones), it offers that instead: the photo album is there. */

import { island } from "../lib/island";

export function attachSaveImage(): void {
  island("save-image", (element) => {
    if (!(element instanceof HTMLAnchorElement) || typeof navigator.canShare !== "function") {
      return;
    }
    const coarse = matchMedia("(pointer: coarse)").matches;
    const probe = new File([], "code.png", { type: "image/png" });
    if (coarse && navigator.canShare({ files: [probe] })) {
      element.addEventListener("click", (event) => {
        event.preventDefault();
        void share(element);
      });
    }
  });
}

async function share(link: HTMLAnchorElement): Promise<void> {
  try {
    const answer = await fetch(link.href, { cache: "no-store" });
    if (!answer.ok) {
      throw new Error(`status ${answer.status}`);
    }
    const picture = await answer.blob();
    const name = link.download || "code.png";
    await navigator.share({ files: [new File([picture], name, { type: picture.type })] });
  } catch (error) {
    const cancelled = error instanceof DOMException && error.name === "AbortError";
    if (!cancelled) {
      location.assign(link.href);
    }
  }
}
