// A network namespace that plays the host: plugins and stand-in guests act in it, and the machine's own stays untouched.

import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createNetwork } from "../../../src/cni/adapter.ts";
import { createNetns } from "../../../src/kernel/netns.ts";
import { type Run, run } from "../../../src/lib/spawn.ts";
import { newPodId, type PodId } from "../../../src/model/ids.ts";
import type { Logger } from "../../../src/ports/logger.ts";
import type { Netns } from "../../../src/ports/netns.ts";
import type { Network, NetworkRequest } from "../../../src/ports/network.ts";

export const silent: Logger = {
  error: () => {},
  warn: () => {},
  info: () => {},
  debug: () => {},
  child: () => silent,
};

export const soon = (): AbortSignal => AbortSignal.timeout(30_000);

/** Output of a program that must succeed; run in the namespace when one is given. */
export async function sh(netnsPath: string | undefined, file: string, ...args: string[]): Promise<string> {
  const argv = netnsPath === undefined ? [file, ...args] : ["nsenter", `--net=${netnsPath}`, "--", file, ...args];
  const [program = "", ...rest] = argv;
  const { exitCode, stdout, stderr } = await run(program, rest, {}, soon());
  if (exitCode !== 0) throw new Error(`${argv.join(" ")}: exit code ${exitCode}: ${stderr}${stdout.toString()}`);
  return stdout.toString();
}

export class PrivateHost implements AsyncDisposable {
  readonly netnsPath: string;
  readonly folderPath: string;
  readonly network: Network;
  readonly netns: Netns = createNetns({ run });
  readonly #pods: NetworkRequest[] = [];

  static async create({ mtu = 1450 }: { mtu?: number } = {}): Promise<PrivateHost> {
    const name = `vt${randomBytes(4).toString("hex")}`;
    const folderPath = await mkdtemp(join(tmpdir(), "vmlet-net-"));
    await sh(undefined, "ip", "netns", "add", name);
    const host = new PrivateHost(`/run/netns/${name}`, folderPath);
    await sh(undefined, "ip", "-n", name, "link", "set", "lo", "up");
    await mkdir(join(folderPath, "net.d"));
    await writeFile(join(folderPath, "net.d/10-test.conflist"), JSON.stringify(bridgeList(folderPath, mtu)));
    return host;
  }

  private constructor(netnsPath: string, folderPath: string) {
    this.netnsPath = netnsPath;
    this.folderPath = folderPath;
    this.network = createNetwork(
      {
        configFolderPath: join(folderPath, "net.d"),
        binFolderPaths: ["/opt/cni/bin", "/usr/lib/cni"],
        cacheFolderPath: join(folderPath, "cache"),
        pluginLimitMs: 20_000,
      },
      { run: this.run, log: silent },
    );
  }

  /** Plugins and moves of taps act on this host; everything else runs as always. */
  readonly run: Run = (file, args, options, signal) =>
    file.includes("/cni/") || (file === "ip" && args[0] === "link")
      ? run("nsenter", [`--net=${this.netnsPath}`, "--", file, ...args], options, signal)
      : run(file, args, options, signal);

  async newRequest(extra: Partial<NetworkRequest> = {}): Promise<NetworkRequest> {
    const podId: PodId = newPodId();
    await this.netns.create(podId, soon());
    const request: NetworkRequest = {
      podId,
      netnsPath: this.netns.pathOf(podId),
      pod: { name: "web", namespace: "default", uid: "7a1d" },
      portMappings: [],
      dns: { servers: [], searches: [], options: [] },
      ...extra,
    };
    this.#pods.push(request);
    return request;
  }

  async loseNetns({ podId }: Pick<NetworkRequest, "podId">): Promise<void> {
    await this.netns.remove(podId, soon());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const request of this.#pods) {
      await this.network.detach(request, soon());
      await this.netns.remove(request.podId, soon());
    }
    await sh(undefined, "ip", "netns", "del", this.netnsPath.replace("/run/netns/", ""));
    await rm(this.folderPath, { recursive: true });
  }
}

function bridgeList(folderPath: string, mtu: number): unknown {
  const ranges = [[{ subnet: "10.77.0.0/24" }], [{ subnet: "fd77::/64" }]];
  const routes = [{ dst: "0.0.0.0/0" }, { dst: "::/0" }];
  return {
    cniVersion: "1.0.0",
    name: "test-net",
    plugins: [
      {
        type: "bridge",
        bridge: "cni-test",
        isGateway: true,
        ipMasq: false,
        mtu,
        ipam: { type: "host-local", dataDir: join(folderPath, "ipam"), ranges, routes },
      },
      { type: "portmap", capabilities: { portMappings: true }, snat: false },
    ],
  };
}
