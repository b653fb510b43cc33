// Which process is a domain's QEMU, without asking libvirt.

import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { joinInside } from "../lib/safe-path.ts";
import type { LibvirtOptions } from "./options.ts";

/** From libvirt's pid file, and only if that process is this domain's QEMU. */
export async function qemuPid(
  {
    socketPath,
    runFolderPath = join(dirname(socketPath), "qemu"),
  }: Pick<LibvirtOptions, "socketPath" | "runFolderPath">,
  { name, uuid }: { readonly name: string; readonly uuid: string },
): Promise<number | undefined> {
  const path = joinInside(runFolderPath, `${name}.pid`);
  if (path === undefined) return undefined;
  try {
    const pid = Number(await readFile(path, "utf8"));
    if (!Number.isSafeInteger(pid) || pid <= 1) return undefined;
    const argv = (await readFile(`/proc/${pid}/cmdline`, "utf8")).split("\0");
    return argv.includes(uuid) ? pid : undefined;
  } catch {
    return undefined; // it ended, or libvirt keeps its files elsewhere
  }
}
