// The image as it is built without docker, and the chart's DaemonSet run from it by Debian's containerd: a machine goes on
// while the pod that started it is replaced by one of a newer image. Minutes, so FULL=1.

import { randomInt } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, readlink, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ContainerState, LinuxContainerResources } from "../../../src/gen/runtime.ts";
import { copyCheckout } from "../../node/checkout.ts";
import { output } from "../../node/command.ts";
import { startContainerd } from "../../node/containerd.ts";
import { type CriClient, connectCri } from "../../node/cri-client.ts";
import { serveImages } from "../../node/image-server.ts";
import { layoutOf, type NodeOptions } from "../../node/layout.ts";
import { writeNodeFiles } from "../../node/node-files.ts";
import { poll } from "../../node/poll.ts";
import { makePodSlice, type PodSlice } from "../e2e/pod-slice.ts";
import { httpGet, type PodsNode, VmPod } from "../e2e/vm-pod.ts";
import { type DaemonSetPod, startDaemonSetPod } from "./daemonset-pod.ts";
import { CHARTCHECK_PATH, renderChart } from "./rendered.ts";

interface Process {
  readonly pid: string;
  readonly commandLine: string;
}

const why =
  process.env["FULL"] !== "1"
    ? "skipped: FULL=1 only"
    : existsSync(CHARTCHECK_PATH)
      ? undefined
      : "skipped: make chart has not built chartcheck";

describe.skipIf(why !== undefined)(`the chart's DaemonSet, run by containerd${why ? ` (${why})` : ""}`, () => {
  const suite = AbortSignal.timeout(25 * 60_000);
  const LIMIT_MS = 10 * 60_000;
  const stack = new AsyncDisposableStack();
  const options: NodeOptions = {
    name: `t${randomInt(0x1000000).toString(16).padStart(6, "0")}`,
    subnet: `10.${randomInt(100, 250)}.${randomInt(1, 250)}`,
    imagePort: 0,
  };
  const layout = layoutOf(options);
  const rootPath = join(layout.stateFolderPath, "node");
  const metricsPort = randomInt(20_000, 30_000);
  let containers: CriClient;
  let node: PodsNode;
  let daemonSet: DaemonSetPod;
  let machine: VmPod;
  let slice: PodSlice;
  let qemu: Process;
  let dhcpServer: Process;

  beforeAll(async () => {
    stack.defer(async () => {
      for (const path of [layout.runFolderPath, layout.stateFolderPath])
        await rm(path, { recursive: true, force: true });
    });
    await writeNodeFiles(options, layout);
    stack.defer(
      async () => void (await output(["/usr/sbin/ip", "link", "del", layout.bridgeName], suite).catch(() => "")),
    );
    await shareMounts();
    slice = stack.use(await makePodSlice("vmletds"));
    const images = stack.use(await serveImages(layout.imageFolderPath, 0));
    const containerd = stack.use(await startContainerd({ ...layout, snapshotter: "overlayfs" }, suite));
    containers = stack.use(connectCri(containerd.socketPath));
    for (const version of ["0.1.0", "0.1.1"]) await importImage(containerd.socketPath, version);
    daemonSet = await start("0.1.0");
    const socketPath = join(rootPath, "run/vmlet/vmlet.sock");
    const cri = stack.use(connectCri(socketPath));
    await untilReady(cri);
    node = { cri, layout, tinyImage: images.nameOf("tiny.qcow2") };
    stack.defer(async () => {
      const made: VmPod | undefined = machine;
      if (made === undefined) return; // a failure before it
      await made.remove(AbortSignal.timeout(60_000)).catch(() => {});
      for (const left of [qemu, dhcpServer]) await end(left);
      const netns = `vmlet-${made.podId.slice(0, 12)}`; // gone already, unless a test failed
      await output(["/usr/sbin/ip", "netns", "del", netns], AbortSignal.timeout(10_000)).catch(() => "");
    });
  }, LIMIT_MS);
  afterAll(async () => await stack.disposeAsync(), LIMIT_MS);

  /** As systemd makes all of a node's mounts. */
  async function shareMounts(): Promise<void> {
    const path = join(rootPath, "var/lib/kubelet");
    await mkdir(path, { recursive: true });
    await output(["/usr/bin/mount", "--bind", path, path], suite);
    stack.defer(async () => void (await output(["/usr/bin/umount", "-l", path], AbortSignal.timeout(10_000))));
    await output(["/usr/bin/mount", "--make-shared", path], suite);
    const name = `vmlet-${options.name}`;
    await output(["/usr/sbin/ip", "netns", "add", name], suite); // the first one of a machine makes /run/netns such a mount
    await output(["/usr/sbin/ip", "netns", "del", name], suite);
  }

  /** Of a copy of this checkout with that version. */
  async function importImage(socketPath: string, version: string): Promise<void> {
    const copy = join(layout.stateFolderPath, `checkout-${version}`);
    await copyCheckout(copy, version);
    const archive = join(layout.stateFolderPath, "image.tar");
    await output([join(copy, "packaging/image/build"), archive, `docker.io/library/vmlet:${version}`], suite);
    const ctr = ["/usr/bin/ctr", "-a", socketPath, "-n", "k8s.io"] as const;
    await output([...ctr, "images", "import", "--snapshotter", "overlayfs", archive], suite);
    await rm(archive);
    await rm(copy, { recursive: true });
  }

  async function start(tag: string): Promise<DaemonSetPod> {
    // Never the whole of our folders: containerd's mounts are in them.
    const cniFolders = [dirname(layout.ipamFolderPath), layout.podLogFolderPath];
    const rendered = await renderChart({
      image: { repository: "docker.io/library/vmlet", tag },
      router: { mode: "none" }, // no systemd here
      config: { images: { allowHttp: true } },
      metrics: { port: metricsPort },
      host: { cniBinFolder: "/usr/lib/cni", cniConfigFolder: layout.cniFolderPath, cniFolders },
    });
    const same = ["/usr/lib/cni", "/sys/fs/cgroup", "/run/netns", layout.cniFolderPath, ...cniFolders];
    const elsewhere = Object.fromEntries(same.map((path) => [path, path]));
    return await startDaemonSetPod(containers, rendered, { rootPath, elsewhere }, suite);
  }

  async function untilReady(cri: CriClient): Promise<void> {
    const isReady = async (): Promise<true | undefined> => {
      const { status } = await cri.runtime.status({ verbose: false }, suite);
      return status?.conditions.every((condition) => condition.status) === true ? true : undefined;
    };
    try {
      await poll(isReady, { what: "a vmlet that is ready", limitMs: 120_000 }, suite);
    } catch (error) {
      const logs = [await daemonSet.log("libvirtd"), await daemonSet.log("vmlet")].map((log) => log.slice(-3000));
      throw new Error(`not ready:\n${logs.join("\n--\n")}`, { cause: error });
    }
  }

  /** What a failed test left. */
  async function end(left: Process | undefined): Promise<void> {
    if (left !== undefined && (await commandLineOf(left.pid)) === left.commandLine)
      process.kill(Number(left.pid), "SIGKILL");
  }

  const commandLineOf = async (pid: string): Promise<string> =>
    await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");

  /** The one whose command line has both. */
  async function findProcess(program: string, word: string): Promise<Process> {
    for (const pid of (await readdir("/proc")).filter((entry) => /^\d+$/.test(entry))) {
      const commandLine = await commandLineOf(pid);
      if (commandLine.split("\0")[0]?.includes(program) && commandLine.includes(word)) return { pid, commandLine };
    }
    throw new Error(`no ${program} with ${word}`);
  }

  const findQemu = async (): Promise<Process> =>
    await findProcess("qemu-system", `guest=${await machine.domain(suite)},`);
  const findDhcpServer = async (): Promise<Process> => await findProcess("dnsmasq", `/${machine.podId}/`);
  const cgroupsOf = async ({ pid }: Process): Promise<string> => await readFile(`/proc/${pid}/cgroup`, "utf8");

  /** A card whose ROM QEMU has not opened yet: it reads it from the folder that it runs from. And another share of the CPU. */
  async function hotPlug(): Promise<void> {
    const card = "<interface type='user'><mac address='52:54:00:12:34:56'/><model type='virtio'/></interface>";
    await writeFile(join(rootPath, "run/vmlet/card.xml"), card);
    const name = await machine.domain(suite);
    const virsh = async (...args: string[]) => await daemonSet.exec("libvirtd", ["virsh", "-q", ...args], suite);
    expect(await virsh("attach-device", name, "/run/vmlet/card.xml", "--live")).toMatchObject({ exitCode: 0 });
    expect((await virsh("domiflist", name)).text).toContain("52:54:00:12:34:56");
    const linux = LinuxContainerResources.fromPartial({ cpuShares: 700n });
    const { containerId } = machine;
    await node.cri.runtime.updateContainerResources({ containerId, linux, windows: undefined, annotations: {} }, suite);
    expect((await virsh("schedinfo", name, "--live")).text).toMatch(/^cpu_shares +: 700$/m);
  }

  test(
    "vmlet version and vmlet doctor run in it, and nothing is missing that the image should have",
    async () => {
      const version = await daemonSet.exec("vmlet", ["vmlet", "version"], suite);
      expect(version).toEqual({
        exitCode: 0,
        text: expect.stringMatching(/^vmlet {4}0\.1\.0\ndaemon {3}0\.1\.0, CRI v1/),
      });
      const { text } = await daemonSet.exec("vmlet", ["vmlet", "doctor"], suite);
      expect(text.split("\n").filter((line) => line.startsWith("BAD"))).toEqual([]);
      for (const about of ["consoles", "libvirtd", "programs", "qemu", "cni", "kernel", "vmlet"])
        expect(text).toMatch(new RegExp(`^ok +${about} `, "m"));
    },
    LIMIT_MS,
  );

  test(
    "a pod becomes a machine, whose QEMU runs from a folder of the node; it and its helper are in no container's cgroup",
    async () => {
      machine = await VmPod.start(node, { pod: { linux: { cgroupParent: slice.name } } }, suite);
      expect(await httpGet(`http://${await machine.ip(suite)}/`, suite)).not.toBe("");
      qemu = await findQemu();
      expect(await readlink(`/proc/${qemu.pid}/exe`)).toMatch(/\/0\.1\.0-[0-9a-f]{12}\/qemu\/usr\/bin\/qemu-system-/);
      dhcpServer = await findDhcpServer();
      for (const process of [qemu, dhcpServer]) expect(await cgroupsOf(process)).not.toContain("k8s.io");
      expect(await cgroupsOf(dhcpServer)).toContain(`${slice.path}/vmlet`);
    },
    LIMIT_MS,
  );

  test(
    "the pod is replaced by one of a newer image, and the machine goes on: log, exec, hot-plug, network, stop",
    async () => {
      const before = await machine.log();
      const page = `http://${await machine.ip(suite)}/`;
      await daemonSet.remove(suite);
      expect(await httpGet(page, suite)).not.toBe(""); // with neither daemon there
      daemonSet = await start("0.1.1");
      await untilReady(node.cri);
      expect((await node.cri.runtime.version({ version: "v1" }, suite)).runtimeVersion).toBe("0.1.1");
      expect((await machine.status(suite)).state).toBe(ContainerState.CONTAINER_RUNNING);
      expect([await findQemu(), await findDhcpServer()]).toEqual([qemu, dhcpServer]);
      const request = {
        containerId: machine.containerId,
        cmd: ["sh", "-c", "echo heard >/dev/console; echo said"],
        timeout: 60n,
      };
      const { exitCode, stdout } = await node.cri.runtime.execSync(request, suite);
      expect({ exitCode, stdout: Buffer.from(stdout).toString("utf8") }).toEqual({ exitCode: 0, stdout: "said\n" });
      const log = await machine.says("heard", suite);
      expect(log.startsWith(before)).toBe(true);
      await hotPlug();
      expect(await httpGet(page, suite)).not.toBe("");
      await machine.stop(60, suite);
      expect(await machine.status(suite)).toMatchObject({ state: ContainerState.CONTAINER_EXITED, exitCode: 0 });
      await machine.remove(suite);
    },
    LIMIT_MS,
  );

  test(
    "what the older image had put on the node goes when no machine runs from it any more",
    async () => {
      const builds = async (): Promise<string[]> => (await readdir(join(rootPath, "opt/vmlet"))).toSorted();
      expect(await builds()).toEqual([expect.stringMatching(/^0\.1\.0-/), expect.stringMatching(/^0\.1\.1-/)]);
      await daemonSet.remove(suite);
      daemonSet = await start("0.1.1");
      expect(await builds()).toEqual([expect.stringMatching(/^0\.1\.1-/)]);
    },
    LIMIT_MS,
  );
});
