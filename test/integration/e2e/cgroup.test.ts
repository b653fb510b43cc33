// QEMU is born in the pod's cgroup, where the cgroup parent is one that libvirt can be told.

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { MACHINED_PATH, SYSTEMD_PATH } from "../../../src/kernel/cgroups.ts";
import { run } from "../../../src/lib/spawn.ts";
import { startTestNode } from "../../node/test-node.ts";
import { makePodSlice } from "./pod-slice.ts";
import { VmPod } from "./vm-pod.ts";

const signal = AbortSignal.timeout(500_000); // a second try has some of it, too
const hasMachined = existsSync(SYSTEMD_PATH) && existsSync(MACHINED_PATH);

test.skipIf(hasMachined)(
  hasMachined
    ? "cgroup (skipped: machined names the groups here)"
    : "a pod's slice holds its QEMU and its DHCP server, and their own groups go with them",
  { timeout: 240_000 },
  async () => {
    await using slice = await makePodSlice("vmlettest");
    await using node = await startTestNode({}, signal);
    const pod = await VmPod.start(node, { pod: { linux: { cgroupParent: slice.name } } }, signal);
    const cgroupsOf = async (commandLine: string): Promise<string[]> => {
      const pids = await run("/usr/bin/pgrep", ["-f", commandLine], {}, signal);
      return (await readFile(`/proc/${pids.stdout.toString().trim()}/cgroup`, "utf8")).split("\n");
    };
    const qemu = await cgroupsOf(`guest=${await pod.domain(signal)},`);
    expect(qemu.filter((line) => line.includes(`memory:${slice.path}/`))).toHaveLength(1);
    const server = await cgroupsOf(`conf-file=.*/${pod.podId}/`);
    expect(server.filter((line) => line.endsWith(`:${slice.path}/vmlet`))).toHaveLength(slice.count);
    await pod.remove(signal);
    expect(await node.leftovers(signal)).toEqual([]);
  },
);
