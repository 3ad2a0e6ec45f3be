/**
 * A person in front of a browser. Each has a context of its own, which is watched: an error in the console or in a
 * script, a violation of the content security policy (Chromium writes it to the console), an answer of 500 or more, or a
 * request to another origin makes the journey fail.
 */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { faults } from "./look.mjs";

/** Longest wait for a condition: the machine may be busy. */
const PATIENCE_MS = 20_000;
/** Of the page itself, and of the browser's own viewer of PDF files. */
const OWN_PROTOCOLS = ["data:", "blob:", "chrome:", "chrome-extension:"];
const CONNECTION_LOST = /ERR_(CONNECTION_REFUSED|CONNECTION_RESET|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING)/;
export const SIZES = {
  desktop: { width: 1280, height: 800 },
  phone: { width: 390, height: 844 },
  small: { width: 320, height: 568 },
  kiosk: { width: 1080, height: 1920 },
};

export function launch({ args = [] } = {}) {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    // Without a sandbox of the browser's own, because the tests run as root in containers.
    args: ["--no-sandbox", "--disable-dev-shm-usage", ...args],
  });
}

/**
 * Whether a resident's form was answered by a page instead of a redirection: then Back and Reload show the browser's
 * question whether to send it again. A refused form and a saved file are no such pages.
 */
function isPageOfForm(response) {
  const request = response.request();
  const form = request.method() === "POST" && request.isNavigationRequest();
  const expected = [303, 403].includes(response.status()) || "content-disposition" in response.headers();
  return form && new URL(response.url()).pathname.startsWith("/my/") && !expected;
}

export class Reader {
  /** A new browser context. `look` is false where the faults of pages were looked for elsewhere. */
  static async arrive(browser, city, { size = "desktop", dark = false, lang, view, look = true, ...options } = {}) {
    const context = await browser.newContext({
      viewport: SIZES[size],
      colorScheme: dark ? "dark" : "light",
      acceptDownloads: true,
      ...options,
    });
    context.setDefaultTimeout(PATIENCE_MS);
    const reader = new Reader(context, city, look && options.javaScriptEnabled !== false);
    if (lang || view) {
      const value = `${lang ?? "zh"}.${view ?? "standard"}`;
      await context.addCookies([{ name: "citycode-view", value, url: city.origin }]);
    }
    reader.page = await context.newPage();
    return reader;
  }

  constructor(context, city, looks) {
    Object.assign(this, { context, city, looks, troubles: [], allowed: [] });
    const note = (text) => this.troubles.push(text);
    context.on("weberror", (error) => note(`script error: ${error.error().stack ?? error.error()}`));
    context.on("console", (message) => {
      if (message.type() !== "error") return;
      const { url } = message.location();
      // Chromium reports a refused form like a missing file; the page itself says it in words, which journeys check.
      const refusal = /status of 4\d\d/.test(message.text()) && this.documents.has(url);
      if (!refusal) note(`console: ${message.text()} (${url})`);
    });
    this.documents = new Set();
    context.on("request", (request) => {
      if (request.isNavigationRequest()) this.documents.add(request.url());
      const { origin, protocol } = new URL(request.url());
      if (origin !== this.city.origin && !OWN_PROTOCOLS.includes(protocol)) {
        note(`request to another origin: ${request.url()}`);
      }
    });
    context.on("response", (response) => {
      if (response.status() >= 500) note(`answer ${response.status()}: ${response.url()}`);
      if (isPageOfForm(response)) note(`a form was answered by a page, which Reload would send again: ${response.url()}`);
    });
  }

  /** Troubles that this journey causes on purpose. */
  allow(...patterns) {
    this.allowed.push(...patterns);
  }

  /** Signs in as a sample resident or at a sample device, as the form of `/sign-in` does. */
  async signIn(identity, { shared = false } = {}) {
    const form = typeof identity === "string"
      ? { identity }
      : { person: String(identity.number), shared: shared ? "yes" : "no" };
    const answer = await this.post("/sign-in", form);
    assert.equal(answer.status(), 303, await answer.text());
    return this;
  }

  /** Posts a form past the page, with the cookies of this browser. */
  post(path, form, { headers = {}, origin = this.city.origin, maxRedirects = 0 } = {}) {
    return this.context.request.post(this.city.origin + path, { form, headers: { Origin: origin, ...headers }, maxRedirects });
  }

  /** Posts a form past the page, and returns the text of the page that follows. */
  async postAndRead(path, form) {
    return (await this.post(path, form, { maxRedirects: 1 })).text();
  }

  async open(path) {
    const response = await this.page.goto(this.city.origin + path, { waitUntil: "load" });
    await this.look();
    return response;
  }

  /** The button or link with exactly this accessible name. */
  control(name, within = this.page) {
    return within.getByRole("button", { name, exact: true }).or(within.getByRole("link", { name, exact: true }));
  }

  /** Presses a button or follows a link that leads to another page, and looks at it. */
  async press(name, within = this.page) {
    const control = typeof name === "string" ? this.control(name, within) : name;
    await this.leave(() => control.click());
    await this.look();
  }

  /** Does what leads to another page, and waits until that is loaded. */
  async leave(doing) {
    const left = this.page.waitForNavigation({ waitUntil: "load" });
    await Promise.all([left, doing()]);
  }

  /** The element's attribute, once it has one. */
  async attribute(selector, name) {
    return this.page.locator(selector).first().getAttribute(name);
  }

  /** Waits until the page has this element in sight. */
  async see(selector) {
    await this.page.locator(selector).first().waitFor({ state: "visible" });
    return this.page.locator(selector).first();
  }

  /** Waits until the page says this. */
  async read(text) {
    await this.page.getByText(text).first().waitFor({ state: "visible" });
  }

  /** A picture of the shown code, as a PNG. */
  async shownCode() {
    const code = await this.see(".qr svg, .qr canvas, .qr img");
    return code.screenshot();
  }

  /** Fails if the page has a fault in the state in which it is. */
  async look() {
    if (!this.looks) return;
    const found = await faults(this.page);
    assert.deepEqual(found, [], `${this.page.url()}\n${found.join("\n")}`);
  }

  async leaveForGood(failed, name) {
    if (failed && process.env.CITYCODE_FAILURES) {
      mkdirSync(process.env.CITYCODE_FAILURES, { recursive: true });
      const path = join(process.env.CITYCODE_FAILURES, `${name.replace(/[^a-z0-9]+/gi, "-")}.png`);
      await this.page.screenshot({ path, fullPage: true }).catch(() => undefined);
    }
    await this.context.close();
    const { troubles } = this;
    // A request can be under way, or a page can ask whether it is online, whenever a test ends the program.
    const allowed = this.city.wasEnded ? [...this.allowed, CONNECTION_LOST] : this.allowed;
    return troubles.filter((trouble) => !allowed.some((pattern) => pattern.test(trouble)));
  }
}
