// Plays the VM: a netns of its own whose eth0 is the other end of a veth that plays the tap.

import { randomBytes } from "node:crypto";
import { chmod, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Attachment } from "../../../src/model/attachment.ts";
import { type PrivateHost, sh } from "./private-host.ts";

/** What udhcpc tells its script: `ip`, `mask`, `router`, `dns`, `search`, `mtu`, `hostname`, `staticroutes`, … */
export type Lease = Readonly<Record<string, string>>;

export class StandInGuest implements AsyncDisposable {
  readonly tapName = `vm${randomBytes(4).toString("hex")}`;
  readonly netnsPath: string;
  readonly #host: PrivateHost;
  readonly #attachment: Attachment;

  /** As libvirt does: the tap appears in the host's netns. */
  static async boot(host: PrivateHost, attachment: Attachment): Promise<StandInGuest> {
    const guest = new StandInGuest(host, attachment);
    await sh(undefined, "ip", "netns", "add", guest.#name);
    await guest.plug();
    return guest;
  }

  private constructor(host: PrivateHost, attachment: Attachment) {
    this.#host = host;
    this.#attachment = attachment;
    this.netnsPath = `/run/netns/vt${randomBytes(4).toString("hex")}`;
  }

  get #name(): string {
    return this.netnsPath.slice("/run/netns/".length);
  }

  /** A new NIC and tap; the earlier are gone with a machine that ended. */
  async plug(): Promise<void> {
    const peer = ["peer", "name", "eth0", "address", this.#attachment.mac, "netns", this.#name];
    await sh(this.#host.netnsPath, "ip", "link", "add", this.tapName, "type", "veth", ...peer);
    await this.sh("ip", "link", "set", "eth0", "up");
  }

  async unplug(): Promise<void> {
    await this.sh("ip", "link", "del", "eth0");
  }

  sh(file: string, ...args: string[]): Promise<string> {
    return sh(this.netnsPath, file, ...args);
  }

  /** By busybox's DHCP client; rejects when nobody answers. */
  async askForLease(): Promise<Lease> {
    const folderPath = this.#host.folderPath;
    const scriptPath = join(folderPath, `udhcpc-${this.#name}`);
    await writeFile(scriptPath, `#!/bin/sh\n[ "$1" = bound ] && env > ${scriptPath}.lease\nexit 0\n`);
    await chmod(scriptPath, 0o755);
    const asked = ["staticroutes", "search", "mtu", "hostname", "router", "dns"].flatMap((name) => ["-O", name]);
    await this.sh(
      "busybox",
      "udhcpc",
      "-i",
      "eth0",
      "-n",
      "-q",
      "-f",
      "-t",
      "20",
      "-T",
      "1",
      ...asked,
      "-s",
      scriptPath,
    );
    const text = await readFile(`${scriptPath}.lease`, "utf8");
    return Object.fromEntries(text.split("\n").map((line) => [line.replace(/=.*/, ""), line.replace(/^[^=]*=/, "")]));
  }

  /** Takes the address of the attachment and its default route by hand, as a network-config would. */
  async configure(): Promise<void> {
    for (const { address, prefixLength, gateway, family } of this.#attachment.addresses) {
      const nodad = family === 6 ? ["nodad"] : [];
      await this.sh("ip", "address", "add", `${address}/${prefixLength}`, "dev", "eth0", ...nodad);
      if (gateway !== undefined) await this.sh("ip", "route", "add", "default", "via", gateway, "dev", "eth0");
    }
    await this.sh("ip", "link", "set", "eth0", "mtu", String(this.#attachment.mtu));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await sh(undefined, "ip", "netns", "del", this.#name);
  }
}
