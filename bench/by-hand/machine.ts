// A VM as a person would make it of the XML that vmlet wrote: qemu-img, genisoimage, virsh, ip and tc.

import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../../src/lib/spawn.ts";
import { type MachineId, newMachineId, uuidOf } from "../../src/model/ids.ts";
import { tapNameOf } from "../../src/model/machine-plan.ts";
import type { VmPod } from "../../test/integration/e2e/vm-pod.ts";
import { output } from "../../test/node/command.ts";
import type { TestNode } from "../../test/node/test-node.ts";
import type { NetworkByHand } from "./network.ts";

/** vmlet's definition of a machine, to be made somebody else's. */
export interface Original {
  readonly xml: string;
  readonly machineId: MachineId;
  readonly domainName: string;
  /** Where its disk, seed and console are. */
  readonly folderPath: string;
  readonly baseImagePath: string;
}

export interface MachineByHand {
  readonly id: MachineId;
  readonly name: string;
  readonly folderPath: string;
  readonly stagePath: string;
  readonly xmlPath: string;
  readonly vncSocketPath: string;
  readonly baseImagePath: string;
}

/** @param pod With a container that is created. */
export async function originalOf(node: TestNode, pod: VmPod, signal: AbortSignal): Promise<Original> {
  const domainName = await pod.domain(signal);
  const xml = await virsh(["dumpxml", "--inactive", domainName], signal);
  const folderPath = join(node.layout.stateFolderPath, "pods", pod.podId, "machines", pod.containerId);
  const baseImagePath = /<backingStore type=['"]file['"]>[\s\S]*?<source file=['"]([^'"]+)['"]/.exec(xml)?.[1];
  if (baseImagePath === undefined) throw new Error(`no base image in ${xml}`);
  return { xml, domainName, folderPath, baseImagePath, machineId: pod.containerId as MachineId };
}

/** Everything before the first operation that counts: the folder, the XML, what the seed is made of. */
export async function prepareMachine(original: Original, parentPath: string, mac: string): Promise<MachineByHand> {
  const id = newMachineId();
  const folderPath = join(parentPath, id);
  const stagePath = join(parentPath, `${id}.stage`);
  await mkdir(stagePath, { recursive: true });
  await mkdir(folderPath, { mode: 0o711 });
  for (const name of ["meta-data", "user-data", "network-config", "vendor-data"])
    await writeFile(join(stagePath, name), `# ${name} by hand\n`);
  const name = `bench_${id.slice(0, 12)}`;
  const xml = original.xml
    .replace(/<metadata>[\s\S]*?<\/metadata>/, "") // it would make the domain vmlet's
    .replaceAll(original.folderPath, folderPath)
    .replaceAll(original.domainName, name)
    .replaceAll(uuidOf(original.machineId), uuidOf(id))
    .replaceAll(original.machineId.slice(0, 12), id.slice(0, 12))
    .replace(/<mac address=['"][^'"]+['"]/, `<mac address='${mac}'`);
  const xmlPath = join(parentPath, `${id}.xml`);
  await writeFile(xmlPath, xml);
  const vncSocketPath = /socket=['"]([^'"]+\.sock)['"]/.exec(xml)?.[1];
  if (vncSocketPath === undefined) throw new Error(`no VNC socket in ${xml}`);
  return { id, name, folderPath, stagePath, xmlPath, vncSocketPath, baseImagePath: original.baseImagePath };
}

export async function createMachine(machine: MachineByHand, signal: AbortSignal): Promise<void> {
  await createFiles(machine, signal);
  await virsh(["define", machine.xmlPath], signal);
}

export async function createFiles(
  { folderPath, stagePath, baseImagePath }: MachineByHand,
  signal: AbortSignal,
): Promise<void> {
  const overlayPath = join(folderPath, "disk.qcow2");
  await output(
    ["/usr/bin/qemu-img", "create", "-q", "-f", "qcow2", "-b", baseImagePath, "-F", "qcow2", overlayPath],
    signal,
  );
  await output(
    ["/usr/bin/genisoimage", "-quiet", "-V", "cidata", "-R", "-J", "-o", join(folderPath, "seed.iso"), stagePath],
    signal,
  );
}

/** No DHCP server and no console log: the least that is a VM on the pod's network. */
export async function startMachine(
  { id, name, xmlPath }: MachineByHand,
  { netnsName }: NetworkByHand,
  signal: AbortSignal,
): Promise<void> {
  const tap = tapNameOf(id);
  await virsh(["create", "--paused", xmlPath], signal);
  await output(["/usr/sbin/ip", "link", "set", "dev", tap, "netns", netnsName], signal);
  await output(["/usr/sbin/ip", "-n", netnsName, "link", "set", "dev", tap, "up"], signal);
  const redirect = (from: string, to: string): string =>
    `qdisc add dev ${from} ingress\n` +
    `filter add dev ${from} parent ffff: protocol all u32 match u32 0 0 action mirred egress redirect dev ${to}\n`;
  const stdin = redirect(tap, "eth0") + redirect("eth0", tap);
  const done = await run("/usr/sbin/tc", ["-n", netnsName, "-batch", "-"], { stdin }, signal);
  if (done.exitCode !== 0) throw new Error(`tc: ${done.stderr}`);
  await virsh(["resume", name], signal);
}

export async function stopMachine({ name }: MachineByHand, signal: AbortSignal): Promise<void> {
  await virsh(["destroy", name], signal);
}

export async function removeMachine(machine: MachineByHand, signal: AbortSignal): Promise<void> {
  const { name, folderPath, stagePath, xmlPath, vncSocketPath } = machine;
  await virsh(["undefine", name], signal);
  for (const path of [folderPath, stagePath, xmlPath, vncSocketPath]) await rm(path, { recursive: true, force: true });
}

export async function virsh(args: readonly string[], signal: AbortSignal): Promise<string> {
  return await output(["/usr/bin/virsh", "-q", "-c", "qemu:///system", ...args], signal);
}
