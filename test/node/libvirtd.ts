// libvirtd for tests and the dev node: the machine's if one runs, otherwise one that we start and later stop.
// Run as a program: node libvirtd.ts up|down

import { chmod, chown, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { output } from "./command.ts";
import { poll } from "./poll.ts";
import { pidOf, stop } from "./process.ts";

const SOCKET_PATH = "/run/libvirt/libvirt-sock";
const QEMU_CONF_PATH = "/etc/libvirt/qemu.conf";
const DAEMONS = ["virtlogd", "libvirtd"] as const;
/** Says that we started it. */
const MARKER_PATH = "/run/vmlet-started-libvirtd";
const BLOCK_BEGIN = "# vmlet tests: begin\n";
const BLOCK_END = "# vmlet tests: end\n";

/** Says in one line what was found or done. */
export async function ensureLibvirtd(signal: AbortSignal): Promise<string> {
  if (await answers()) {
    if (!(await hasFileHandler())) {
      throw new Error(
        `a libvirtd runs here without stdio_handler = "file" in ${QEMU_CONF_PATH}, so a VM's console would stop with ` +
          "virtlogd; add that line, restart libvirtd, and try again",
      );
    }
    return "libvirtd runs already";
  }
  await prepare(signal);
  await writeFile(MARKER_PATH, "");
  for (const name of DAEMONS) await output([`/usr/sbin/${name}`, "-d"], signal);
  await poll(async () => ((await answers()) ? true : undefined), { what: "libvirtd", limitMs: 30_000 }, signal);
  return "libvirtd started";
}

/** Stops what `ensureLibvirtd` started, unless a domain of somebody's lives in it. */
export async function stopOurLibvirtd(signal: AbortSignal): Promise<string> {
  if ((await stat(MARKER_PATH).catch(() => undefined)) === undefined) return "libvirtd is not ours: left running";
  const domains = (await output(["/usr/bin/virsh", "-q", "list", "--all", "--name"], signal).catch(() => "")).trim();
  if (domains !== "") return `libvirtd has domains: left running (${domains.split("\n").join(", ")})`;
  for (const name of [...DAEMONS].toReversed()) {
    const pid = await pidOf(`/run/${name}.pid`, name);
    if (pid !== undefined) await stop(pid, 10_000, signal);
  }
  const text = await readFile(QEMU_CONF_PATH, "utf8");
  const begin = text.indexOf(BLOCK_BEGIN);
  const end = text.indexOf(BLOCK_END);
  if (begin >= 0 && end > begin)
    await writeFile(QEMU_CONF_PATH, text.slice(0, begin) + text.slice(end + BLOCK_END.length));
  await rm(MARKER_PATH, { force: true });
  return "libvirtd stopped";
}

/** What udev and systemd do on an ordinary node. */
async function prepare(signal: AbortSignal): Promise<void> {
  await mkdir("/run/libvirt", { recursive: true, mode: 0o755 });
  await mkdir("/run/lock", { recursive: true }); // whoever opens a console locks its terminal there
  // While /dev/kvm is root's alone libvirt finds KVM as root, misses it as QEMU's user, and probes QEMU at every call.
  const group = Number((await output(["/usr/bin/getent", "group", "kvm"], signal).catch(() => "")).split(":")[2]);
  if (Number.isSafeInteger(group) && (await stat("/dev/kvm").catch(() => undefined)) !== undefined) {
    await chown("/dev/kvm", 0, group);
    await chmod("/dev/kvm", 0o660);
  }
  if (await hasFileHandler()) return;
  const text = await readFile(QEMU_CONF_PATH, "utf8").catch(() => "");
  const line = 'stdio_handler = "file" # QEMU writes consoles itself\n';
  await writeFile(QEMU_CONF_PATH, `${text.replace(/\n?$/, "\n")}${BLOCK_BEGIN}${line}${BLOCK_END}`);
}

async function hasFileHandler(): Promise<boolean> {
  const text = await readFile(QEMU_CONF_PATH, "utf8").catch(() => "");
  return /^\s*stdio_handler\s*=\s*"file"/m.test(text);
}

async function answers(): Promise<boolean> {
  const socket = connect(SOCKET_PATH);
  const { promise, resolve } = Promise.withResolvers<boolean>();
  socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
  const answer = await promise;
  socket.destroy();
  return answer;
}

if (import.meta.main) {
  const signal = AbortSignal.timeout(60_000);
  console.log(process.argv[2] === "down" ? await stopOurLibvirtd(signal) : await ensureLibvirtd(signal));
}
