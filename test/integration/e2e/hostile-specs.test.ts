// Specs by somebody who means harm, and the ordinary ones that only look odd: the first are refused by field or do no
// harm, the second run.

import { mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ContainerState, ImageSpec, NamespaceMode, Protocol } from "../../../src/gen/runtime.ts";
import { qcow2 } from "../../fakes/disk-image.ts";
import { output } from "../../node/command.ts";
import { removePods } from "../../node/teardown.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { expectRefused, refusalOf } from "./refusals.ts";
import { containerConfigOf, podConfigOf, VmPod, type VmPodOptions } from "./vm-pod.ts";

const suite = AbortSignal.timeout(300_000);
let node: TestNode;
let image = "";

beforeAll(async () => {
  node = await startTestNode({}, suite);
  await writeFile(join(node.layout.imageFolderPath, "small.qcow2"), qcow2());
  image = node.images.nameOf("small.qcow2");
  const request = { image: ImageSpec.fromPartial({ image }), auth: undefined, sandboxConfig: undefined };
  await node.cri.image.pullImage(request, suite);
});
afterAll(async () => await node[Symbol.asyncDispose]());
beforeEach(async () => void (await removePods(node.layout, suite))); // of tests that failed

const HALF_PAIR = `a${"🙂".repeat(5000)}`;
const namespaces = (options: object): VmPodOptions["pod"] => ({
  linux: { securityContext: { namespaceOptions: options } },
});
const port = (over: object): VmPodOptions["pod"] => ({
  portMappings: [{ protocol: Protocol.TCP, containerPort: 80, hostPort: 8080, hostIp: "", ...over }],
});
const named = (over: object): VmPodOptions["pod"] => ({
  metadata: { name: "web", namespace: "default", uid: "u", attempt: 0, ...over },
  hostname: "web",
});
const dns = (over: object): VmPodOptions["pod"] => ({ dnsConfig: { servers: [], searches: [], options: [], ...over } });
const annotated = (name: string, value: string): VmPodOptions["pod"] => ({
  annotations: { [`vmlet.dev/${name}`]: value },
});

describe("a pod", () => {
  const run = async (pod: VmPodOptions["pod"], runtimeHandler = "vmlet"): Promise<string> =>
    (await node.cri.runtime.runPodSandbox({ config: podConfigOf(node, "bad", pod), runtimeHandler }, suite))
      .podSandboxId;

  test.each([
    ["host network", namespaces({ network: NamespaceMode.NODE }), /namespace_options\.network: .*hostNetwork: true/],
    ["host pid", namespaces({ pid: NamespaceMode.NODE }), /namespace_options\.pid: .*hostPID: true/],
    ["host ipc", namespaces({ ipc: NamespaceMode.NODE }), /namespace_options\.ipc: .*hostIPC: true/],
    [
      "users of its own",
      namespaces({ usernsOptions: { mode: NamespaceMode.POD } }),
      /userns_options: .*hostUsers: false/,
    ],
    ["a port above all", port({ hostPort: 70_000 }), /port_mappings\[0\]\.host_port: 70000 is not a port/],
    ["a port below all", port({ containerPort: -1 }), /port_mappings\[0\]\.container_port: -1 is not a port/],
    ["no address for a port", port({ hostIp: "0.0.0.0; reboot" }), /port_mappings\[0\]\.host_ip: .*not an IP/],
    ["a protocol that nobody knows", port({ protocol: 77 }), /port_mappings\[0\]\.protocol: .* not known/],
    ["a host name with a command in it", { hostname: "a;reboot" }, /config\.hostname: .*not a host name/],
    [
      "a host name with a line of dnsmasq's",
      { hostname: "a\ndhcp-script=/bin/sh" },
      /config\.hostname: .*not a host name/,
    ],
    ["a host name that is cut in the middle of a character", { hostname: HALF_PAIR }, /config\.hostname: /],
    [
      "a DNS server with a second line",
      dns({ servers: ["1.1.1.1\nconf-file=/etc/shadow"] }),
      /dns_config\.servers\[0\]/,
    ],
    ["a search domain with a space", dns({ searches: ["ok.local", "a b"] }), /dns_config\.searches\[1\]: "a b"/],
    ["a DNS option with a NUL", dns({ options: ["ndots:5\0"] }), /dns_config\.options\[0\]/],
    ["no name", named({ name: "" }), /metadata\.name: must be set/],
    ["no uid", named({ uid: "" }), /metadata\.uid: must be set/],
    ["a uid with lines", named({ uid: "a\nb" }), /metadata\.uid: .*control characters/],
    ["a uid without end", named({ uid: "u".repeat(100_000) }), /metadata\.uid: 100000 characters, at most 253/],
    ["another pod's name as an argument", named({ namespace: "x;K8S_POD_NAME=victim" }), /metadata\.namespace: .*CNI/],
    ["a relative log folder", { logDirectory: "var/log" }, /log_directory: "var\/log" must be an absolute path/],
    ["labels beyond all measure", { labels: { x: "y".repeat(5 << 20) } }, /config: \d+ bytes to keep, limit 4194304/],
    [
      "no overhead that a machine can have",
      { linux: { overhead: { memoryLimitInBytes: 1n << 60n } } },
      /config\.linux\.overhead/,
    ],
  ])("with %s is refused by field", async (_what, pod, details) => {
    await expectRefused(node, async () => await run(pod), { code: status.INVALID_ARGUMENT, details }, suite);
  });

  test("of a runtime handler that is not ours is refused", async () => {
    const details = /runtime_handler: "runc" is not known here; router.handlers has "vmlet"/;
    await expectRefused(node, async () => await run({}, "runc"), { code: status.INVALID_ARGUMENT, details }, suite);
  });

  test("larger than a message may be is refused, and the daemon goes on", async () => {
    const labels = { x: "y".repeat(17 << 20) };
    expect((await refusalOf(run({ labels }))).code).toBe(status.RESOURCE_EXHAUSTED);
    expect((await node.cri.runtime.version({ version: "v1" }, suite)).runtimeName).toBe("vmlet");
  });

  test("with a uid that is a path keeps to its own folders", async () => {
    const podSandboxId = await run(named({ uid: "../../../../tmp/vmlet-uid", namespace: "../..", name: ".." }));
    const pod = await node.cri.runtime.podSandboxStatus({ podSandboxId, verbose: false }, suite);
    expect(pod.status?.metadata?.uid).toBe("../../../../tmp/vmlet-uid");
    const config = podConfigOf(node, "bad");
    const request = { podSandboxId, config: containerConfigOf(image), sandboxConfig: config };
    const { containerId } = await node.cri.runtime.createContainer(request, suite);
    await node.cri.runtime.startContainer({ containerId }, suite);
    await node.cri.runtime.stopPodSandbox({ podSandboxId }, suite);
    await node.cri.runtime.removePodSandbox({ podSandboxId }, suite);
    expect(await node.leftovers(suite)).toEqual([]);
  });
});

describe("a container", () => {
  const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJkRyJDVUpbGTQbTWJQnFW1cnOS3xYyfyMXFFv5Yfv0H me";

  test.each([
    ["user-data with a NUL", annotated("user-data", "#cloud-config\0"), /user-data"\]: must not contain a NUL/],
    ["user-data without end", annotated("user-data", "x".repeat(300_000)), /user-data"\]: more than 262144 bytes/],
    ["a key with a control character", annotated("ssh-keys", `${KEY}\u0007`), /ssh-keys"\]: key 1 is not an OpenSSH/],
    ["a key that is none", annotated("ssh-keys", `${KEY}\ncommand=x`), /ssh-keys"\]: key 2 is not an OpenSSH/],
    ["a template whose name is cut in the middle of a character", annotated("template", HALF_PAIR), /template"\]: .*/],
    ["a disk size that is none", annotated("root-size", "-1"), /root-size"\]: "-1" is no size/],
  ])("of a pod with %s is refused by annotation", async (_what, pod, details) => {
    const config = podConfigOf(node, "bad", pod);
    const { podSandboxId } = await node.cri.runtime.runPodSandbox({ config, runtimeHandler: "vmlet" }, suite);
    const request = { podSandboxId, config: containerConfigOf(image), sandboxConfig: config };
    const expected = { code: status.INVALID_ARGUMENT, details };
    await expectRefused(node, async () => await node.cri.runtime.createContainer(request, suite), expected, suite);
    await node.cri.runtime.removePodSandbox({ podSandboxId }, suite);
  });

  test("as the kubelet makes every one is made: what a VM cannot have is told, and no secret of the node is copied", async () => {
    const folderPath = join(node.layout.stateFolderPath, "kubelet");
    const tokenPath = join(folderPath, "token");
    await mkdir(join(tokenPath, "..data"), { recursive: true });
    await writeFile(join(tokenPath, "..data/token"), "secret");
    await symlink("..data/token", join(tokenPath, "token"));
    const escapingPath = join(folderPath, "escaping");
    await mkdir(escapingPath);
    await symlink("/etc/shadow", join(escapingPath, "shadow"));
    await writeFile(join(folderPath, "hosts"), "127.0.0.1 localhost\n");
    await writeFile(join(folderPath, "termination-log"), "");
    await output(["/usr/bin/mkfifo", join(folderPath, "fifo")], suite);
    const mount = (containerPath: string, hostPath: string) => ({ containerPath, hostPath });
    const pod = await VmPod.create(
      node,
      {
        name: "ordinary",
        image,
        container: {
          mounts: [
            mount("/etc/hosts", join(folderPath, "hosts")),
            mount("/var/run/secrets/kubernetes.io/serviceaccount/", tokenPath),
            mount("/dev/termination-log", join(folderPath, "termination-log")),
            mount("/data/escaping", escapingPath),
            mount("/data/fifo", join(folderPath, "fifo")),
            mount("/data/zero", "/dev/zero"),
            mount("/data/absent", join(folderPath, "absent")),
            mount("/data/../../proc/x", join(folderPath, "hosts")),
            mount("relative", join(folderPath, "hosts")),
            mount("/data/new\nline", join(folderPath, "hosts")),
            mount("/etc//odd/./hosts", join(folderPath, "hosts")),
          ],
          linux: {
            resources: { memoryLimitInBytes: 256n << 20n, cpuShares: 2n, oomScoreAdj: 1000n },
            securityContext: {
              privileged: true,
              capabilities: { addCapabilities: ["ALL"] },
              maskedPaths: ["/proc/kcore"],
              readonlyPaths: ["/proc/sys"],
              seccomp: { profileType: 0, localhostRef: "" },
              runAsUser: { value: 65_534n },
              noNewPrivs: true,
            },
          },
        },
      },
      suite,
    );
    const seedPath = join(node.layout.stateFolderPath, "pods", pod.podId, "machines", pod.containerId, "seed.iso");
    const setup = await output(["/usr/bin/isoinfo", "-R", "-i", seedPath, "-x", "/vmlet/setup"], suite);
    expect(setup).toMatch(/'\/etc\/hosts'$/m);
    expect(setup).toContain("'/var/run/secrets/kubernetes.io/serviceaccount/token'");
    expect(setup).toContain("'/etc/odd/hosts'");
    expect(setup).toContain("'/data/new\nline'");
    const files = setup.slice(setup.indexOf("\nput files/")); // behind the script's own functions
    expect(files).not.toMatch(/shadow|fifo|zero|proc|termination/);
    expect((await readFile(seedPath)).includes("root:")).toBe(false);
    const { info, status: told } = await node.cri.runtime.containerStatus(
      { containerId: pod.containerId, verbose: true },
      suite,
    );
    const { notices } = JSON.parse(info["info"] ?? "{}") as { notices: string[] };
    for (const path of [
      "/dev/termination-log",
      "/data/escaping",
      "/data/fifo",
      "/data/zero",
      "/data/absent",
      "relative",
    ]) {
      expect(notices, path).toContainEqual(expect.stringContaining(`mount ${path}: `));
    }
    expect(told?.mounts).toHaveLength(11);
    await pod.remove(suite);
  });

  test.each([
    ["a link to somebody's file", async (path: string, victim: string) => await symlink(victim, path)],
    ["a FIFO that nobody reads", async (path: string) => void (await output(["/usr/bin/mkfifo", path], suite))],
    ["a folder", async (path: string) => await mkdir(path)],
  ])("whose log is %s runs, and writes nowhere", async (_what, put) => {
    const victim = join(node.layout.stateFolderPath, "victim");
    await writeFile(victim, "untouched");
    const pod = await VmPod.create(node, { name: "log", image }, suite);
    const logPath = join(pod.podConfig.logDirectory, pod.containerConfig.logPath);
    await mkdir(dirname(logPath), { recursive: true });
    await put(logPath, victim);
    await pod.start(suite);
    expect((await pod.status(suite)).state).toBe(ContainerState.CONTAINER_RUNNING);
    const reopen = node.cri.runtime.reopenContainerLog({ containerId: pod.containerId }, suite);
    expect(await refusalOf(reopen)).toMatchObject({ code: status.FAILED_PRECONDITION });
    await pod.stop(0, suite);
    await pod.remove(suite);
    expect(await readFile(victim, "utf8")).toBe("untouched");
    await rm(victim);
    expect(await node.leftovers(suite)).toEqual([]);
  });

  test("with a MiB of environment and a thousand labels is made and told whole", async () => {
    const envs = [{ key: "BIG", value: Buffer.alloc(1 << 20, "é\n'") }];
    const labels = Object.fromEntries(Array.from({ length: 1000 }, (_, index) => [`label-${index}`, "x".repeat(60)]));
    const pod = await VmPod.create(node, { name: "big", image, container: { envs, labels } }, suite);
    expect((await pod.status(suite)).labels).toEqual(labels);
    await pod.remove(suite);
  });
});
