// A scanner that types is told from a person; times are given, nothing waits.
import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./load.mjs";

const { Wedge, withoutInputMethod } = await load("lib/wedge.ts");
const { Repeats } = await load("lib/repeats.ts");

/** Types `count` characters with `gap` ms between them; returns the time of the last. */
function type(wedge, count, gap, from = 1000) {
  for (let index = 0; index < count; index++) {
    wedge.typed(1, from + index * gap);
  }
  return from + (count - 1) * gap;
}

test("twenty fast characters and 80 ms of silence are a scan", () => {
  const wedge = new Wedge();
  const last = type(wedge, 20, 35);
  assert.equal(wedge.isComplete(last + 79), false);
  assert.equal(wedge.isComplete(last + 80), true);
});

test("nineteen fast characters are no scan", () => {
  const wedge = new Wedge();
  const last = type(wedge, 19, 10);
  assert.equal(wedge.isComplete(last + 500), false);
});

test("a person who types is no scanner", () => {
  const wedge = new Wedge();
  const last = type(wedge, 60, 36);
  assert.equal(wedge.hasBegun(), false);
  assert.equal(wedge.isComplete(last + 5000), false);
});

test("a slow character in the middle begins the run anew", () => {
  const wedge = new Wedge();
  const first = type(wedge, 15, 10);
  const last = type(wedge, 15, 10, first + 36);
  assert.equal(wedge.isComplete(last + 80), false);
  const end = type(wedge, 5, 10, last + 10);
  assert.equal(wedge.isComplete(end + 80), true);
});

test("a pasted or injected run counts all its characters, and a deletion ends it", () => {
  const wedge = new Wedge();
  wedge.typed(300, 1000);
  assert.equal(wedge.isComplete(1080), true);
  wedge.typed(-1, 1010);
  assert.equal(wedge.isComplete(2000), false);
});

test("a scanner is noticed while it types, and forgotten after the scan", () => {
  const wedge = new Wedge();
  type(wedge, 6, 10);
  assert.equal(wedge.hasBegun(), true);
  wedge.reset();
  assert.equal(wedge.hasBegun(), false);
  assert.equal(wedge.isComplete(99_999), false);
});

test("what a Chinese input method does to a code is undone, and the space inside a code stays", () => {
  assert.equal(withoutInputMethod("ＣＣ１：６Ｂ％　＊￥＋－．／：。、"), "CC1:6B% *$+-./:./");
  assert.equal(withoutInputMethod("CC1:6B% *$+-./:"), "CC1:6B% *$+-./:");
});

test("a code that is held before the camera counts once, until it was out of sight for 1.5 s", () => {
  const repeats = new Repeats();
  assert.equal(repeats.isRepeat("A", 0), false);
  for (let at = 120; at < 6000; at += 120) {
    assert.equal(repeats.isRepeat("A", at), true, `${at}`);
  }
  assert.equal(repeats.isRepeat("A", 8000), false);
  assert.equal(repeats.isRepeat("B", 8100), false);
  assert.equal(repeats.isRepeat("A", 8200), false);
});
