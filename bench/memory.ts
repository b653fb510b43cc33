// How much memory a process has, as the kernel says.

import { readFile, writeFile } from "node:fs/promises";

export async function residentMiB(pid: number): Promise<number> {
  return mibIn(await readFile(`/proc/${pid}/status`, "utf8"), "VmRSS");
}

/** The most that was resident since `restartPeak`. */
export async function peakMiB(pid: number): Promise<number> {
  return mibIn(await readFile(`/proc/${pid}/status`, "utf8"), "VmHWM");
}

/** The kernel forgets the process's highest resident size; what it is now. */
export async function restartPeak(pid: number): Promise<number> {
  await writeFile(`/proc/${pid}/clear_refs`, "5");
  return await peakMiB(pid);
}

/** Its own pages, and its share of those that others have, too. */
export async function proportionalMiB(pid: number): Promise<number> {
  return mibIn(await readFile(`/proc/${pid}/smaps_rollup`, "utf8"), "Pss");
}

/** How much of a guest's memory is there: in its QEMU that is one mapping, of the guest's size. */
export async function guestMiB(qemuPid: number, sizeMiB: number): Promise<number> {
  const text = await readFile(`/proc/${qemuPid}/smaps`, "utf8");
  const mappings = text.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const guests = mappings.filter((mapping) => mibIn(mapping, "Size") === sizeMiB);
  const [guest] = guests;
  if (guest === undefined || guests.length > 1)
    throw new Error(`QEMU ${qemuPid} has ${guests.length} mappings of ${sizeMiB} MiB`);
  return mibIn(guest, "Pss");
}

function mibIn(text: string, name: string): number {
  const [, kiB] = new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(text) ?? [];
  if (kiB === undefined) throw new Error(`no ${name} in ${text.slice(0, 200)}`);
  return Number(kiB) / 1024;
}
