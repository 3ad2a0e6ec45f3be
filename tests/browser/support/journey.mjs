/** A file's program and browser, and tests that are journeys of people through its pages. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { City } from "./program.mjs";
import { Reader, launch } from "./reader.mjs";

/** Longest time of a journey on a busy machine. A row of `every-page.test.mjs` has all pages. */
const LONGEST_MS = process.env.CITYCODE_PAGES === "all" ? 1_800_000 : 300_000;

/**
 * Starts one program and one browser for the tests of a file; `journey` is its test function. With `demo` false the file
 * starts its programs itself.
 */
export function journeys({ args = [], demo = true } = {}) {
  let browser;
  let city;
  before(async () => {
    [browser, city] = await Promise.all([launch({ args }), demo ? City.start() : undefined]);
  });
  after(async () => {
    await browser?.close();
    await City.stopAll();
  });

  /** `arrive(options)` gives a new person in front of a browser of their own. */
  return function journey(name, body) {
    test(name, { timeout: LONGEST_MS }, async () => {
      const readers = [];
      const arrive = async (options = {}) => {
        const reader = await Reader.arrive(browser, options.city ?? city, options);
        readers.push(reader);
        return reader;
      };
      const as = async (identity, { shared, ...options } = {}) => (await arrive(options)).signIn(identity, { shared });
      let failed = true;
      try {
        await body({ city, browser, arrive, as });
        failed = false;
      } finally {
        const troubles = [];
        for (const reader of readers) troubles.push(...(await reader.leaveForGood(failed, name)));
        if (troubles.length > 0) console.error(`${name}\n  ${troubles.join("\n  ")}`);
        if (!failed) assert.deepEqual(troubles, [], name);
      }
    });
  };
}
