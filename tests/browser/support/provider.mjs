/** An OpenID Connect provider on loopback, in a process of its own (`provider-process.mjs`). */
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { PEOPLE } from "./program.mjs";

export const CLIENT_ID = "citycode-tests";
/** The accounts, with their claims beside `sub`. */
export const ACCOUNTS = {
  resident: { name: PEOPLE.elder.name, id_number: PEOPLE.elder.idNumber },
  officer: { name: "Officer Lin", roles: ["officer", "dishwasher"] },
  guard: { name: "Guard Ma", roles: "verifier:staffed:tablet-9" },
};

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

export class Provider {
  /** Starts a provider that sends people back to `returnAddress`. */
  static async start(returnAddress) {
    const script = fileURLToPath(new URL("provider-process.mjs", import.meta.url));
    const child = fork(script, [returnAddress], { stdio: "ignore" });
    running.add(child);
    const [{ issuer }] = await once(child, "message");
    return new Provider(child, issuer);
  }

  constructor(child, issuer) {
    Object.assign(this, { child, issuer });
  }

  /** Sets the provider's clock. */
  async clockBehind(clockBehindSeconds) {
    this.child.send({ clockBehindSeconds });
    await once(this.child, "message");
  }

  /** The section of the configuration of `citycode up`. */
  section(publicUrl) {
    return `[sign_in]\nissuer = "${this.issuer}"\nclient_id = "${CLIENT_ID}"\npublic_url = "${publicUrl}"\n`;
  }

  async stop() {
    running.delete(this.child);
    this.child.kill("SIGKILL");
    await once(this.child, "exit");
  }
}
