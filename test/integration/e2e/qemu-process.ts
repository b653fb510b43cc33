// The QEMU of a machine, as the kernel shows it: found without asking the daemon or libvirt.

import { readdir, readFile } from "node:fs/promises";
import { uuidOf } from "../../../src/model/ids.ts";

/** Rejects unless exactly one runs for this container. */
export async function qemuPid(containerId: string): Promise<number> {
  const pids = await qemuPids(containerId);
  if (pids.length === 1 && pids[0] !== undefined) return pids[0];
  throw new Error(`${pids.length} QEMUs of container ${containerId}`);
}

export async function qemuPids(containerId: string): Promise<number[]> {
  const uuid = uuidOf(containerId as Parameters<typeof uuidOf>[0]);
  const pids: number[] = [];
  for (const name of (await readdir("/proc")).filter((entry) => /^\d+$/.test(entry))) {
    const argv = (await readFile(`/proc/${name}/cmdline`, "utf8").catch(() => "")).split("\0");
    if (/qemu/.test(argv[0] ?? "") && argv.includes(uuid)) pids.push(Number(name));
  }
  return pids;
}
