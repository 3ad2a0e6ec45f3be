// QR codes of the previews, as one path. The server draws its own; the live code's is drawn in the browser.
import { encode } from "uqr";

/** An SVG of a text; `ecc` L for screens, Q for paper. */
export function qrSvg(text, ecc = "L") {
  const { data, size } = encode(text, { ecc, border: 4 });
  let path = "";
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const start = x;
      while (data[y][x]) x++;
      if (x > start) path += `M${start} ${y}h${x - start}v1H${start}z`;
    }
  }
  return `<svg viewBox="0 0 ${size} ${size}" shape-rendering="crispEdges" aria-hidden="true"><path fill="#000" d="${path}"/></svg>`;
}

/** A token's text of typical length; it is not a real code. */
export const SAMPLE = "CC1:" + "6BFOXN%TS3DH0YOJ58S S-W5HDC *MEB2B2JJ59J-9BC6:X9NECX0AKQC".repeat(4).slice(0, 250);
