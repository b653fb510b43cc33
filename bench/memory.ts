// How much memory a process has, as the kernel says.

import { readFile } from "node:fs/promises";

export async function residentMiB(pid: number): Promise<number> {
  const kiB = /^VmRSS:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1];
  if (kiB === undefined) throw new Error(`process ${pid} tells no VmRSS`);
  return Number(kiB) / 1024;
}
