// Debian's buildah: container images from a Dockerfile, as people make their containerDisks.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DockerRegistry } from "./docker-registry.ts";
import { tool } from "./server-parts.ts";

/**
 * Builds `Dockerfile` in that folder and pushes it.
 * Runs nothing in the image, needs no network and no daemon; its storage is a temp folder.
 */
export async function buildAndPush(
  folderPath: string,
  registry: DockerRegistry,
  repository: string,
  signal: AbortSignal,
): Promise<void> {
  await using undo = new AsyncDisposableStack();
  const storePath = await mkdtemp(join(tmpdir(), "vmlet-buildah-"));
  undo.defer(async () => rm(storePath, { recursive: true, force: true }));
  const storage = ["--storage-driver=vfs", `--root=${join(storePath, "root")}`, `--runroot=${join(storePath, "run")}`];
  await tool("buildah", [...storage, "build", "--quiet", "--isolation=chroot", "--tag=it", folderPath], signal);
  const to = `docker://${registry.host}/${repository}`;
  await tool("buildah", [...storage, "push", "--quiet", ...(await registry.access()), "it", to], signal);
}
