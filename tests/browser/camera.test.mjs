/** The camera of a checkpoint, played by a film of real codes: straight, tilted, dim, with reflections, two at once, a foreign one. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { FRAMES_PER_SECOND, blank, cameraArgs, dim, film, grey, lay, reflect } from "./support/camera.mjs";
import { foreignCode } from "./support/decode.mjs";
import { journeys } from "./support/journey.mjs";
import { PEOPLE, temporaryFolder } from "./support/program.mjs";

const path = join(temporaryFolder("camera"), "camera.y4m");
const journey = journeys({ args: cameraArgs(path) });

/** The picture of a sampling code, as its holder saved it. */
async function savedCode({ city, as }, person) {
  const holder = await as(person);
  await holder.open("/my/sampling");
  const get = holder.control("申领");
  if ((await get.count()) > 0) await holder.press(get);
  const [download] = await Promise.all([holder.page.waitForEvent("download"), holder.control("保存图片").click()]);
  const file = join(city.folder, `saved-${person.number}.png`);
  await download.saveAs(file);
  return grey(readFileSync(file));
}

/** A guard whose camera sees these frames. */
async function watch(as, frames) {
  film(path, frames);
  const guard = await as("staff");
  await guard.open("/staff?place=sampling_desk");
  await guard.control("用摄像头扫码").click();
  return guard;
}

const ways = {
  straight: (code) => lay(blank(), code),
  tilted: (code) => lay(blank(), code, { degrees: 27, size: 330 }),
  dim: (code) => dim(lay(blank(), code)),
  "with reflections": (code) => reflect(lay(blank(), code)),
};
for (const [way, seen] of Object.entries(ways)) {
  journey(`a code is read: ${way}`, async (people) => {
    const guard = await watch(people.as, [[seen(await savedCode(people, PEOPLE.adult))]]);
    const shown = await guard.see(".verdict[data-reason=ok]");
    assert.equal(await shown.getAttribute("data-decision"), "admit");
    await guard.look();
    assert.equal(await guard.page.locator(".camera-view").isVisible(), true);
    await guard.control("关闭摄像头").click();
    assert.equal(await guard.page.locator(".camera-view").isVisible(), false);
  });
}

journey("two codes at once get no verdict, and one of them alone does", async (people) => {
  const [one, other] = [await savedCode(people, PEOPLE.adult), await savedCode(people, PEOPLE.parent)];
  const both = lay(lay(blank(), one, { x: 165, size: 290 }), other, { x: 475, size: 290 });
  const guard = await watch(people.as, [[both, 3 * FRAMES_PER_SECOND]]);
  await guard.read("画面中有几个不同的二维码");
  assert.equal(await guard.page.locator(".verdict").count(), 0);
  await guard.look();
  await guard.control("关闭摄像头").click();
  film(path, [[lay(blank(), one)]]);
  await guard.control("用摄像头扫码").click();
  await guard.see(".verdict[data-reason=ok]");
});

journey("a foreign code is not genuine, and never valid", async ({ as }) => {
  const guard = await watch(as, [[lay(blank(), grey(await foreignCode("https://example.org/menu")))]]);
  const shown = await guard.see(".verdict[data-reason=unreadable]");
  assert.equal(await shown.getAttribute("data-decision"), "refuse");
  await guard.look();
});

journey("the time from a code in sight to the first verdict", async (people) => {
  const code = lay(blank(), await savedCode(people, PEOPLE.adult));
  const dark = blank().fill(40);
  film(path, [[dark, 3 * FRAMES_PER_SECOND], [code, 2 * FRAMES_PER_SECOND]]);
  const guard = await people.as("staff");
  await guard.page.addInitScript(watchTimes, { PAPER: 200 });
  await guard.open("/staff?place=sampling_desk");
  const times = [];
  const runs = Number(process.env.CITYCODE_RUNS ?? 1);
  for (let run = 0; run < runs; run++) {
    await guard.control("用摄像头扫码").click();
    await guard.see(".verdict[data-reason=ok]");
    times.push(await guard.page.evaluate(() => window.verdictAt - window.inSightAt));
    await guard.control("关闭摄像头").click();
    await guard.open("/staff?place=sampling_desk");
  }
  times.sort((a, b) => a - b);
  assert.ok(times[0] > 0, `the frame was seen before the verdict: ${times}`);
  console.log(`camera: code in sight to first verdict, median of ${runs}: ${Math.round(times[runs >> 1])} ms`);
});

/** Runs in the page: notes when the film first shows the bright frame with the code, and when a verdict appears. */
function watchTimes({ PAPER }) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const corner = canvas.getContext("2d", { willReadFrequently: true });
  const look = (video) => {
    video.requestVideoFrameCallback((now) => {
      corner.drawImage(video, 4, 4, 1, 1, 0, 0, 1, 1);
      if (corner.getImageData(0, 0, 1, 1).data[0] > PAPER) window.inSightAt ??= now;
      else look(video);
    });
  };
  addEventListener("DOMContentLoaded", () => {
    const video = document.querySelector("video");
    if (video) look(video);
    const place = document.querySelector("#verdict");
    const watcher = new MutationObserver(() => {
      if (place.querySelector(".verdict")) window.verdictAt ??= performance.now();
    });
    if (place) watcher.observe(place, { childList: true, subtree: true });
  });
}
