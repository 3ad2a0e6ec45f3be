/** Paper as a camera sees it: the part with the code, turned and out of focus. */
import { PNG } from "pngjs";

/** The part of a picture around a place: the corners of a code, and as much again as `margin` of its width on each side. */
export function cropped(png, corners, margin = 0.3) {
  const whole = PNG.sync.read(png);
  const [xs, ys] = [corners.map(({ x }) => x), corners.map(({ y }) => y)];
  const more = (Math.max(...xs) - Math.min(...xs)) * margin;
  const left = Math.max(0, Math.floor(Math.min(...xs) - more));
  const top = Math.max(0, Math.floor(Math.min(...ys) - more));
  const right = Math.min(whole.width, Math.ceil(Math.max(...xs) + more));
  const bottom = Math.min(whole.height, Math.ceil(Math.max(...ys) + more));
  const part = new PNG({ width: right - left, height: bottom - top });
  PNG.bitblt(whole, part, left, top, right - left, bottom - top, 0, 0);
  return PNG.sync.write(part);
}

/** The picture turned by some degrees on a larger white page, and blurred by a box of `2 × radius + 1` pixels, twice. */
export function photographed(png, { degrees = 0, radius = 0 } = {}) {
  const { data, width, height } = PNG.sync.read(png);
  const angle = (degrees * Math.PI) / 180;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const wide = Math.ceil(Math.abs(width * cos) + Math.abs(height * sin));
  const high = Math.ceil(Math.abs(width * sin) + Math.abs(height * cos));
  const grey = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 255 : data[(y * width + x) * 4 + 1]);
  let pixels = new Float32Array(wide * high);
  for (let v = 0; v < high; v++) {
    for (let u = 0; u < wide; u++) {
      const x = (u - wide / 2) * cos + (v - high / 2) * sin + width / 2;
      const y = (v - high / 2) * cos - (u - wide / 2) * sin + height / 2;
      const [left, top] = [Math.floor(x), Math.floor(y)];
      const [right, down] = [x - left, y - top];
      const upper = grey(left, top) * (1 - right) + grey(left + 1, top) * right;
      const lower = grey(left, top + 1) * (1 - right) + grey(left + 1, top + 1) * right;
      pixels[v * wide + u] = upper * (1 - down) + lower * down;
    }
  }
  for (let pass = 0; pass < 2; pass++) pixels = blurred(blurred(pixels, wide, high, radius, 1), wide, high, radius, wide);
  const out = new PNG({ width: wide, height: high });
  pixels.forEach((value, at) => out.data.set([value, value, value, 255], at * 4));
  return PNG.sync.write(out);
}

/** The mean of the pixels within `radius` along the rows (`step` 1) or the columns (`step` is the width). */
function blurred(pixels, wide, high, radius, step) {
  if (radius === 0) return pixels;
  const out = new Float32Array(pixels.length);
  const along = step === 1 ? wide : high;
  for (let at = 0; at < pixels.length; at++) {
    const place = step === 1 ? at % wide : Math.floor(at / wide);
    let [sum, count] = [0, 0];
    for (let near = Math.max(0, place - radius); near <= Math.min(along - 1, place + radius); near++) {
      sum += pixels[at + (near - place) * step];
      count += 1;
    }
    out[at] = sum / count;
  }
  return out;
}
