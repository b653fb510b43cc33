// libvirtd, QEMU, and the programs that are run beside them.

import type { Config } from "../config/schema.ts";
import { error, type Finding, ok } from "./finding.ts";
import type { Node } from "./node.ts";

const QEMU_CONF_PATH = "/etc/libvirt/qemu.conf";
const QEMU_BY_ARCH: Readonly<Record<string, string>> = { x64: "qemu-system-x86_64", arm64: "qemu-system-aarch64" };

export async function checkHypervisor(node: Node, { libvirt }: Pick<Config, "libvirt">): Promise<Finding[]> {
  const isThere = await node.answers(libvirt.socketPath);
  const daemon = isThere
    ? ok("libvirtd", `answers on ${libvirt.socketPath}`)
    : error(
        "libvirtd",
        `nobody answers on ${libvirt.socketPath}`,
        "apt-get install libvirt-daemon-system && systemctl start libvirtd; or set libvirt.socketPath",
      );
  return [daemon, await consoles(node), await qemu(node)];
}

/** With virtlogd in between, a machine's console stops when virtlogd does, and the machine with it. */
async function consoles(node: Node): Promise<Finding> {
  // Of several lines libvirt takes the first.
  const [line, handler] =
    /^[ \t]*stdio_handler[ \t]*=[ \t]*"(\w*)"/m.exec((await node.read(QEMU_CONF_PATH)) ?? "") ?? [];
  if (handler === "file") return ok("consoles", "QEMU writes them itself");
  const change =
    line === undefined
      ? `echo 'stdio_handler = "file"' >>${QEMU_CONF_PATH}`
      : `sed -i 's/^[ \\t]*stdio_handler.*/stdio_handler = "file"/' ${QEMU_CONF_PATH}`;
  return error(
    "consoles",
    line === undefined ? `no stdio_handler = "file" in ${QEMU_CONF_PATH}` : `${line.trim()} in ${QEMU_CONF_PATH}`,
    `${change} && systemctl restart libvirtd`,
  );
}

async function qemu(node: Node): Promise<Finding> {
  const name = QEMU_BY_ARCH[process.arch] ?? "qemu-kvm";
  for (const path of [name, "/usr/libexec/qemu-kvm"]) {
    const found = await node.program(path);
    if (found !== undefined) return ok("qemu", found);
  }
  return error("qemu", `no ${name} in PATH`, "apt-get install qemu-system-x86 (or qemu-system-arm)");
}

/** Program, Debian's package, what for. */
const PROGRAMS = [
  ["qemu-img", "qemu-utils", "disks"],
  ["bwrap", "bubblewrap", "looking at images"],
  ["setpriv", "util-linux", "looking at images"],
  ["xz", "xz-utils", "images that are packed with it"],
  ["/usr/bin/genisoimage", "genisoimage", "seeds"],
  ["ip", "iproute2", "networks"],
  ["tc", "iproute2", "networks"],
  ["/usr/bin/fallocate", "util-linux", "logs"],
  ["/usr/bin/flock", "util-linux", "a daemon that is alone on its state"],
] as const;

export async function checkPrograms(node: Node, { kernel }: Pick<Config, "kernel">): Promise<Finding[]> {
  const wanted = [...PROGRAMS, [kernel.dnsmasqPath, "dnsmasq-base", "addresses of guests"] as const];
  const missing: Finding[] = [];
  for (const [program, packageName, purpose] of wanted)
    if ((await node.program(program)) === undefined)
      missing.push(
        error("programs", `no ${program}, which is needed for ${purpose}`, `apt-get install ${packageName}`),
      );
  return missing.length > 0
    ? missing
    : [ok("programs", wanted.map(([program]) => program.replace(/.*\//, "")).join(", "))];
}
