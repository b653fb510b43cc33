// Pods and containers that cannot be: each is refused with the field and the remedy, and leaves nothing. And what looks
// bad but is not: it arrives as it was sent, and adds nothing to the domain.

import { cp, mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ContainerState, ImageSpec } from "../../../src/gen/runtime.ts";
import { parseXml, type XmlElement } from "../../../src/libvirt/xml.ts";
import { qcow2 } from "../../fakes/disk-image.ts";
import { output } from "../../node/command.ts";
import { REPO_PATH } from "../../node/layout.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { expectRefused, traces } from "./refusals.ts";
import { containerConfigOf, podConfigOf, VmPod, type VmPodOptions, virsh } from "./vm-pod.ts";

const suite = AbortSignal.timeout(300_000);
const templates = join("/run", `vmlet-templates-${process.pid}`);
let node: TestNode;
let image = "";

beforeAll(async () => {
  await mkdir(templates);
  const shipped = join(REPO_PATH, "domain-templates/linux.xml");
  await cp(shipped, join(templates, "linux.xml"));
  const text = await readFile(shipped, "utf8");
  await writeFile(join(templates, "unclosed.xml"), text.replace("</devices>", ""));
  await writeFile(
    join(templates, "entities.xml"),
    `<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/shadow">]>\n<domain>&a;</domain>`,
  );
  await writeFile(join(templates, "no-disk.xml"), text.replace("ua-vmlet-root", "ua-my-root"));
  await writeFile(join(templates, "odd-machine.xml"), text.replace("<devices>", '<devices><disk type="odd"/>'));
  await symlink("/etc/shadow", join(templates, "shadow.xml"));
  await output(["/usr/bin/mkfifo", join(templates, "fifo.xml")], suite);
  node = await startTestNode({ config: { libvirt: { templateFolderPath: templates } } }, suite);
  await writeFile(join(node.layout.imageFolderPath, "small.qcow2"), qcow2());
  image = node.images.nameOf("small.qcow2");
  const request = { image: ImageSpec.fromPartial({ image }), auth: undefined, sandboxConfig: undefined };
  await node.cri.image.pullImage(request, suite);
});
afterAll(async () => {
  await node[Symbol.asyncDispose]();
  await rm(templates, { recursive: true });
});

const sandboxOf = (podSandboxId: string) => node.cri.runtime.podSandboxStatus({ podSandboxId, verbose: true }, suite);

describe("in a ready pod, a container", () => {
  let podSandboxId = "";
  let sandboxConfig: ReturnType<typeof podConfigOf>;

  beforeAll(async () => {
    sandboxConfig = podConfigOf(node, "host");
    const request = { config: sandboxConfig, runtimeHandler: "vmlet" };
    podSandboxId = (await node.cri.runtime.runPodSandbox(request, suite)).podSandboxId;
  });

  const create = (over: VmPodOptions["container"]) =>
    node.cri.runtime.createContainer({ podSandboxId, config: containerConfigOf(image, over), sandboxConfig }, suite);
  const expectBad = async (over: VmPodOptions["container"], code: status, details: RegExp): Promise<void> =>
    await expectRefused(node, async () => await create(over), { code, details }, suite);

  test.each([["../../outside.log"], ["/etc/passwd"], ["vm/../../x"], [".."], ["."], ["vm\0/0.log"]])(
    "whose log path is %j is refused: it leads out of the pod's log folder",
    async (logPath) => {
      await expectBad({ logPath }, status.INVALID_ARGUMENT, /config\.log_path: ".*" leads out of .*log_directory \//s);
    },
  );

  test("with less memory than a guest can have is refused, with the figures and both remedies", async () => {
    const linux = { resources: { memoryLimitInBytes: 100n << 20n } };
    const details =
      /memory_limit_in_bytes: 100Mi less 96Mi .* leaves 4Mi .* raise the limit, .*overhead\.podFixed\.memory/;
    await expectBad({ linux }, status.INVALID_ARGUMENT, details);
  });

  test.each([
    ["config.metadata", { metadata: undefined }, /config\.metadata: must be set/],
    ["config.metadata.name", { metadata: { name: "", attempt: 0 } }, /config\.metadata\.name: must be set/],
    ["config.metadata.name", { metadata: { name: "a\nb", attempt: 0 } }, /config\.metadata\.name: .*control/],
    ["config.metadata.name", { metadata: { name: "n".repeat(5000), attempt: 0 } }, /config\.metadata\.name: .*253/],
    ["config.image.image", { image: { image: "" } }, /config\.image\.image: must be set/],
    [
      "memory_limit_in_bytes",
      { linux: { resources: { memoryLimitInBytes: 1n << 62n } } },
      /memory_limit_in_bytes: \d+ is/,
    ],
    [
      "cpu_quota",
      { linux: { resources: { cpuPeriod: 100_000n, cpuQuota: 5n } } },
      /cpu_quota: 5 is not from 1000 to \d+ microseconds; -1 is no limit/,
    ],
    ["cpu_period", { linux: { resources: { cpuPeriod: -1n, cpuQuota: 50_000n } } }, /cpu_period: -1 is not from 1000/],
    ["cpu_shares", { linux: { resources: { cpuShares: -1n } } }, /cpu_shares: -1 is not from 0/],
    ["cpuset_cpus", { linux: { resources: { cpusetCpus: "3-0" } } }, /cpuset_cpus: "3-0" is no list of CPUs/],
    [
      "user_specified_image",
      { image: { image: "x", userSpecifiedImage: "y".repeat(3 << 20) } },
      /user_specified_image: /,
    ],
    ["cpuset_cpus", { linux: { resources: { cpusetCpus: "0'/><x" } } }, /cpuset_cpus: "0'\/><x" is no list of CPUs/],
    ["envs", { envs: [{ key: "A", value: Buffer.from("a\0b") }] }, /config\.envs\[0\]\.value: of "A" has a NUL/],
    ["command", { command: ["sh", "-c", "a\0b"] }, /config\.command\[2\]: has a NUL/],
    ["working_dir", { command: ["sh"], workingDir: "/\0" }, /config\.working_dir: has a NUL/],
    ["envs", { envs: [{ key: "A", value: Buffer.alloc(5 << 20, "x") }] }, /config: \d+ bytes to keep, limit 4194304/],
  ])("that makes no sense is refused, naming %s", async (_field, over, details) => {
    await expectBad(over as VmPodOptions["container"], status.INVALID_ARGUMENT, details);
  });

  test("in a pod that is not known is NOT_FOUND, as are questions about what is not known", async () => {
    const config = containerConfigOf(image);
    for (const id of ["0".repeat(64), "../../etc", "", "a\nb"]) {
      const request = { podSandboxId: id, config, sandboxConfig };
      const unknown = { code: status.NOT_FOUND, details: /is not known/ };
      await expectRefused(node, async () => await node.cri.runtime.createContainer(request, suite), unknown, suite);
      await expectRefused(node, async () => await sandboxOf(id), unknown, suite);
      const statusOf = { containerId: id, verbose: false };
      await expectRefused(node, async () => await node.cri.runtime.containerStatus(statusOf, suite), unknown, suite);
      await expectRefused(
        node,
        async () => await node.cri.runtime.startContainer({ containerId: id }, suite),
        unknown,
        suite,
      );
      await node.cri.runtime.stopContainer({ containerId: id, timeout: 0n }, suite);
      await node.cri.runtime.removeContainer({ containerId: id }, suite);
    }
  });

  test("beside a live one is refused, with the reason and what to do instead", async () => {
    const { containerId } = await create({});
    const second = { metadata: { name: "sidecar", attempt: 0 } };
    const details = new RegExp(`has container vm \\(${containerId}\\), which is created: .* a pod of its own`);
    await expectBad(second, status.FAILED_PRECONDITION, details);
    expect((await create({})).containerId).toBe(containerId); // the same again is no second
    await expectBad({ command: ["other"] }, status.ABORTED, /vm \(attempt 0\) exists as .* raise the attempt/);
    await node.cri.runtime.removeContainer({ containerId }, suite);
  });
});

describe("a pod's template", () => {
  const cases: readonly (readonly [string, status, RegExp])[] = [
    ["../../etc/x", status.INVALID_ARGUMENT, /vmlet\.dev\/template.*"\.\.\/\.\.\/etc\/x" is no template name/],
    ["a\0b", status.INVALID_ARGUMENT, /is no template name/],
    ["nothing", status.INVALID_ARGUMENT, /vmlet\.dev\/template.*no template nothing in .*; there are: .*linux/],
    ["unclosed", status.FAILED_PRECONDITION, /unclosed\.xml: not valid XML/],
    ["entities", status.FAILED_PRECONDITION, /entities\.xml: not valid XML/],
    ["no-disk", status.FAILED_PRECONDITION, /no-disk\.xml: it has no <disk> with <alias name="ua-vmlet-root"\/>/],
    ["odd-machine", status.FAILED_PRECONDITION, /libvirt does not take the domain made from .*odd-machine\.xml: .*odd/],
    ["shadow", status.FAILED_PRECONDITION, /shadow\.xml: not valid XML: (?!.*root:)/],
    ["fifo", status.FAILED_PRECONDITION, /fifo\.xml: it is not a file/],
  ];
  test.each(cases)(
    "that is %j is refused by name or file, and the container leaves nothing",
    async (name, code, details) => {
      const annotations = { "vmlet.dev/template": name };
      const config = podConfigOf(node, "templated", { annotations });
      const { podSandboxId } = await node.cri.runtime.runPodSandbox({ config, runtimeHandler: "vmlet" }, suite);
      const request = { podSandboxId, config: containerConfigOf(image), sandboxConfig: config };
      await expectRefused(
        node,
        async () => await node.cri.runtime.createContainer(request, suite),
        { code, details },
        suite,
      );
      await node.cri.runtime.removePodSandbox({ podSandboxId }, suite);
    },
  );
});

describe("XML in a pod", () => {
  const XML = `"'/><devices><interface type="network"/></devices>]]><!--&amp;`;
  /** Without what would part CNI's arguments, which is refused. */
  const NAME = XML.replaceAll(/[;=]/g, "");
  const shapeOf = ({ name, children }: XmlElement): unknown => [name, children.map(shapeOf)];
  const shape = async (pod: VmPod): Promise<unknown> =>
    shapeOf(parseXml(await virsh(["dumpxml", "--inactive", await pod.domain(suite)], suite)));

  test("comes back as it was sent, and adds no element to the domain", async () => {
    const before = await traces(node, suite);
    const other = await VmPod.create(node, { name: "plain", image }, suite);
    const plain = await shape(other);
    await other.remove(suite);
    const name = "</name><devices/>";
    const metadata = { name, namespace: NAME, uid: `uid${NAME}`, attempt: 0 };
    const texts = { "vmlet.test/xml": XML, "</metadata>": XML };
    const image_ = { image, userSpecifiedImage: `${image}${XML}` };
    const pod = await VmPod.create(
      node,
      {
        name: "xml",
        image,
        pod: { metadata, annotations: texts, labels: texts },
        container: { metadata: { name: XML, attempt: 0 }, image: image_, annotations: texts, labels: texts },
      },
      suite,
    );
    expect(await shape(pod)).toEqual(plain);
    const domain = await pod.domain(suite);
    expect(await virsh(["desc", "--title", domain], suite)).toBe(`${NAME}/${name}: ${XML}`);
    const own = parseXml(await virsh(["metadata", domain, "https://vmlet.dev/domain/1"], suite));
    expect(own.children.map(({ attributes }) => attributes)).toEqual([
      { id: pod.podId, namespace: NAME, name, uid: `uid${NAME}` },
      { name: XML },
      { name: image_.userSpecifiedImage, digest: expect.stringMatching(/^sha256:/) },
    ]);
    const sandbox = (await sandboxOf(pod.podId)).status;
    expect(sandbox).toMatchObject({ metadata, annotations: texts, labels: texts });
    expect(await pod.status(suite)).toMatchObject({ annotations: texts, state: ContainerState.CONTAINER_CREATED });
    await pod.remove(suite);
    expect(await traces(node, suite)).toEqual(before);
  });

  test("or worse in user-data, keys, env and command is carried to the seed byte by byte", async () => {
    const nasty = `it's "so"\n$(reboot) \`x\` \\ \t </meta-data>\n`;
    const container = {
      envs: [
        { key: "NASTY", value: Buffer.from(nasty) },
        { key: "BAD NAME;reboot", value: Buffer.from("x") },
      ],
      command: ["printf", "%s", nasty],
    };
    const pod = await VmPod.create(
      node,
      { name: "env", image, pod: { annotations: { "vmlet.dev/user-data": nasty } }, container },
      suite,
    );
    const seed = await seedOf(pod);
    expect(await seed("user-data")).toBe(nasty);
    const folderPath = join(node.layout.runFolderPath, "guest");
    await mkdir(join(folderPath, "etc/vmlet"), { recursive: true });
    await writeFile(join(folderPath, "etc/vmlet/environment"), await seed("vmlet/environment"));
    await writeFile(join(folderPath, "workload"), await seed("vmlet/workload"));
    const script = join(folderPath, "workload");
    const inGuest = ["/usr/bin/env", `VMLET_ROOT=${folderPath}`, "sh", script] as const;
    expect(await output(inGuest, suite)).toBe(nasty);
    expect(
      await output(["/usr/bin/env", "sh", "-c", `. ${folderPath}/etc/vmlet/environment; printf %s "$NASTY"`], suite),
    ).toBe(nasty);
    await rm(folderPath, { recursive: true });
    const { info } = await node.cri.runtime.containerStatus({ containerId: pod.containerId, verbose: true }, suite);
    expect(info["info"]).toContain("BAD NAME;reboot");
    await pod.remove(suite);
  });
});

/** Reads files of the machine's seed by their path on it. */
async function seedOf({ podId, containerId }: VmPod): Promise<(path: string) => Promise<string>> {
  const seedPath = join(node.layout.stateFolderPath, "pods", podId, "machines", containerId, "seed.iso");
  return async (path) => await output(["/usr/bin/isoinfo", "-R", "-i", seedPath, "-x", `/${path}`], suite);
}
