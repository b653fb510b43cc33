// What is pulled: one disk of random bytes on nginx, and as a containerDisk, plain and gzipped, in docker-registry.

import { rm } from "node:fs/promises";
import { join } from "node:path";
import { DockerRegistry } from "../../test/integration/images/docker-registry.ts";
import { Nginx } from "../../test/integration/images/nginx.ts";
import { output } from "../../test/node/command.ts";

export interface Sources extends AsyncDisposable {
  readonly nginx: Nginx;
  readonly registry: DockerRegistry;
}

/** Each name is a disk's: `large.qcow2`, and in the registry `large-plain:1` and `large-gzip:1`. */
export interface Disk {
  readonly name: string;
  readonly sizeMiB: number;
}

/** @param folderPath For what is made on the way. */
export async function serveDisks(disks: readonly Disk[], folderPath: string, signal: AbortSignal): Promise<Sources> {
  await using undo = new AsyncDisposableStack();
  const nginx = undo.use(await Nginx.start("http", signal));
  const registry = undo.use(await DockerRegistry.start({ isTls: false }, signal));
  for (const disk of disks) await serveDisk(disk, { nginx, registry, folderPath }, signal);
  const parts = undo.move();
  return { nginx, registry, [Symbol.asyncDispose]: async () => parts.disposeAsync() };
}

async function serveDisk(
  { name, sizeMiB }: Disk,
  { nginx, registry, folderPath }: Pick<Sources, "nginx" | "registry"> & { readonly folderPath: string },
  signal: AbortSignal,
): Promise<void> {
  const rawPath = join(folderPath, `${name}.raw`);
  const diskPath = join(nginx.filesPath, `${name}.qcow2`);
  const tarPath = join(folderPath, `${name}.tar`);
  // Nobody on the way can make it smaller.
  await output(["/usr/bin/dd", "if=/dev/urandom", `of=${rawPath}`, "bs=1M", `count=${sizeMiB}`, "status=none"], signal);
  await output(["/usr/bin/qemu-img", "convert", "-f", "raw", "-O", "qcow2", rawPath, diskPath], signal);
  await rm(rawPath);
  const owner = ["--owner=107", "--group=107", "--mode=0440"]; // as KubeVirt wants it
  const under = ["-C", nginx.filesPath, "--transform=s,^,disk/,"];
  await output(["/usr/bin/tar", "-cf", tarPath, ...owner, ...under, `${name}.qcow2`], signal);
  await registry.push(`tarball:${tarPath}`, `${name}-gzip:1`, [], signal);
  await registry.push(`tarball:${tarPath}`, `${name}-plain:1`, ["--preserve-digests"], signal); // otherwise it packs
  await rm(tarPath);
}
