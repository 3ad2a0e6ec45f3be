// Every scan has an id of its own; a scan without a verdict keeps it when it is repeated.
import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./load.mjs";

const { ScanIds } = await load("lib/scan-ids.ts");

test("a scan that was answered is followed by another scan, also of the same text", () => {
  const ids = new ScanIds();
  const first = ids.of("A");
  assert.match(first, /^[0-9a-f]{32}$/);
  ids.answered(first);
  assert.notEqual(ids.of("A"), first);
});

test("a scan without a verdict keeps its id when the same text is scanned again", () => {
  const ids = new ScanIds();
  const first = ids.of("A");
  assert.equal(ids.of("A"), first);
  const other = ids.of("B");
  assert.notEqual(other, first);
  assert.notEqual(ids.of("A"), first, "the text between was another scan");
});

test("a late answer to an earlier scan does not end the current one", () => {
  const ids = new ScanIds();
  const first = ids.of("A");
  const second = ids.of("B");
  ids.answered(first);
  ids.answered(null);
  assert.equal(ids.of("B"), second);
});
