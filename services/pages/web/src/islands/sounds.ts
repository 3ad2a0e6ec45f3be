/** A sound of its own for each decision, made by the browser: nothing is loaded. */

/** Tones of one pattern: pitch in hertz, start and length in seconds. */
type Pattern = readonly (readonly [pitch: number, start: number, length: number])[];

const PATTERNS: Readonly<Record<string, Pattern>> = {
  admit: [
    [660, 0, 0.12],
    [990, 0.13, 0.2],
  ],
  admit_after_id_check: [
    [740, 0, 0.1],
    [740, 0.16, 0.1],
    [740, 0.32, 0.1],
  ],
  refuse: [[196, 0, 0.7]],
  cannot_check: [
    [587, 0, 0.2],
    [392, 0.22, 0.35],
  ],
};

const LOUDNESS = 0.35;
/** Fades that keep a tone from clicking. */
const FADE_SECONDS = 0.015;

let audio: AudioContext | null = null;

/** Browsers let a page sound only after a touch or key; the first one of them starts the audio. */
export function prepareSounds(): void {
  const wake = (): void => void context()?.resume();
  document.addEventListener("pointerdown", wake);
  document.addEventListener("keydown", wake);
}

/** Plays the pattern of a decision. An unknown decision sounds like "cannot check". */
export function playDecision(decision: string): void {
  const out = context();
  const pattern = PATTERNS[decision] ?? PATTERNS["cannot_check"];
  if (out && pattern) {
    void out.resume();
    for (const [pitch, start, length] of pattern) {
      playTone(out, pitch, out.currentTime + start, length);
    }
  }
}

function playTone(out: AudioContext, pitch: number, start: number, length: number): void {
  const tone = out.createOscillator();
  const volume = out.createGain();
  tone.type = pitch < 300 ? "sawtooth" : "triangle";
  tone.frequency.value = pitch;
  volume.gain.setValueAtTime(0, start);
  volume.gain.linearRampToValueAtTime(LOUDNESS, start + FADE_SECONDS);
  volume.gain.setValueAtTime(LOUDNESS, start + length - FADE_SECONDS);
  volume.gain.linearRampToValueAtTime(0, start + length);
  tone.connect(volume).connect(out.destination);
  tone.start(start);
  tone.stop(start + length);
}

function context(): AudioContext | null {
  if (!audio && typeof AudioContext === "function") {
    audio = new AudioContext();
  }
  return audio;
}
