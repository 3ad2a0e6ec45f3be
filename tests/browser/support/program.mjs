/**
 * The real program: `citycode up --demo` in a folder of its own, and its command line.
 *
 * `CITYCODE_BIN` is the path of the program.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const program = resolve(process.env.CITYCODE_BIN ?? "../../target/debug/citycode");

/** The sample residents of a demo, by what makes each of them a sample; the number is the one of `/sign-in`. */
export const PEOPLE = {
  elder: { number: 1, idNumber: "990100194403080010", name: "王秀英" },
  adult: { number: 0, idNumber: "990100199005120024", name: "张小三" },
  parent: { number: 2, idNumber: "990100198809210039", name: "李敏" },
  child: { number: 3, idNumber: "990100201704160041", name: "李小明" },
  disability: { number: 4, idNumber: "990100197911020050", name: "陈建国" },
  group: { number: 5, idNumber: "990100198501300062", name: "周梅" },
  held: { number: 6, idNumber: "990100195007070077", name: "赵淑珍" },
  red: { number: 7, idNumber: "990100199502140085", name: "吴强" },
};

/** A valid ID number of nobody: born on this day (YYYYMMDD), in an area that is not assigned. */
export function idNumber(day, order) {
  const digits = `990100${day}${String(order).padStart(3, "0")}`;
  const weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
  const sum = weights.reduce((sum, weight, at) => sum + weight * Number(digits[at]), 0);
  return digits + "10X98765432"[sum % 11];
}

/** The programs that run now, and the folders of this process. */
const running = new Set();
const folders = [];
process.on("exit", () => {
  running.forEach((city) => city.child.kill("SIGKILL"));
  folders.forEach((folder) => rmSync(folder, { recursive: true, force: true }));
});

/** A folder that is removed when the process ends. */
export function temporaryFolder(name) {
  const folder = mkdtempSync(join(tmpdir(), `citycode-${name}-`));
  folders.push(folder);
  return folder;
}

/** Runs the program to its end; returns its exit code and what it printed. Nothing is thrown for another code than 0. */
export function run(args, { env = {} } = {}) {
  return new Promise((done, failed) => {
    const child = spawn(program, args, {
      env: { ...process.env, NO_COLOR: "1", ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let out = "";
    let err = "";
    child.stdout.on("data", (data) => (out += data));
    child.stderr.on("data", (data) => (err += data));
    child.on("error", failed);
    child.on("close", (code) => done({ code, out, err }));
  });
}

/** A running city. */
export class City {
  /** Starts a demo and waits until it is ready; `port` 0 is a free one, `config` is the text of a configuration file. */
  static async start({ folder = temporaryFolder("demo"), port = 0, args = ["--demo"], config } = {}) {
    const city = new City(folder, args);
    if (config !== undefined) city.args = [...args, "--config", city.file("up.toml", config)];
    await city.begin(port);
    return city;
  }

  constructor(folder, args) {
    this.folder = folder;
    this.args = args;
    /** Whether a test ended the program, so that its readers lost the connection on purpose. */
    this.wasEnded = false;
    // The command line finds the running program by a note in this folder.
    this.env = { XDG_STATE_HOME: join(folder, "state") };
  }

  /** Ends every program that this test file started and that still runs. */
  static async stopAll() {
    await Promise.all([...running].map((city) => city.kill()));
  }

  async begin(port) {
    const args = ["up", ...this.args, "--data", join(this.folder, "data"), "--listen", `127.0.0.1:${port}`];
    this.child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...this.env } });
    const child = this.child;
    this.ended = new Promise((done) => child.on("close", done));
    running.add(this);
    let log = "";
    child.stderr.on("data", (data) => (log = (log + data).slice(-20_000)));
    this.log = () => log;
    this.origin = await new Promise((found, failed) => {
      // Reading goes on after `ready`, so that the program never waits for a full pipe.
      createInterface({ input: child.stdout }).on("line", (line) => {
        log += `${line}\n`;
        const ready = /^ready (http:\S+)/.exec(line);
        if (ready) found(ready[1]);
      });
      child.on("close", (code) => failed(new Error(`the program ended with ${code} before it was ready\n${log}`)));
    });
  }

  get port() {
    return Number(new URL(this.origin).port);
  }

  /** Ends the program without a chance to tidy up, as a crash does, and starts it again on the same data and port. */
  async crashAndRestart() {
    await this.kill();
    await this.begin(this.port);
  }

  async kill() {
    this.wasEnded = true;
    this.child.kill("SIGKILL");
    await this.ended;
    running.delete(this);
  }

  /** Stops the program in good order. */
  async stop() {
    this.wasEnded = true;
    this.child.kill("SIGTERM");
    await this.ended;
    running.delete(this);
  }

  /** A file of the city's folder with this content. */
  file(name, content) {
    const path = join(this.folder, name);
    writeFileSync(path, content);
    return path;
  }

  /** A file that only this user reads. */
  secret(name, content) {
    const path = join(this.folder, name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  }

  /** Runs a command as the local admin. */
  command(...args) {
    return run([...args, "--server", this.origin, "--output", "json"], { env: this.env });
  }

  /** A link that starts a session of this identity, once. */
  async startLink(identity) {
    const { out } = await this.command("open", identity, "--print");
    return JSON.parse(out).link;
  }

  /** The verdict of a place about the text of a code; `at` predicts it for another time (RFC 3339). */
  async verify(place, code, { at, idNumber } = {}) {
    const args = ["verify", "--place", place, "--code", code];
    if (at) args.push("--at", at);
    if (idNumber) args.push("--id-number", `@${this.file("card.txt", idNumber)}`);
    const { out, err } = await this.command(...args);
    return parsed(out, err);
  }

  /** The verdict of a place about a picture. */
  async verifyImage(place, path) {
    const { out, err } = await this.command("verify", "--place", place, "--image", path);
    return parsed(out, err);
  }
}

function parsed(out, err) {
  try {
    return JSON.parse(out);
  } catch {
    throw new Error(`no verdict: ${out}${err}`);
  }
}
