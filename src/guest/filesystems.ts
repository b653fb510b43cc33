// The GuestFilesystems port, by the guest's agent. It answers what it likes: everything is checked.

import { z } from "zod";
import { printable } from "../lib/printable.ts";
import type { GuestFilesystem, GuestFilesystems } from "../ports/guest-filesystems.ts";
import type { Hypervisor } from "../ports/hypervisor.ts";

/** More are listed by nobody's dashboard; a guest with a thousand mounts must not cost the node. */
const MOST = 16;
/** A list that has not sixteen by then is nonsense, and looking at it costs time. */
const MOST_LOOKED_AT = 256;
const MAX_CHARS = 200;

const line = z.string().transform((text) => printable(text.slice(0, MAX_CHARS)).slice(0, MAX_CHARS));
/** Those without a size are left out: it is told since QEMU 3.0, and not of all. */
const FILESYSTEM = z
  .object({ mountpoint: line, type: line, "used-bytes": z.int().min(0), "total-bytes": z.int().min(1) })
  .transform(
    ({ mountpoint, type, "used-bytes": usedBytes, "total-bytes": sizeBytes }): GuestFilesystem => ({
      mountpoint,
      type,
      usedBytes,
      sizeBytes,
    }),
  );

export function createGuestFilesystems(ask: Hypervisor["askAgent"]): GuestFilesystems {
  return {
    of: async (machineId, signal) => filesystemsIn(await ask(machineId, { execute: "guest-get-fsinfo" }, signal)),
  };
}

export function filesystemsIn(answer: unknown): readonly GuestFilesystem[] {
  const found: GuestFilesystem[] = [];
  const items = Array.isArray(answer) ? (answer as readonly unknown[]) : [];
  for (const item of items.slice(0, MOST_LOOKED_AT)) {
    const parsed = FILESYSTEM.safeParse(item);
    const isNew = parsed.success && !found.some(({ mountpoint }) => mountpoint === parsed.data.mountpoint);
    if (isNew) found.push(parsed.data);
    if (found.length === MOST) break;
  }
  return found;
}
