/** The event by which a camera or a picture hands a text to the form of a checkpoint. */

export const SCANNED = "citycode:scanned";

export interface Scanned {
  readonly text: string;
  /** Whether it comes from a running camera, which sees the same code many times. */
  readonly live: boolean;
}
