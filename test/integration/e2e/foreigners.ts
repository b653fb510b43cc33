// What belongs to others on a node, right beside ours: a domain that runs, a network namespace, files in our folders.

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { output } from "../../node/command.ts";
import type { NodeLayout } from "../../node/layout.ts";
import { virsh } from "./vm-pod.ts";

export class Foreigners implements AsyncDisposable {
  readonly #name: string;
  readonly #filePaths: readonly string[];
  before: unknown;

  private constructor({ networkName, stateFolderPath, runFolderPath }: NodeLayout) {
    this.#name = `of-others-${networkName}`;
    this.#filePaths = [
      join(stateFolderPath, "note.txt"),
      join(stateFolderPath, "pods", "note.txt"),
      join(runFolderPath, "ipam", "note.txt"),
    ];
  }

  static async bring(layout: NodeLayout, signal: AbortSignal): Promise<Foreigners> {
    const foreigners = new Foreigners(layout);
    const xmlPath = join(layout.runFolderPath, "ipam", "domain.xml");
    await writeFile(xmlPath, domainXml(foreigners.#name));
    await virsh(["create", xmlPath, "--paused"], signal);
    await output(["/usr/sbin/ip", "netns", "add", foreigners.#name], signal);
    for (const path of foreigners.#filePaths) await writeFile(path, `a note in ${path}`);
    foreigners.before = await foreigners.look(signal);
    return foreigners;
  }

  async look(signal: AbortSignal): Promise<unknown> {
    const netns = await output(["/usr/sbin/ip", "netns", "list"], signal);
    return {
      domain: [await virsh(["domid", this.#name], signal), await virsh(["domstate", this.#name], signal)],
      netns: netns.split("\n").filter((line) => line.startsWith(this.#name)).length,
      files: await Promise.all(this.#filePaths.map(async (path) => await readFile(path, "utf8"))),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const signal = AbortSignal.timeout(30_000);
    await virsh(["destroy", this.#name], signal).catch(() => "");
    await output(["/usr/sbin/ip", "netns", "delete", this.#name], signal).catch(() => "");
  }
}

function domainXml(name: string): string {
  return `<domain type='qemu'>
  <name>${name}</name>
  <memory unit='MiB'>16</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator></devices>
</domain>
`;
}
