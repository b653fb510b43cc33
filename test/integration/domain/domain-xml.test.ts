import { createHash } from "node:crypto";
import { chmod, chown, mkdir, mkdtempDisposable, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { createSeed } from "../../../src/guest/seed.ts";
import { poll } from "../../../src/lib/backoff.ts";
import { run } from "../../../src/lib/spawn.ts";
import { machineIdOfDomainXml, renderDomain } from "../../../src/libvirt/domain-xml.ts";
import { loadTemplate } from "../../../src/libvirt/template.ts";
import { newMachineId } from "../../../src/model/ids.ts";
import { domainNameOf, type MachinePlan, tapNameOf } from "../../../src/model/machine-plan.ts";
import { somePlan } from "../../fakes/plans.ts";
import { someSeedRequest } from "../../fakes/seed-requests.ts";

const SCHEMA = "/usr/share/libvirt/schemas/domain.rng";
const signal = AbortSignal.timeout(120_000);
const names = (await readdir("domain-templates"))
  .filter((file) => file.endsWith(".xml"))
  .map((file) => file.slice(0, -4));
const MODES = ["emulated", "kvm"] as const;

/** A folder that the QEMU user can reach. */
async function reachableFolder() {
  const folder = await mkdtempDisposable("/var/tmp/vmlet-domain-");
  await chmod(folder.path, 0o755);
  return folder;
}

async function must(file: string, ...args: readonly string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await run(file, args, {}, signal);
  if (exitCode !== 0) throw new Error(`${file} ${args.join(" ")}: ${stderr}`);
  return stdout.toString();
}

const virsh = (...args: readonly string[]): Promise<string> =>
  must("/usr/bin/virsh", "-q", "-c", "qemu:///system", ...args);

test.each(names)("the shipped template %s is a valid domain by itself", async (name) => {
  await must("/usr/bin/virt-xml-validate", resolve(`domain-templates/${name}.xml`), "domain");
});

test("every rendered domain is valid, whatever a pod is called and however little or much is limited", async () => {
  await using folder = await reachableFolder();
  const text = fc.oneof(
    fc.string({ unit: "binary", maxLength: 80 }),
    fc.constantFrom(
      "]]>",
      `"'<>&`,
      "a\nb\r\tc",
      "</title><os/>",
      "\u0000\u001b",
      "\ud800",
      "  ",
      "&#0;",
      "<![CDATA[x]]>",
      "",
    ),
  );
  const cpu = fc.record(
    {
      count: fc.integer({ min: 1, max: 255 }),
      shares: fc.integer({ min: 1, max: 262_144 }),
      periodUs: fc.integer({ min: 1000, max: 1_000_000 }),
      quotaUs: fc.oneof(fc.constant(-1), fc.integer({ min: 1000, max: 2 ** 40 })),
      cpuset: fc.constantFrom("0", "0-3,7"),
    },
    { requiredKeys: ["count"] },
  );
  const plan: fc.Arbitrary<MachinePlan> = fc
    .record({
      title: text,
      description: text,
      pod: text,
      container: text,
      image: text,
      cpu,
      withPartition: fc.boolean(),
    })
    .map(({ title, description, pod, container, image, cpu: limits, withPartition }) => {
      const usual = somePlan();
      const { partition, ...rest } = { ...usual, title, description, cpu: limits };
      return {
        ...rest,
        ...(withPartition && partition !== undefined ? { partition } : {}),
        domainName: domainNameOf(pod, container, usual.machineId),
        metadata: { ...usual.metadata, pod, container, image },
      };
    });
  for (const name of names) {
    const template = await loadTemplate("domain-templates", name, signal);
    for (const [index, each] of fc.sample(plan, 150).entries()) {
      const xml = renderDomain(each, template, { virtualization: MODES[index % 2] ?? "kvm", tcgCacheMiB: 32 });
      expect(machineIdOfDomainXml(xml)).toBe(each.machineId);
      await writeFile(join(folder.path, `${name}-${index}.xml`), xml);
    }
  }
  const files = (await readdir(folder.path)).map((file) => join(folder.path, file));
  await must("/usr/bin/xmllint", "--noout", "--relaxng", SCHEMA, ...files);
  await must("/usr/bin/virt-xml-validate", files[0] ?? "", "domain");
});

/** A machine of nothing but an empty disk, as libvirt and QEMU really have it. */
async function emptyMachine(folderPath: string, changes: Partial<MachinePlan>) {
  const machineId = newMachineId();
  const basePath = join(folderPath, "base.qcow2");
  const overlayPath = join(folderPath, "overlay.qcow2");
  const vncFolderPath = join(folderPath, "vnc");
  await must("/usr/bin/qemu-img", "create", "-q", "-f", "qcow2", basePath, "64M");
  await chmod(basePath, 0o444);
  await must("/usr/bin/qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", basePath, overlayPath);
  await mkdir(vncFolderPath, { mode: 0o700 });
  const [uid = 0] = (await must("/usr/bin/id", "-u", "libvirt-qemu")).split("\n").map(Number);
  await chown(vncFolderPath, uid, 0);
  const seedPath = join(folderPath, "seed.iso");
  const seed = createSeed({ run, isoTool: "/usr/bin/genisoimage" });
  await seed.build(someSeedRequest({ seedPath, machineId }), signal);
  const { partition: _, ...usual } = somePlan({ cpu: { count: 1, shares: 102, periodUs: 100_000, quotaUs: 50_000 } });
  const plan: MachinePlan = {
    ...usual,
    machineId,
    domainName: domainNameOf("default", "domain-xml-test", machineId),
    nic: { ...usual.nic, tapName: tapNameOf(machineId) },
    disk: { overlayPath, base: { path: basePath, format: "qcow2" } },
    seedPath,
    consoleFilePath: join(folderPath, "console"),
    consoleSocketPath: join(folderPath, "console.sock"),
    initReportPath: join(folderPath, "init-report"),
    vncSocketPath: join(vncFolderPath, "vnc.sock"),
    sshSocketPath: join(folderPath, "ssh.sock"),
    ...changes,
  };
  const template = await loadTemplate("domain-templates", "linux", signal);
  const xmlPath = join(folderPath, "domain.xml");
  await writeFile(xmlPath, renderDomain(plan, template, { virtualization: "emulated", tcgCacheMiB: 32 }));
  await virsh("define", xmlPath);
  const id = plan.domainName;
  return {
    plan,
    id,
    uid,
    async [Symbol.asyncDispose]() {
      await run("/usr/bin/virsh", ["-c", "qemu:///system", "destroy", id], {}, AbortSignal.timeout(20_000));
      await run("/usr/bin/virsh", ["-c", "qemu:///system", "undefine", id], {}, AbortSignal.timeout(20_000));
    },
  };
}

async function identity(path: string): Promise<unknown> {
  const { uid, gid, mode } = await stat(path);
  return {
    uid,
    gid,
    mode: mode & 0o7777,
    sha256: createHash("sha256")
      .update(await readFile(path))
      .digest("hex"),
  };
}

test("libvirt and QEMU take a rendered domain, hostile title and all, and show it as it was meant", async () => {
  await using folder = await reachableFolder();
  const title = `a"b]]>'<&é\u{1f600}\nsecond line\u0007`;
  await using machine = await emptyMachine(folder.path, { title, description: title });
  await virsh("start", "--paused", machine.id);

  expect((await virsh("desc", "--title", machine.id)).trim()).toBe(`a"b]]>'<&é\u{1f600} second line\uFFFD`);
  const xml = await virsh("dumpxml", machine.id);
  expect(machineIdOfDomainXml(xml)).toBe(machine.plan.machineId);
  expect(await virsh("schedinfo", machine.id)).toMatch(/^global_quota\s*: 50000$/m);
  const link = await must("/usr/sbin/ip", "-o", "link", "show", machine.plan.nic.tapName);
  expect(link).toContain("mtu 1450");
  expect((await stat(machine.plan.vncSocketPath)).isSocket()).toBe(true);
  // QEMU holds the files itself: nobody has to be there to read.
  expect((await stat(machine.plan.initReportPath)).uid).toBe(machine.uid);
  expect((await stat(machine.plan.consoleFilePath)).isFile()).toBe(true);
  expect((await stat(machine.plan.consoleSocketPath)).isSocket()).toBe(true);
});

test.each(["destroyed", "killed"])(
  "a base image stays root's, read-only and whole while its machine is started and %s",
  async (how) => {
    await using folder = await reachableFolder();
    await using machine = await emptyMachine(folder.path, {});
    const basePath = machine.plan.disk.base.path;
    const before = await identity(basePath);
    expect(before).toMatchObject({ uid: 0, gid: 0, mode: 0o444 });

    await virsh("start", "--paused", machine.id);
    expect(await identity(basePath)).toEqual(before);
    const asQemu = ["--reuid", String(machine.uid), "--clear-groups", "/bin/sh", "-c", 'echo x >>"$0"', basePath];
    const { exitCode, stderr } = await run("/usr/bin/setpriv", asQemu, {}, signal);
    expect(exitCode).not.toBe(0);
    expect(stderr).toMatch(/Permission denied/);

    if (how === "destroyed") await virsh("destroy", machine.id);
    else process.kill(Number(await readFile(`/run/libvirt/qemu/${machine.id}.pid`, "utf8")), "SIGKILL");
    const isOff = async (): Promise<true | undefined> =>
      (await virsh("domstate", machine.id)).trim() === "shut off" || undefined;
    await poll(isOff, { firstMs: 20, maxMs: 200 }, signal);
    expect(await identity(basePath)).toEqual(before);
  },
);
