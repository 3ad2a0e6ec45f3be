/** How soon people see a page, on a machine with a quarter of the speed. The figures are printed; the gate's machine is busy. */
import assert from "node:assert/strict";
import { journeys } from "./support/journey.mjs";
import { PEOPLE } from "./support/program.mjs";

const journey = journeys();
const SLOWER = 4;
const PAGES = [
  ["/", undefined],
  ["/sign-in", undefined],
  ["/my", PEOPLE.adult],
  ["/my/live", PEOPLE.adult],
  ["/kiosk", "kiosk"],
  ["/staff", "staff"],
  ["/gate", "gate"],
  ["/ops/counts", "admin"],
];

journey("the time to the largest contentful paint", async ({ arrive }) => {
  const runs = Number(process.env.CITYCODE_RUNS ?? 1);
  for (const [path, who] of PAGES) {
    const reader = await arrive({ size: who === undefined || typeof who === "object" ? "phone" : "desktop", look: false });
    if (who) await reader.signIn(who);
    if (path === "/my/live") {
      await reader.open(path);
      await reader.press("申领");
      await reader.see("[data-live]");
    }
    const session = await reader.context.newCDPSession(reader.page);
    await session.send("Network.enable");
    await session.send("Emulation.setCPUThrottlingRate", { rate: SLOWER });
    const times = [];
    for (let run = 0; run < runs; run++) {
      await session.send("Network.clearBrowserCache");
      await reader.page.goto(reader.city.origin + path, { waitUntil: "load" });
      if (path === "/my/live") await reader.see("[data-live]");
      times.push(await reader.page.evaluate(largestPaint));
    }
    times.sort((a, b) => a - b);
    assert.ok(times[0] > 0, path);
    console.log(`largest contentful paint of ${path}, processor ${SLOWER} times slower, median of ${runs}: ${Math.round(times[runs >> 1])} ms`);
    await reader.page.close();
  }
});

/** Runs in the page: the last candidate, once the page has nothing more to do. */
function largestPaint() {
  return new Promise((done) => {
    let last = 0;
    new PerformanceObserver((list) => (last = list.getEntries().at(-1).startTime)).observe({
      type: "largest-contentful-paint",
      buffered: true,
    });
    const settled = () => requestIdleCallback(() => (last > 0 ? done(last) : settled()));
    settled();
  });
}
