/** Draws a QR symbol as SVG: dark on white, with the quiet zone of four modules inside. */

import { encode } from "uqr";

const SVG = "http://www.w3.org/2000/svg";
const QUIET_ZONE = 4;

/** Replaces the content of `place` by the symbol of `text`. Level L keeps the modules large on a screen. */
export function drawQr(place: Element, text: string): void {
  const { data, size } = encode(text, { ecc: "L", boostEcc: true, border: QUIET_ZONE });
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${size} ${size}`);
  svg.setAttribute("shape-rendering", "crispEdges");
  svg.setAttribute("aria-hidden", "true");
  const ground = document.createElementNS(SVG, "rect");
  ground.setAttribute("width", String(size));
  ground.setAttribute("height", String(size));
  ground.setAttribute("fill", "#fff");
  const modules = document.createElementNS(SVG, "path");
  modules.setAttribute("fill", "#000");
  modules.setAttribute("d", outline(data));
  svg.append(ground, modules);
  place.replaceChildren(svg);
}

/** One rectangle for each run of dark modules in a row. */
function outline(rows: readonly (readonly boolean[])[]): string {
  let path = "";
  rows.forEach((row, y) => {
    for (let x = 0; x < row.length; x++) {
      const start = x;
      while (row[x]) {
        x++;
      }
      if (x > start) {
        path += `M${start} ${y}h${x - start}v1h-${x - start}z`;
      }
    }
  });
  return path;
}
