// QEMU is born in the pod's cgroup, where the cgroup parent is one that libvirt can be told.

import { existsSync } from "node:fs";
import { mkdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { cgroupRoots } from "../../../src/kernel/cgroups.ts";
import { run } from "../../../src/lib/spawn.ts";
import { startTestNode } from "../../node/test-node.ts";
import { VmPod } from "./vm-pod.ts";

const signal = AbortSignal.timeout(240_000);
const slices = ["vmlettest.slice", "vmlettest-burstable.slice", "vmlettest-burstable-pod1.slice"];
const podSlice = `/${slices.join("/")}`;
const hasMachined = existsSync("/run/systemd/machine");

test.skipIf(hasMachined)(
  hasMachined
    ? "cgroup (skipped: machined names the groups here)"
    : "a pod's slice holds its QEMU, and libvirt's own group goes with it",
  { timeout: 240_000 },
  async () => {
    const roots = cgroupRoots(await readFile("/proc/self/mounts", "utf8"));
    await using cleanUp = new AsyncDisposableStack();
    for (const root of roots) {
      for (let depth = 1; depth <= slices.length; depth += 1) {
        const path = join(root, ...slices.slice(0, depth));
        await mkdir(path);
        cleanUp.defer(async () => await rmdir(path));
        // As the kubelet does: a v1 cpuset is empty, and takes nobody, until it is told its CPUs and memory nodes.
        if (!existsSync(join(path, "cpuset.mems")) || root.endsWith("unified")) continue;
        for (const name of ["cpuset.cpus", "cpuset.mems"])
          await writeFile(join(path, name), await readFile(join(path, "..", name)));
      }
    }
    await using node = await startTestNode({}, signal);
    const pod = await VmPod.start(node, { pod: { linux: { cgroupParent: slices.at(-1) ?? "" } } }, signal);
    const pids = await run("/usr/bin/pgrep", ["-f", `guest=${await pod.domain(signal)},`], {}, signal);
    const cgroups = await readFile(`/proc/${pids.stdout.toString().trim()}/cgroup`, "utf8");
    expect(cgroups).toMatch(new RegExp(`memory:${podSlice}/`));
    await pod.remove(signal);
    expect(await node.leftovers(signal)).toEqual([]);
  },
);
