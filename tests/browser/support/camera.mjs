/**
 * What a camera sees: grey frames in a Y4M file, which Chromium plays as its camera (`--use-file-for-fake-video-capture`).
 * Chromium opens the file whenever a page starts the camera, so each journey writes its own picture to the same path.
 */
import { openSync, closeSync, writeSync } from "node:fs";
import { PNG } from "pngjs";

const [WIDTH, HEIGHT] = [640, 480];
export const FRAMES_PER_SECOND = 10;
const PAPER = 235;

/** The options of the browser with this camera. */
export const cameraArgs = (path) => [
  "--use-fake-ui-for-media-stream",
  "--use-fake-device-for-media-stream",
  `--use-file-for-fake-video-capture=${path}`,
];

/** A picture of a code as grey values. */
export function grey(png) {
  const { data, width, height } = PNG.sync.read(png);
  const pixels = new Uint8Array(width * height);
  for (let at = 0; at < pixels.length; at++) {
    pixels[at] = Math.round(0.299 * data[at * 4] + 0.587 * data[at * 4 + 1] + 0.114 * data[at * 4 + 2]);
  }
  return { pixels, width, height };
}

/** An empty desk. */
export const blank = () => new Uint8Array(WIDTH * HEIGHT).fill(PAPER);

/** Lays a picture into a frame: its middle, its size in pixels, and its angle. */
export function lay(frame, picture, { x = WIDTH / 2, y = HEIGHT / 2, size = 380, degrees = 0 } = {}) {
  const [cos, sin] = [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)];
  const scale = picture.width / size;
  const reach = Math.ceil(size * 0.75);
  for (let v = Math.max(0, y - reach); v < Math.min(HEIGHT, y + reach); v++) {
    for (let u = Math.max(0, x - reach); u < Math.min(WIDTH, x + reach); u++) {
      const column = ((u - x) * cos + (v - y) * sin) * scale + picture.width / 2;
      const row = ((v - y) * cos - (u - x) * sin) * scale + picture.height / 2;
      if (column >= 0 && row >= 0 && column < picture.width - 1 && row < picture.height - 1) {
        frame[v * WIDTH + u] = between(picture, column, row);
      }
    }
  }
  return frame;
}

/** The grey value between four pixels: as a lens shows modules, without steps. */
function between({ pixels, width }, column, row) {
  const [left, top] = [Math.floor(column), Math.floor(row)];
  const [right, down] = [column - left, row - top];
  const at = (x, y) => pixels[y * width + x];
  const upper = at(left, top) * (1 - right) + at(left + 1, top) * right;
  const lower = at(left, top + 1) * (1 - right) + at(left + 1, top + 1) * right;
  return Math.round(upper * (1 - down) + lower * down);
}

/** Little light: dark, with little contrast, and with the noise of the sensor. */
export function dim(frame) {
  let noise = 1;
  return frame.map((value) => {
    noise = (noise * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.round(18 + value * 0.16 + (noise / 2_147_483_648) * 8);
  });
}

/** A lamp is reflected by the screen: round spots in which everything is white, with soft edges. */
export function reflect(frame, spots = [[250, 170, 46], [395, 330, 30]]) {
  return frame.map((value, at) => {
    const [x, y] = [at % WIDTH, Math.floor(at / WIDTH)];
    const glare = Math.max(...spots.map(([u, v, radius]) => Math.min(1, Math.max(0, 1.6 - Math.hypot(x - u, y - v) / radius))));
    return Math.round(value + (255 - value) * glare);
  });
}

/** Writes frames, each with how many times it is shown; Chromium plays them again and again. */
export function film(path, frames) {
  const file = openSync(path, "w");
  writeSync(file, `YUV4MPEG2 W${WIDTH} H${HEIGHT} F${FRAMES_PER_SECOND}:1 Ip A1:1 C420\n`);
  const colourless = new Uint8Array((WIDTH * HEIGHT) / 2).fill(128);
  for (const [frame, times = FRAMES_PER_SECOND] of frames) {
    for (let time = 0; time < times; time++) {
      writeSync(file, "FRAME\n");
      writeSync(file, frame);
      writeSync(file, colourless);
    }
  }
  closeSync(file);
}
