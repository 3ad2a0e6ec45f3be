// The kiosk's idle timer and the clock of proofs, with clocks that the test moves.
import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./load.mjs";

const { IdleTimer } = await load("lib/idle-timer.ts");
const { ServerClock } = await load("lib/server-clock.ts");

const LIMITS = { idleSeconds: 45, warningSeconds: 30 };

test("45 idle seconds, a warning of 30, and the end", () => {
  const timer = new IdleTimer(LIMITS, 0);
  assert.deepEqual(timer.tick(44_999, false), { name: "active" });
  assert.deepEqual(timer.tick(45_000, false), { name: "warning", secondsLeft: 30 });
  assert.deepEqual(timer.tick(45_001, false), { name: "warning", secondsLeft: 30 });
  assert.deepEqual(timer.tick(74_999, false), { name: "warning", secondsLeft: 1 });
  assert.deepEqual(timer.tick(75_000, false), { name: "over" });
});

test("a touch in the warning gives the whole time again", () => {
  const timer = new IdleTimer(LIMITS, 0);
  timer.tick(60_000, false);
  timer.touch(60_000);
  assert.deepEqual(timer.tick(104_999, false), { name: "active" });
  assert.deepEqual(timer.tick(105_000, false), { name: "warning", secondsLeft: 30 });
});

test("no time runs while the machine prints", () => {
  const timer = new IdleTimer(LIMITS, 0);
  assert.deepEqual(timer.tick(200_000, true), { name: "active" });
  assert.deepEqual(timer.tick(244_999, false), { name: "active" });
  assert.deepEqual(timer.tick(245_000, false), { name: "warning", secondsLeft: 30 });
});

test("a machine that slept through the warning ends the session, and a touch does not revive it", () => {
  const timer = new IdleTimer(LIMITS, 0);
  assert.deepEqual(timer.tick(3_600_000, false), { name: "over" });
  timer.touch(3_600_001);
  assert.deepEqual(timer.tick(3_600_002, false), { name: "over" });
  assert.deepEqual(timer.tick(3_600_003, true), { name: "over" });
});

/** A phone whose clocks the test sets: `wall` in ms since 1970, `monotonic` in ms. */
function phone(wall) {
  const state = { wall, monotonic: 500 };
  return { state, sources: { wall: () => state.wall, monotonic: () => state.monotonic } };
}

const SERVER = 1_795_992_842;

test("a phone within 30 s of the server uses its own clock", () => {
  for (const difference of [-30, 0, 30]) {
    const { state, sources } = phone((SERVER + difference) * 1000);
    const clock = new ServerClock(SERVER, sources);
    assert.equal(clock.isWrong, false);
    state.wall += 20_000;
    state.monotonic += 20_000;
    assert.equal(clock.seconds(), SERVER + difference + 20);
  }
});

test("a phone that is more than 30 s wrong is corrected, and setting its clock changes nothing", () => {
  for (const difference of [-86_400, -31, 31, 3_600]) {
    const { state, sources } = phone((SERVER + difference) * 1000);
    const clock = new ServerClock(SERVER, sources);
    assert.equal(clock.isWrong, true);
    state.wall += 20_000;
    state.monotonic += 20_000;
    assert.equal(clock.seconds(), SERVER + 20);
    state.wall -= 7_200_000;
    assert.equal(clock.seconds(), SERVER + 20);
  }
});

test("the time that a phone slept is added when the page is seen again, once", () => {
  const { state, sources } = phone((SERVER + 600) * 1000);
  const clock = new ServerClock(SERVER, sources);
  state.wall += 120_000;
  state.monotonic += 20_000;
  assert.equal(clock.seconds(), SERVER + 20);
  clock.wake();
  assert.equal(clock.seconds(), SERVER + 120);
  clock.wake();
  assert.equal(clock.seconds(), SERVER + 120);
});
