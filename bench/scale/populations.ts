// As many pods as a row wants: ours with VMs that are paused, so that they take no CPU, and Debian's containerd's with
// a container that sleeps.

import { mkdir, readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { containerConfigOf, podConfigOf, VmPod, virsh } from "../../test/integration/e2e/vm-pod.ts";
import { output, succeeds } from "../../test/node/command.ts";
import { CONTAINER_IMAGE, startContainerd } from "../../test/node/containerd.ts";
import { type CriClient, connectCri } from "../../test/node/cri-client.ts";
import type { Bench } from "../bench.ts";
import { inLanes } from "../lanes.ts";
import { removePods } from "../pods.ts";
import type { Answerer } from "./calls.ts";

export interface Population extends AsyncDisposable, Answerer {
  /** Until there are so many. */
  grow(count: number, signal: AbortSignal): Promise<void>;
}

const REMOVAL_LIMIT_MS = 600_000;

/** An image whose guest finds nothing to boot: a VM all the same, that leaves the processor to others. */
export async function blankImage({ node }: Bench, signal: AbortSignal): Promise<string> {
  const path = join(node.layout.imageFolderPath, "blank.qcow2");
  await output(["/usr/bin/qemu-img", "create", "-q", "-f", "qcow2", path, "4M"], signal);
  return node.images.nameOf("blank.qcow2");
}

export async function pausedMachines(bench: Bench, signal: AbortSignal): Promise<Population> {
  const { node, say } = bench;
  const image = await blankImage(bench, signal);
  const pods: VmPod[] = [];
  const add = async (name: string): Promise<void> => {
    const pod = await VmPod.create(node, { name, image }, signal);
    pods.push(pod);
    await pod.start(signal);
    await virsh(["suspend", await pod.domain(signal)], signal);
  };
  return {
    cri: node.cri,
    get containerId() {
      return pods[0]?.containerId ?? "";
    },
    grow: async (count) => {
      say(`${count - pods.length} more VMs, paused`);
      await inLanes(namesOf("scale", pods.length, count), add);
    },
    [Symbol.asyncDispose]: async () => {
      say(`${pods.length} VMs go`);
      const removing = removalSignal();
      await inLanes(pods, async (pod) => await pod.remove(removing));
    },
  };
}

/** Beside the node, with addresses of its own: the node's own are for as many VMs. */
export async function sleepingContainers(
  { node, say }: Bench,
  signal: AbortSignal,
): Promise<Population & { pid(): Promise<number> }> {
  await using undo = new AsyncDisposableStack();
  const bridgeName = `${node.layout.bridgeName}c`;
  undo.defer(async () => void (await succeeds(["/usr/sbin/ip", "link", "delete", bridgeName], removalSignal())));
  const cniFolderPath = await ownNetwork(node, bridgeName);
  const containerd = undo.use(await startContainerd({ ...node.layout, cniFolderPath }, signal));
  const cri = undo.use(connectCri(containerd.socketPath));
  const pods: { readonly podSandboxId: string; readonly containerId: string }[] = [];
  const cgroupParent = `/${bridgeName}`; // of them all, as a kubelet's pods have theirs
  undo.defer(async () => await removeCgroups(cgroupParent));
  undo.defer(async () => {
    say(`${pods.length} containers go`);
    const podIds = pods.map(({ podSandboxId }) => podSandboxId);
    await removePods(cri, podIds, removalSignal());
  });
  const parts = undo.move();
  return {
    cri,
    pid: async () => await containerd.pid(),
    get containerId() {
      return pods[0]?.containerId ?? "";
    },
    grow: async (count) => {
      say(`${count - pods.length} more containers`);
      await inLanes(namesOf("container", pods.length, count), async (name) => {
        const config = podConfigOf(node, name, { linux: { cgroupParent: `${cgroupParent}/${name}` } });
        pods.push(await runContainer(cri, config, signal));
      });
    },
    [Symbol.asyncDispose]: async () => await parts.disposeAsync(),
  };
}

async function ownNetwork({ layout, subnet }: Bench["node"], bridgeName: string): Promise<string> {
  const cniFolderPath = join(layout.runFolderPath, "containerd-net.d");
  await mkdir(cniFolderPath, { recursive: true });
  const name = "10-vmlet.conflist";
  const ours = await readFile(join(layout.cniFolderPath, name), "utf8");
  const [, , third] = subnet.split(".");
  const theirs = ours.replaceAll(`"${layout.bridgeName}"`, `"${bridgeName}"`).replaceAll(subnet, `10.251.${third}`);
  await writeFile(join(cniFolderPath, name), theirs);
  return cniFolderPath;
}

/** With all below it, in every hierarchy: containerd removes its own ones only. */
async function removeCgroups(cgroupParent: string): Promise<void> {
  const mounts = (await readFile("/proc/self/mounts", "utf8")).split("\n").map((line) => line.split(" "));
  for (const [, root = "", type = ""] of mounts) {
    if (type !== "cgroup" && type !== "cgroup2") continue;
    const folder = join(root, cgroupParent);
    const names = await readdir(folder, { withFileTypes: true }).catch(() => []);
    for (const entry of names) if (entry.isDirectory()) await rmdir(join(folder, entry.name));
    await rmdir(folder).catch(() => {}); // it is not in each
  }
}

async function runContainer(
  { runtime }: CriClient,
  sandboxConfig: ReturnType<typeof podConfigOf>,
  signal: AbortSignal,
): Promise<{ readonly podSandboxId: string; readonly containerId: string }> {
  const { podSandboxId } = await runtime.runPodSandbox({ config: sandboxConfig, runtimeHandler: "" }, signal);
  const config = containerConfigOf(CONTAINER_IMAGE);
  const { containerId } = await runtime.createContainer({ podSandboxId, config, sandboxConfig }, signal);
  await runtime.startContainer({ containerId }, signal);
  return { podSandboxId, containerId };
}

const namesOf = (what: string, from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, index) => `${what}-${from + index}`);

const removalSignal = (): AbortSignal => AbortSignal.timeout(REMOVAL_LIMIT_MS);
