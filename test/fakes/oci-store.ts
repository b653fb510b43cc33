// The real image store with one registry that it reaches by plain HTTP. Unless told otherwise every disk has 1 MiB for qemu-img.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Run } from "../../src/lib/spawn.ts";
import { agreeingQemuImg, type DiskStoreFixture, openDiskStore } from "./disk-image-store.ts";
import { OciRegistry } from "./oci-registry.ts";

export interface OciStoreFixture extends AsyncDisposable {
  readonly registry: OciRegistry;
  readonly under: DiskStoreFixture;
  /** Holds `<host>/hosts.toml`, and is where relative paths in them begin. */
  readonly hostsFolderPath: string;
  /** The node's own credentials; not there at first. */
  readonly authPath: string;
}

export async function openOciStore(
  images: Readonly<Record<string, unknown>> = {},
  run: Run = agreeingQemuImg(1024 * 1024),
): Promise<OciStoreFixture> {
  await using parts = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), "vmlet-oci-"));
  parts.defer(async () => rm(folder, { recursive: true, force: true }));
  const hostsFolderPath = join(folder, "certs.d");
  const authPath = join(folder, "auth.json");
  const registry = parts.use(await OciRegistry.listen());
  await registry.writeHosts(hostsFolderPath);
  const prefixes = [`${registry.host}/disks/`];
  const settings = { registry: { hostsFolderPath, authPath, prefixes }, ...images };
  const under = parts.use(await openDiskStore({ images: settings, run }));
  const kept = parts.move();
  return { registry, under, hostsFolderPath, authPath, [Symbol.asyncDispose]: async () => kept.disposeAsync() };
}
