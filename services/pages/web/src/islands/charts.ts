/** Draws `<script type="application/json" data-chart>` as lines over time. The table of the page says the same. */

import uPlot from "uplot";
import { island } from "../lib/island";

/** What the server writes: `x` in seconds since 1970, one value for each of them in every series. */
interface ChartData {
  readonly x: readonly number[];
  readonly series: readonly { readonly label: string; readonly tone?: string; readonly values: readonly (number | null)[] }[];
  /** The word for the time in the legend. */
  readonly timeLabel?: string;
  /** Time zone of the policy, as in "Asia/Shanghai". */
  readonly zone?: string;
}

const HEIGHT = 260;
const TONES = ["accent", "good", "bad", "warn", "info"];

export function attachCharts(): void {
  island("charts", (element) => {
    const place = element.querySelector<HTMLElement>(".chart");
    const source = element.querySelector("script[data-chart]")?.textContent;
    if (place && source) {
      draw(place, JSON.parse(source) as ChartData);
    }
  });
}

function draw(place: HTMLElement, data: ChartData): void {
  let plot: uPlot | null = null;
  const redraw = (): void => {
    plot?.destroy();
    plot = new uPlot(options(place, data), [[...data.x], ...data.series.map(({ values }) => [...values])], place);
  };
  redraw();
  new ResizeObserver(() => plot?.setSize({ width: innerWidth(place), height: HEIGHT })).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

function options(place: HTMLElement, data: ChartData): uPlot.Options {
  const style = getComputedStyle(document.body);
  const colour = (token: string): string => style.getPropertyValue(`--${token}`).trim();
  const font = `14px ${style.fontFamily}`;
  const axis = { stroke: colour("ink-quiet"), font, grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } };
  const language = document.documentElement.lang;
  const zone = data.zone === undefined ? {} : { timeZone: data.zone };
  const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...zone });
  const day = new Intl.DateTimeFormat(language, { month: "numeric", day: "numeric", ...clockParts, ...zone });
  const count = new Intl.NumberFormat(language);
  return {
    width: innerWidth(place),
    height: HEIGHT,
    cursor: { y: false },
    axes: [
      { ...axis, space: 70, values: (_plot, splits) => splits.map((at) => clock.format(at * 1000)) },
      { ...axis, size: 70, values: (_plot, splits) => splits.map((at) => count.format(at)) },
    ],
    series: [
      { label: data.timeLabel ?? "", value: (_plot, at: number | null) => (at === null ? "–" : day.format(at * 1000)) },
      ...data.series.map(({ label, tone }, index) => ({
        label,
        stroke: colour(tone ?? TONES[index % TONES.length] ?? "accent"),
        width: 2.5,
        // Lines differ by their dashes too, never by colour alone.
        dash: DASHES[index % DASHES.length] ?? [],
        value: (_plot: uPlot, value: number | null) => (value === null ? "–" : count.format(value)),
      })),
    ],
  };
}

const DASHES: readonly number[][] = [[], [8, 5], [2, 4], [12, 4, 2, 4]];
const clockParts = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" } as const;

function innerWidth(place: HTMLElement): number {
  const style = getComputedStyle(place);
  return place.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
}
