// A pod's cgroup as the kubelet makes it, in every hierarchy.

import { existsSync } from "node:fs";
import { mkdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cgroupRoots } from "../../../src/kernel/cgroups.ts";
import { mountedHierarchies } from "../../../src/kernel/pod-cgroup.ts";

export interface PodSlice extends AsyncDisposable {
  /** What the kubelet says as cgroup_parent. */
  readonly name: string;
  /** Below the root of each hierarchy. */
  readonly path: string;
  /** In how many hierarchies it is. */
  readonly count: number;
  /** Its folder in each. */
  readonly folders: readonly string[];
}

/** Disposing rejects when somebody is in it still. */
export async function makePodSlice(owner: string): Promise<PodSlice> {
  const slices = [`${owner}.slice`, `${owner}-burstable.slice`, `${owner}-burstable-pod1.slice`];
  const roots = cgroupRoots(await readFile("/proc/self/mounts", "utf8"));
  return await makeGroups(roots, { groups: slices, name: slices.at(-1) ?? "" });
}

/** The same of a kubelet whose driver is cgroupfs. */
export async function makePodGroup(owner: string): Promise<PodSlice> {
  const groups = [owner, "burstable", "pod1"];
  const roots = (await mountedHierarchies()).map(({ path }) => path);
  return await makeGroups(roots, { groups, name: `/${groups.join("/")}` });
}

async function makeGroups(
  roots: readonly string[],
  { groups, name }: { readonly groups: readonly string[]; readonly name: string },
): Promise<PodSlice> {
  await using undo = new AsyncDisposableStack();
  for (const root of roots) {
    for (let depth = 1; depth <= groups.length; depth += 1) {
      const path = join(root, ...groups.slice(0, depth));
      await mkdir(path, { recursive: true }); // a try that failed may have left it
      undo.defer(async () => await rmdir(path));
      // As the kubelet does: a v1 cpuset is empty, and takes nobody, until it is told its CPUs and memory nodes.
      if (!existsSync(join(path, "cpuset.mems")) || root.endsWith("unified")) continue;
      for (const file of ["cpuset.cpus", "cpuset.mems"])
        await writeFile(join(path, file), await readFile(join(path, "..", file)));
    }
  }
  const made = undo.move();
  return {
    name,
    path: `/${groups.join("/")}`,
    count: roots.length,
    folders: roots.map((root) => join(root, ...groups)),
    [Symbol.asyncDispose]: async () => await made.disposeAsync(),
  };
}
