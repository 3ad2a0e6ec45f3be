/**
 * The ids of scans (R20): each scan has a new one. A text that was scanned without a verdict keeps its id when it is
 * scanned again: the scan may have been registered although no answer came.
 */

const BYTES = 16;

export class ScanIds {
  private text = "";
  private id = "";

  /** The id for a scan of this text. */
  of(text: string): string {
    if (this.id === "" || this.text !== text) {
      this.text = text;
      this.id = draw();
    }
    return this.id;
  }

  /** The scan with this id has its verdict: the next scan is another one. */
  answered(id: string | null): void {
    if (id === this.id) {
      this.id = "";
    }
  }
}

/** `crypto.randomUUID` needs a secure context, which a page in a local network is not. */
function draw(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(BYTES));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
