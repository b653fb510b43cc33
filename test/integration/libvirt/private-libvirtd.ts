// A libvirtd of a test's own, in its own mount namespace: stopped, killed and started at will, with nobody else's domains.

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { poll } from "../../../src/lib/backoff.ts";
import { run, SYSTEM_PATH } from "../../../src/lib/spawn.ts";

const LIMIT_MS = 90_000;
const limit = (): AbortSignal => AbortSignal.timeout(LIMIT_MS);

const CONFIG = `
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
auth_unix_rw = "none"
`;
const QEMU_CONFIG = `
stdio_handler = "file"
security_driver = "none"
remember_owner = 0
`;
const NO_CGROUPS = "cgroup_controllers = []\n";

export class PrivateLibvirtd implements AsyncDisposable {
  readonly folderPath: string;
  readonly #holder: ChildProcess;
  #daemon: ChildProcess | undefined;

  private constructor(folderPath: string, holder: ChildProcess) {
    this.folderPath = folderPath;
    this.#holder = holder;
  }

  /** @param hasCgroups It makes groups for its domains, beside those of the machine's own. */
  static async start({ hasCgroups = false }: { hasCgroups?: boolean } = {}): Promise<PrivateLibvirtd> {
    await letQemuReachKvm();
    const folderPath = await mkdtemp(join(tmpdir(), "vmlet-libvirtd-"));
    await chmod(folderPath, 0o755); // QEMU runs as libvirt-qemu
    for (const name of ["run", "lib", "log", "cache"]) await mkdir(join(folderPath, name));
    await cp("/etc/libvirt", join(folderPath, "etc"), { recursive: true });
    // Its settings, and none of the domains and networks that the machine's own libvirtd has.
    await rm(join(folderPath, "etc/qemu"), { recursive: true, force: true });
    await writeFile(join(folderPath, "etc/libvirtd.conf"), CONFIG);
    await writeFile(join(folderPath, "etc/qemu.conf"), hasCgroups ? QEMU_CONFIG : QEMU_CONFIG + NO_CGROUPS);
    const binds = Object.entries({
      run: "/run/libvirt",
      lib: "/var/lib/libvirt",
      log: "/var/log/libvirt",
      cache: "/var/cache/libvirt",
      etc: "/etc/libvirt",
    });
    const script = [
      ...binds.map(([name, path]) => `mkdir -p ${path} && mount --bind "$0/${name}" ${path}`),
      "echo ready",
      "exec sleep infinity",
    ].join("\n");
    const holder = spawn(
      "/usr/bin/unshare",
      ["--mount", "--propagation", "private", "/bin/sh", "-ec", script, folderPath],
      {
        env: { PATH: SYSTEM_PATH },
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    const { promise: ready, resolve, reject } = Promise.withResolvers<void>();
    holder.stdout.once("data", () => resolve());
    holder.once("exit", (code) => reject(new Error(`the namespace holder ended with ${code}`)));
    await ready;
    const own = new PrivateLibvirtd(folderPath, holder);
    await own.startDaemon();
    return own;
  }

  get socketPath(): string {
    return join(this.folderPath, "run/libvirt-sock");
  }

  get runFolderPath(): string {
    return join(this.folderPath, "run/qemu");
  }

  /** Resolves when it listens; one that runs already stays. */
  async startDaemon(): Promise<void> {
    if (this.#isRunning) return;
    const args = [
      `--mount=/proc/${this.#holder.pid}/ns/mnt`,
      "/usr/sbin/libvirtd",
      "--pid-file",
      "/run/libvirt/own.pid",
    ];
    this.#daemon = spawn("/usr/bin/nsenter", args, { env: { PATH: SYSTEM_PATH }, stdio: "ignore" });
    await poll(
      async () => ((await this.virsh("uri")).startsWith("qemu") ? true : undefined),
      { firstMs: 50, maxMs: 500 },
      limit(),
    );
  }

  async stopDaemon(signalName: NodeJS.Signals = "SIGTERM"): Promise<void> {
    const daemon = this.#isRunning ? this.#daemon : undefined;
    this.#daemon = undefined;
    if (daemon === undefined) return;
    const ended = new Promise((resolve) => daemon.once("exit", resolve));
    daemon.kill(signalName);
    await ended;
  }

  get #isRunning(): boolean {
    return this.#daemon !== undefined && this.#daemon.exitCode === null && this.#daemon.signalCode === null;
  }

  /** libvirtd's own process, to stop and continue it. */
  get daemonPid(): number {
    const pid = this.#daemon?.pid;
    if (pid === undefined) throw new Error("no daemon runs");
    return pid;
  }

  /** What virsh prints; errors are printed, too. */
  async virsh(...args: readonly string[]): Promise<string> {
    const url = `qemu+unix:///system?socket=${this.socketPath}`;
    const { stdout, stderr } = await run("virsh", ["-c", url, ...args], {}, limit());
    return stdout.toString("utf8") + stderr;
  }

  /** A running domain of nobody: `name`, 32 MiB, no disk. */
  async addDomain(name: string, { paused = true }: { paused?: boolean } = {}): Promise<void> {
    const xmlPath = join(this.folderPath, `${name}.xml`);
    await writeFile(xmlPath, smallDomainXml(name));
    const printed =
      (await this.virsh("define", xmlPath)) + (await this.virsh("start", name, ...(paused ? ["--paused"] : [])));
    if (!printed.includes("started")) throw new Error(printed);
  }

  async pidOf(name: string): Promise<number> {
    return Number(await readFile(join(this.runFolderPath, `${name}.pid`), "utf8"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopDaemon("SIGKILL");
    if (existsSync(this.runFolderPath)) {
      const names = (await readdir(this.runFolderPath)).filter(
        (name) => name.endsWith(".pid") && name !== "driver.pid",
      );
      for (const name of names) killIfThere(Number(await readFile(join(this.runFolderPath, name), "utf8")));
    }
    this.#holder.kill("SIGKILL");
    await rm(this.folderPath, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

export function smallDomainXml(
  name: string,
  { uuid, metadata = "" }: { uuid?: string; metadata?: string } = {},
): string {
  return `<domain type='qemu'>
    <name>${name}</name>${uuid === undefined ? "" : `<uuid>${uuid}</uuid>`}
    <metadata>${metadata}</metadata>
    <memory unit='MiB'>32</memory><vcpu>1</vcpu>
    <os><type arch='x86_64' machine='pc'>hvm</type></os>
    <on_poweroff>destroy</on_poweroff><on_crash>destroy</on_crash>
    <features><acpi/></features>
    <devices>
      <controller type='usb' model='none'/>
      <serial type='pty'><target port='0'/></serial>
      <memballoon model='none'/>
    </devices>
  </domain>`;
}

function killIfThere(pid: number): void {
  if (!Number.isInteger(pid) || pid <= 1) return;
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // ended already
  }
}

/** What udev would have done; without it libvirt asks QEMU for its capabilities again on every call. */
async function letQemuReachKvm(): Promise<void> {
  if (!existsSync("/dev/kvm")) return;
  await run("chgrp", ["kvm", "/dev/kvm"], {}, limit());
  await chmod("/dev/kvm", 0o660);
}
