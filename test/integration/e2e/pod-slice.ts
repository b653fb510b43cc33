// A pod's cgroup as the kubelet makes it, in every hierarchy that libvirt uses.

import { existsSync } from "node:fs";
import { mkdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cgroupRoots } from "../../../src/kernel/cgroups.ts";

export interface PodSlice extends AsyncDisposable {
  /** What the kubelet says as cgroup_parent. */
  readonly name: string;
  /** Below the root of each hierarchy. */
  readonly path: string;
  /** In how many hierarchies it is. */
  readonly count: number;
}

/** Disposing rejects when somebody is in it still. */
export async function makePodSlice(owner: string): Promise<PodSlice> {
  const slices = [`${owner}.slice`, `${owner}-burstable.slice`, `${owner}-burstable-pod1.slice`];
  const roots = cgroupRoots(await readFile("/proc/self/mounts", "utf8"));
  await using undo = new AsyncDisposableStack();
  for (const root of roots) {
    for (let depth = 1; depth <= slices.length; depth += 1) {
      const path = join(root, ...slices.slice(0, depth));
      await mkdir(path, { recursive: true }); // a try that failed may have left it
      undo.defer(async () => await rmdir(path));
      // As the kubelet does: a v1 cpuset is empty, and takes nobody, until it is told its CPUs and memory nodes.
      if (!existsSync(join(path, "cpuset.mems")) || root.endsWith("unified")) continue;
      for (const name of ["cpuset.cpus", "cpuset.mems"])
        await writeFile(join(path, name), await readFile(join(path, "..", name)));
    }
  }
  const made = undo.move();
  return {
    name: slices.at(-1) ?? "",
    path: `/${slices.join("/")}`,
    count: roots.length,
    [Symbol.asyncDispose]: async () => await made.disposeAsync(),
  };
}
