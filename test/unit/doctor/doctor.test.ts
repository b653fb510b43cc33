import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseConfig } from "../../../src/config/load.ts";
import { checkCgroups } from "../../../src/doctor/cgroups.ts";
import { examine } from "../../../src/doctor/examine.ts";
import type { Finding } from "../../../src/doctor/finding.ts";
import { checkHypervisor, checkPrograms } from "../../../src/doctor/hypervisor.ts";
import { checkKubelet } from "../../../src/doctor/kubelet.ts";
import { checkKvm } from "../../../src/doctor/kvm.ts";
import { checkCni, checkKernelNetwork } from "../../../src/doctor/network.ts";
import type { Node } from "../../../src/doctor/node.ts";
import { checkSpace } from "../../../src/doctor/space.ts";
import { MACHINED_PATH } from "../../../src/kernel/cgroups.ts";
import { run } from "../../../src/lib/spawn.ts";

const signal = AbortSignal.timeout(30_000);
const config = parseConfig("", "", []);

interface Made {
  readonly files?: Readonly<Record<string, string>>;
  readonly stats?: Readonly<Record<string, { mode: number; gid: number }>>;
  readonly programs?: readonly string[];
  readonly sockets?: readonly string[];
  readonly freeBytes?: number;
  readonly run?: (argv: readonly string[]) => { exitCode: number; stdout?: string; stderr?: string };
}

function nodeWith({ files = {}, stats = {}, programs = [], sockets = [], freeBytes = 2 ** 40, run }: Made): Node {
  return {
    read: async (path) => files[path],
    list: async (path) =>
      Object.keys(files)
        .filter((file) => file.startsWith(`${path}/`))
        .map((file) => file.slice(path.length + 1).split("/")[0] ?? ""),
    stat: async (path) => stats[path],
    space: async () => ({ freeBytes, totalBytes: 2 ** 41 }),
    answers: async (path) => sockets.includes(path),
    program: async (name) => (programs.includes(name) ? name : undefined),
    run: async (file, args) => {
      const { exitCode, stdout = "", stderr = "" } = run?.([file, ...args]) ?? { exitCode: 0 };
      return { exitCode, signalName: null, stdout: Buffer.from(stdout), stderr, truncated: false };
    },
  };
}

const levelsOf = (findings: readonly Finding[]): string[] => findings.map(({ about, level }) => `${about} ${level}`);

describe("KVM", () => {
  const groups = { "/etc/group": "root:x:0:\nkvm:x:106:libvirt-qemu\n" };

  test.each([
    ["for its group", { mode: 0o660, gid: 106 }],
    ["for everybody", { mode: 0o666, gid: 0 }],
  ])("open %s is well", async (_for, found) => {
    expect(levelsOf(await checkKvm(nodeWith({ files: groups, stats: { "/dev/kvm": found } }), config))).toEqual([
      "kvm ok",
    ]);
  });

  test.each([
    ["root's alone", { mode: 0o600, gid: 106 }],
    ["another group's", { mode: 0o660, gid: 0 }],
  ])("that is %s is an error with the command that mends it", async (_whose, found) => {
    const [finding] = await checkKvm(nodeWith({ files: groups, stats: { "/dev/kvm": found } }), config);
    expect(finding).toMatchObject({ level: "error", remedy: expect.stringContaining("chmod 660 /dev/kvm") });
  });

  test.each([
    ["flags\t\t: fpu vmx sse", "modprobe kvm_intel"],
    ["flags\t\t: fpu svm sse", "modprobe kvm_amd"],
    ["flags\t\t: fpu sse", "firmware"],
  ])("that is missing on a processor with %j is a warning", async (cpuinfo, remedy) => {
    const [finding] = await checkKvm(nodeWith({ files: { "/proc/cpuinfo": cpuinfo } }), config);
    expect(finding).toMatchObject({ level: "warning", remedy: expect.stringContaining(remedy) });
  });

  test("that is there on a processor without the extension is not taken, and that is a warning", async () => {
    const files = { ...groups, "/proc/cpuinfo": "flags\t\t: fpu sse\n" };
    const node = nodeWith({ files, stats: { "/dev/kvm": { mode: 0o666, gid: 0 } } });
    expect(levelsOf(await checkKvm(node, config))).toEqual(["kvm warning"]);
  });

  test.each([
    ["kvm", "error"],
    ["emulated", "ok"],
  ])("that is missing where the setting is %s is %s", async (virtualization, level) => {
    const wanted = parseConfig(`libvirt: { virtualization: ${virtualization} }`, "", []);
    expect(levelsOf(await checkKvm(nodeWith({}), wanted))).toEqual([`kvm ${level}`]);
  });
});

describe("libvirtd and programs", () => {
  test("all there is well", async () => {
    const node = nodeWith({
      sockets: [config.libvirt.socketPath],
      files: { "/etc/libvirt/qemu.conf": '# x\nstdio_handler = "file" # ours\n' },
      programs: ["qemu-system-x86_64", "qemu-system-aarch64"],
    });
    expect(levelsOf(await checkHypervisor(node, config))).toEqual(["libvirtd ok", "consoles ok", "qemu ok"]);
  });

  test("nothing there is three errors, each with its remedy", async () => {
    const node = nodeWith({ files: { "/etc/libvirt/qemu.conf": '#stdio_handler = "logd"\n' } });
    const findings = await checkHypervisor(node, config);
    expect(levelsOf(findings)).toEqual(["libvirtd error", "consoles error", "qemu error"]);
    expect(findings.every(({ remedy = "" }) => remedy !== "")).toBe(true);
  });

  test("another handler is an error whose remedy works, though libvirt takes the first of two lines", async () => {
    const path = join(await mkdtemp(join(tmpdir(), "vmlet-conf-")), "qemu.conf");
    const found = async (): Promise<Finding | undefined> => {
      const files = { "/etc/libvirt/qemu.conf": await readFile(path, "utf8") };
      return (await checkHypervisor(nodeWith({ files }), config)).find(({ about }) => about === "consoles");
    };
    await writeFile(path, 'user = "x"\n  stdio_handler = "logd"\nstdio_handler = "file"\n');
    const first = await found();
    expect(first).toMatchObject({ level: "error", what: 'stdio_handler = "logd" in /etc/libvirt/qemu.conf' });
    const [command = ""] = first?.remedy?.split(" && systemctl") ?? [];
    await run("/bin/sh", ["-c", command.replace("/etc/libvirt/qemu.conf", path)], {}, signal);
    expect(await found()).toMatchObject({ level: "ok" });
    await rm(dirname(path), { recursive: true });
  });

  test("a program that is missing is named with its package", async () => {
    const there = ["qemu-img", "setpriv", "xz", "/usr/bin/genisoimage", "ip", "tc"];
    const utilLinux = ["/usr/bin/fallocate", "/usr/bin/flock"];
    const programs = [...there, ...utilLinux, config.kernel.dnsmasqPath];
    const findings = await checkPrograms(nodeWith({ programs }), config);
    expect(findings).toMatchObject([{ level: "error", remedy: "apt-get install bubblewrap" }]);
  });
});

describe("the network", () => {
  let folder = "";
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "vmlet-doctor-"));
    const plugins = [{ type: "bridge" }, { type: "portmap" }];
    await writeFile(join(folder, "10-net.conflist"), JSON.stringify({ cniVersion: "1.0.0", name: "net", plugins }));
  });
  afterAll(async () => await rm(folder, { recursive: true }));

  const cniIn = (configFolderPath: string) => ({ cni: { ...config.cni, configFolderPath, binFolderPaths: ["/cni"] } });

  test("plugins that are there are well, and one that is not is named", async () => {
    const all = nodeWith({ programs: ["/cni/bridge", "/cni/portmap"] });
    expect(levelsOf(await checkCni(all, cniIn(folder)))).toEqual(["cni ok"]);
    const [finding] = await checkCni(nodeWith({ programs: ["/cni/bridge"] }), cniIn(folder));
    expect(finding).toMatchObject({ level: "error", what: expect.stringMatching(/not there: portmap$/) });
  });

  test("no configuration is an error that names the folder", async () => {
    const [finding] = await checkCni(nodeWith({}), cniIn("/nonexistent"));
    expect(finding).toMatchObject({ level: "error", what: expect.stringContaining("/nonexistent") });
  });

  test("a kernel that refuses a filter is an error in tc's words, and the netns of the trial goes", async () => {
    const seen: string[] = [];
    const run = (argv: readonly string[]) => {
      seen.push(argv.join(" "));
      return argv.includes("tc") ? { exitCode: 2, stderr: "Specified qdisc kind is unknown." } : { exitCode: 0 };
    };
    const [finding] = await checkKernelNetwork(nodeWith({ run }), signal);
    expect(finding).toMatchObject({ level: "error", what: expect.stringContaining("qdisc kind is unknown") });
    expect(seen.at(-1)).toBe(`ip netns del vmlet-doctor-${process.pid}`);
  });
});

describe("room and cgroups", () => {
  test.each([
    [2 ** 29, "error"],
    [5 * 2 ** 30, "warning"],
    [2 ** 40, "ok"],
  ])("%i bytes free are %s", async (freeBytes, level) => {
    expect(levelsOf(await checkSpace(nodeWith({ freeBytes }), config))).toEqual([`disk ${level}`]);
  });

  test("systemd without machined is a warning", async () => {
    const stats = { "/run/systemd/system": { mode: 0o755, gid: 0 } };
    expect(levelsOf(await checkCgroups(nodeWith({ stats }), config))).toEqual(["cgroups warning"]);
    const always = { ...stats, "/run/systemd/machines": { mode: 0o755, gid: 0 } }; // systemd's own, machined or not
    expect(levelsOf(await checkCgroups(nodeWith({ stats: always }), config))).toEqual(["cgroups warning"]);
    const both = { ...stats, [MACHINED_PATH]: { mode: 0o644, gid: 0 } };
    expect(levelsOf(await checkCgroups(nodeWith({ stats: both }), config))).toEqual(["cgroups ok"]);
  });

  test.each([
    ["2", "", { "/sys/fs/cgroup/cgroup.controllers": { mode: 0o444, gid: 0 } }],
    ["1", "/memory", {}],
  ])(
    "pods in groups of cgroupfs, version %s, are told of; a switch to systemd's leaves the old ones",
    async (_version, at, files) => {
      const folder = { mode: 0o755, gid: 0 };
      const stats = { ...files, [`/sys/fs/cgroup${at}/kubepods`]: folder };
      const [finding] = await checkCgroups(nodeWith({ stats }), config);
      expect(finding).toMatchObject({ level: "ok", what: expect.stringContaining("is moved into its pod's group") });
      const switched = { ...stats, [`/sys/fs/cgroup${at}/kubepods.slice`]: folder };
      const [without] = await checkCgroups(nodeWith({ stats: switched }), config);
      expect(without).toMatchObject({ level: "ok", what: expect.not.stringContaining("moved") });
    },
  );
});

describe("the kubelet", () => {
  const containers = `/proc/42/root${config.router.containersSocketPath}`;
  const kubelet = (
    argv: readonly string[],
    { settings = good, version = "v1.36.2", sockets = [config.router.socketPath, containers], files = {} } = {},
  ): Node =>
    nodeWith({
      sockets,
      files: {
        "/proc/7/comm": "bash\n",
        "/proc/42/comm": "kubelet\n",
        "/proc/42/cmdline": ["/usr/bin/kubelet", ...argv, ""].join("\0"),
        "/proc/42/root/var/lib/kubelet/config.yaml": settings,
        ...files,
      },
      run: (argv_) => ({ exitCode: argv_[0] === "/proc/42/exe" ? 0 : 1, stdout: `Kubernetes ${version}\n` }),
    });
  const good = `containerRuntimeEndpoint: unix://${config.router.socketPath}\nserializeImagePulls: false\n`;
  const file = "--config=/var/lib/kubelet/config.yaml";

  test("at the router, patient, with parallel pulls, is well", async () => {
    expect(levelsOf(await checkKubelet(kubelet([file]), config, signal))).toEqual(["kubelet ok", "endpoint ok"]);
  });

  test("that was told of no file goes by none", async () => {
    const [, endpoint] = await checkKubelet(kubelet([]), config, signal);
    expect(endpoint).toMatchObject({ level: "error", what: expect.stringContaining("its default runtime") });
  });

  test("flags count more than its file, in both spellings", async () => {
    const argv = [
      "--config",
      "/var/lib/kubelet/config.yaml",
      `--container-runtime-endpoint=unix://${config.socketPath}`,
    ];
    const [, endpoint] = await checkKubelet(kubelet(argv), config, signal);
    expect(endpoint).toMatchObject({ level: "ok", what: expect.stringContaining("machines only") });
  });

  test("files of its folder count more than its file, the last one most", async () => {
    const files = {
      "/proc/42/root/etc/k.d/20-b.conf": `containerRuntimeEndpoint: unix://${config.router.socketPath}\n`,
      "/proc/42/root/etc/k.d/10-a.conf": "containerRuntimeEndpoint: unix:///a.sock\nserializeImagePulls: false\n",
      "/proc/42/root/etc/k.d/30-c.yaml": "serializeImagePulls: true\n",
    };
    const node = kubelet([file, "--config-dir=/etc/k.d"], { settings: "serializeImagePulls: true\n", files });
    expect(levelsOf(await checkKubelet(node, config, signal))).toEqual(["kubelet ok", "endpoint ok"]);
  });

  test.each([
    ["its file", [file], `containerRuntimeEndpoint: unix://${config.router.socketPath} in the kubelet's configuration`],
    [
      "a flag",
      ["--container-runtime-endpoint=unix:///x.sock"],
      `--container-runtime-endpoint=unix://${config.router.socketPath} on`,
    ],
  ])("at another runtime by %s is an error with what mends it there", async (_by, argv, remedy) => {
    const settings = good.replace(config.router.socketPath, "/run/containerd/containerd.sock");
    const [, endpoint] = await checkKubelet(kubelet(argv, { settings }), config, signal);
    expect(endpoint).toMatchObject({ level: "error", remedy: expect.stringContaining(remedy) });
    const [program = ""] = endpoint?.remedy?.split(" use; or ") ?? [];
    expect((await stat(program)).mode & 0o111).toBe(0o111);
  });

  test.each([
    ["nobody serves", [containers], "systemctl restart vmlet-router"],
    ["has no containers behind it", [config.router.socketPath], "router.containersSocketPath"],
  ])("at a router that %s is an error", async (_what, sockets, remedy) => {
    const [, endpoint] = await checkKubelet(kubelet([file], { sockets }), config, signal);
    expect(endpoint).toMatchObject({ level: "error", remedy: expect.stringContaining(remedy) });
  });

  test("that asks another for images is an error", async () => {
    const argv = [file, "--image-service-endpoint=unix:///run/containerd/containerd.sock"];
    const [, , images] = await checkKubelet(kubelet(argv), config, signal);
    expect(images).toMatchObject({ level: "error", remedy: expect.stringContaining("no --image-service-endpoint") });
  });

  test("that is too old, impatient, or pulls one by one", async () => {
    const settings = `containerRuntimeEndpoint: unix://${config.router.socketPath}\nruntimeRequestTimeout: 1m30s\n`;
    const findings = await checkKubelet(kubelet([file], { settings, version: "v1.30.4" }), config, signal);
    expect(levelsOf(findings)).toEqual(["kubelet error", "endpoint ok", "pulls warning", "patience warning"]);
    expect(findings.at(-1)?.remedy).toBe("runtimeRequestTimeout: 120s in the kubelet's configuration");
  });

  test("that is impatient by a flag is mended by the flag", async () => {
    const findings = await checkKubelet(kubelet([file, "--runtime-request-timeout", "30s"]), config, signal);
    expect(findings.at(-1)?.remedy).toMatch(/^--runtime-request-timeout=120s on /);
  });

  test("whose configuration is no YAML is looked at all the same", async () => {
    expect(levelsOf(await checkKubelet(kubelet([file], { settings: "{{{" }), config, signal))).toContain(
      "endpoint error",
    );
  });

  test("that does not run is a warning", async () => {
    expect(levelsOf(await checkKubelet(nodeWith({}), config, signal))).toEqual(["kubelet warning"]);
  });
});

test("a check that throws is a finding, and the others go on", async () => {
  const node: Node = {
    ...nodeWith({}),
    space: () => {
      throw new Error("EIO");
    },
  };
  const findings = await Array.fromAsync(examine(node, config, signal));
  expect(findings.find(({ about }) => about === "disk")).toMatchObject({
    level: "error",
    what: expect.stringContaining("EIO"),
  });
  expect(findings.at(-1)?.about).toBe("kubelet");
});
