// One DHCP server per wired pod: started in its netns, left running when we end, found again, stopped by pid.

import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomically } from "../lib/atomic-file.ts";
import { poll } from "../lib/backoff.ts";
import type { Run } from "../lib/spawn.ts";
import { VmletError } from "../model/failure.ts";
import type { PodId } from "../model/ids.ts";
import type { Logger } from "../ports/logger.ts";
import type { WireRequest } from "../ports/wiring.ts";
import { renderDnsmasqConfig } from "./dnsmasq-config.ts";
import type { KernelOptions } from "./options.ts";
import { joinPodCgroup, leavePodCgroup } from "./pod-cgroup.ts";
import { readOr } from "./process-usage.ts";

/** What a server gets to end by itself before it is killed. */
const TERM_LIMIT_MS = 2000;

/**
 * Afterwards a server runs with exactly this configuration. One that already does is left alone.
 * @throws TOOL_FAILED with dnsmasq's own words when it does not start.
 */
export async function ensureDhcp(
  request: WireRequest,
  tapIndex: number,
  options: KernelOptions,
  { run, log }: { readonly run: Run; readonly log: Logger },
  signal: AbortSignal,
): Promise<void> {
  const { cgroupPath } = request;
  const paths = pathsOf(request.podId, options);
  const body = renderDnsmasqConfig({ ...request, pidFilePath: paths.pidFilePath });
  if (body === undefined) {
    log.debug("no IPv4 address, no DHCP server", { pod: request.podId });
    return await stopDhcp(request.podId, options, signal);
  }
  // The server is bound to the interface itself, not to its name: a new tap of the same name needs a new server.
  const config = `# ${request.tapName} is interface ${tapIndex}\n${body}`;
  const found = await findServer(paths);
  if (found !== undefined) {
    if (readOr(paths.configPath) === config) return await placeServer(found, { paths, cgroupPath, log });
    await stopDhcp(request.podId, options, signal);
  }
  await mkdir(paths.folderPath, { recursive: true, mode: 0o755 });
  await writeFileAtomically(paths.configPath, config);
  // dnsmasq leaves for the background once it is bound; what keeps it from that is in its exit code.
  const args = [`--net=${request.netnsPath}`, "--", options.dnsmasqPath, argumentOf(paths)];
  const { exitCode, stderr } = await run("nsenter", args, {}, signal);
  if (exitCode === 0) return await placeServer(await findServer(paths), { paths, cgroupPath, log });
  throw new VmletError(
    { code: "TOOL_FAILED", tool: "dnsmasq", exitCode },
    `pod ${request.podId}: the DHCP server did not start: ${stderr.trim().slice(0, 500)}`,
  );
}

/** Not running: no change. Its folder is gone afterwards. */
export async function stopDhcp(podId: PodId, options: KernelOptions, signal: AbortSignal): Promise<void> {
  const paths = pathsOf(podId, options);
  const pid = await findServer(paths);
  if (pid !== undefined) await endServer(pid, paths, signal);
  const cgroupPath = readOr(paths.cgroupNotePath);
  if (cgroupPath !== undefined) await leavePodCgroup({ cgroupPath }, signal);
  await rm(paths.folderPath, { recursive: true, force: true });
}

/** The server's process, by its pid file; undefined when there is none. Any process of the pod's netns would do. */
export function dhcpServerOf(podId: PodId, options: KernelOptions): number | undefined {
  return notedServer(pathsOf(podId, options));
}

interface DhcpPaths {
  readonly folderPath: string;
  readonly configPath: string;
  readonly pidFilePath: string;
  /** Which cgroup the server was put into, if any. */
  readonly cgroupNotePath: string;
}

function pathsOf(podId: PodId, { dhcpFolderPath }: KernelOptions): DhcpPaths {
  const folderPath = join(dhcpFolderPath, podId);
  return {
    folderPath,
    configPath: join(folderPath, "dnsmasq.conf"),
    pidFilePath: join(folderPath, "dnsmasq.pid"),
    cgroupNotePath: join(folderPath, "cgroup"),
  };
}

/** Where we are a container, what is in our cgroup ends with us. It serves in any cgroup: a failure is told, and no more. */
async function placeServer(
  pid: number | undefined,
  {
    paths,
    cgroupPath,
    log,
  }: { readonly paths: DhcpPaths; readonly cgroupPath: string | undefined; readonly log: Logger },
): Promise<void> {
  if (pid === undefined || cgroupPath === undefined) return;
  try {
    await writeFileAtomically(paths.cgroupNotePath, cgroupPath);
    await joinPodCgroup(pid, cgroupPath);
  } catch (error) {
    log.warn("the DHCP server is not in its pod's cgroup", { cgroup: cgroupPath, error });
  }
}

/** The argument that no other process has: it carries the pod's id. */
const argumentOf = ({ configPath }: DhcpPaths): string => `--conf-file=${configPath}`;

/** By the pid file; where a crash or a full disk left none or a stale one, by a look at all processes. */
async function findServer(paths: DhcpPaths): Promise<number | undefined> {
  if (readOr(paths.configPath) === undefined) return undefined; // never started
  const noted = notedServer(paths);
  if (noted !== undefined) return noted;
  for (const name of await readdir("/proc")) {
    if (/^\d+$/.test(name) && isServer(Number(name), paths)) return Number(name);
  }
  return undefined;
}

function notedServer(paths: DhcpPaths): number | undefined {
  const pid = Number(readOr(paths.pidFilePath));
  return Number.isSafeInteger(pid) && pid > 1 && isServer(pid, paths) ? pid : undefined;
}

function isServer(pid: number, paths: DhcpPaths): boolean {
  return readOr(`/proc/${pid}/cmdline`)?.split("\0").includes(argumentOf(paths)) ?? false;
}

/** A pid can be reused between two looks, so each kill comes right after a look at whose it is. */
async function endServer(pid: number, paths: DhcpPaths, signal: AbortSignal): Promise<void> {
  const killAtMs = performance.now() + TERM_LIMIT_MS;
  tryKill(pid, "SIGTERM");
  await poll(
    async () => {
      if (!isServer(pid, paths)) return true;
      if (performance.now() > killAtMs) tryKill(pid, "SIGKILL");
      return undefined;
    },
    { firstMs: 2, maxMs: 100 },
    signal,
  );
}

function tryKill(pid: number, signalName: NodeJS.Signals): void {
  try {
    process.kill(pid, signalName);
  } catch {
    // It ended by itself in between.
  }
}
