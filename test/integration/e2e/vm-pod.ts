// Pods with a VM in them, as a kubelet makes them: for end-to-end tests.

import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type AuthConfig,
  ContainerConfig,
  ContainerState,
  type ContainerStatus,
  PodSandboxConfig,
  type PodSandboxStatus,
} from "../../../src/gen/runtime.ts";
import { run } from "../../../src/lib/spawn.ts";
import { poll } from "../../node/poll.ts";
import type { TestNode } from "../../node/test-node.ts";

type DeepPartial<T> = T extends object ? { [K in keyof T]?: DeepPartial<T[K]> } : T;

/** What of a node a pod needs. */
export type PodsNode = Pick<TestNode, "cri" | "tinyImage"> & {
  readonly layout: Pick<TestNode["layout"], "podLogFolderPath">;
};

export interface VmPodOptions {
  readonly name?: string;
  readonly image?: string;
  /** The pull secret. */
  readonly auth?: AuthConfig;
  /** For what is waited for while the guest boots; BOOT_LIMIT_MS when absent. */
  readonly bootLimitMs?: number;
  readonly pod?: DeepPartial<PodSandboxConfig>;
  readonly container?: DeepPartial<ContainerConfig>;
}

/** Emulated guests share two cores with everything else: what takes seconds alone may take minutes here. */
export const BOOT_LIMIT_MS = 180_000;

export class VmPod {
  readonly podId: string;
  readonly podConfig: PodSandboxConfig;
  readonly bootLimitMs: number;
  containerId = "";
  containerConfig: ContainerConfig;
  readonly #node: PodsNode;

  private constructor(node: PodsNode, facts: Pick<VmPod, "podId" | "podConfig" | "containerConfig" | "bootLimitMs">) {
    this.#node = node;
    this.podId = facts.podId;
    this.podConfig = facts.podConfig;
    this.containerConfig = facts.containerConfig;
    this.bootLimitMs = facts.bootLimitMs;
  }

  /** Pulled and run: a pod with a network and no container yet. */
  static async run(node: PodsNode, options: VmPodOptions, signal: AbortSignal): Promise<VmPod> {
    const { name = "web", image = node.tinyImage, auth, bootLimitMs = BOOT_LIMIT_MS } = options;
    const podConfig = podConfigOf(node, name, options.pod);
    const containerConfig = containerConfigOf(image, options.container);
    await node.cri.image.pullImage({ image: containerConfig.image, auth, sandboxConfig: podConfig }, signal);
    const request = { config: podConfig, runtimeHandler: "vmlet" };
    const { podSandboxId } = await node.cri.runtime.runPodSandbox(request, signal);
    return new VmPod(node, { podId: podSandboxId, podConfig, containerConfig, bootLimitMs });
  }

  /** Its container is created, too; not started. */
  static async create(node: PodsNode, options: VmPodOptions, signal: AbortSignal): Promise<VmPod> {
    const pod = await VmPod.run(node, options, signal);
    await pod.createContainer(pod.containerConfig, signal);
    return pod;
  }

  static async start(node: PodsNode, options: VmPodOptions, signal: AbortSignal): Promise<VmPod> {
    const pod = await VmPod.create(node, options, signal);
    await pod.start(signal);
    return pod;
  }

  async createContainer(config: ContainerConfig, signal: AbortSignal): Promise<string> {
    const request = { podSandboxId: this.podId, config, sandboxConfig: this.podConfig };
    const { containerId } = await this.#node.cri.runtime.createContainer(request, signal);
    this.containerConfig = config;
    this.containerId = containerId;
    return containerId;
  }

  async start(signal: AbortSignal): Promise<void> {
    await this.#node.cri.runtime.startContainer({ containerId: this.containerId }, signal);
  }

  async stop(graceSeconds: number, signal: AbortSignal): Promise<void> {
    await this.#node.cri.runtime.stopContainer(
      { containerId: this.containerId, timeout: BigInt(graceSeconds) },
      signal,
    );
  }

  async status(signal: AbortSignal): Promise<ContainerStatus> {
    const request = { containerId: this.containerId, verbose: false };
    const { status } = await this.#node.cri.runtime.containerStatus(request, signal);
    if (!status) throw new Error("a container status without status");
    return status;
  }

  async podStatus(signal: AbortSignal): Promise<PodSandboxStatus> {
    const request = { podSandboxId: this.podId, verbose: false };
    const { status } = await this.#node.cri.runtime.podSandboxStatus(request, signal);
    if (!status) throw new Error("a pod status without status");
    return status;
  }

  async ip(signal: AbortSignal): Promise<string> {
    return (await this.podStatus(signal)).network?.ip ?? "";
  }

  async domain(signal: AbortSignal): Promise<string> {
    const request = { containerId: this.containerId, verbose: true };
    const { info } = await this.#node.cri.runtime.containerStatus(request, signal);
    return (JSON.parse(info["info"] ?? "{}") as { domain?: string }).domain ?? "";
  }

  /** The log's text without the CRI prefix; partial lines are joined. */
  async log(): Promise<string> {
    const path = join(this.podConfig.logDirectory, this.containerConfig.logPath);
    const lines = (await readFile(path, "utf8").catch(() => "")).split("\n").filter((line) => line !== "");
    return lines
      .map((line) => {
        const match = /^\S+ stdout ([FP]) (.*)$/s.exec(line); // a guest may print \r anywhere
        if (!match) throw new Error(`not a CRI log line: ${JSON.stringify(line)}`);
        return `${match[2]}${match[1] === "F" ? "\n" : ""}`;
      })
      .join("");
  }

  /** Waits until the guest printed it. */
  async says(text: string | RegExp, signal: AbortSignal): Promise<string> {
    const what = `the guest saying ${String(text)}`;
    try {
      return await poll(
        async () => {
          const log = await this.log();
          return (typeof text === "string" ? log.includes(text) : text.test(log)) ? log : undefined;
        },
        { what, limitMs: this.bootLimitMs },
        signal,
      );
    } catch (error) {
      signal.throwIfAborted();
      const end = (await this.log()).slice(-400);
      throw new Error(`${what}: not within ${this.bootLimitMs} ms; its log ends with ${JSON.stringify(end)}`, {
        cause: error,
      });
    }
  }

  async exited(signal: AbortSignal): Promise<ContainerStatus> {
    return await poll(
      async () => {
        const status = await this.status(signal);
        return status.state === ContainerState.CONTAINER_EXITED ? status : undefined;
      },
      { what: "the end of the container", limitMs: this.bootLimitMs },
      signal,
    );
  }

  /** Everything of it; what the kubelet does with a deleted pod. */
  async remove(signal: AbortSignal): Promise<void> {
    await this.#node.cri.runtime.stopPodSandbox({ podSandboxId: this.podId }, signal);
    await this.#node.cri.runtime.removePodSandbox({ podSandboxId: this.podId }, signal);
  }
}

export function podConfigOf(node: PodsNode, name: string, over: DeepPartial<PodSandboxConfig> = {}): PodSandboxConfig {
  const uid = randomUUID();
  return PodSandboxConfig.fromPartial({
    metadata: { name, namespace: "default", uid, attempt: 0 },
    hostname: name,
    logDirectory: join(node.layout.podLogFolderPath, `default_${name}_${uid}`),
    labels: { "io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": "default", "io.kubernetes.pod.uid": uid },
    linux: {},
    ...over,
  } as Parameters<typeof PodSandboxConfig.fromPartial>[0]);
}

export function containerConfigOf(image: string, over: DeepPartial<ContainerConfig> = {}): ContainerConfig {
  return ContainerConfig.fromPartial({
    metadata: { name: "vm", attempt: 0 },
    image: { image },
    logPath: "vm/0.log",
    labels: { "io.kubernetes.container.name": "vm" },
    linux: { resources: { memoryLimitInBytes: 256n << 20n } },
    ...over,
  } as Parameters<typeof ContainerConfig.fromPartial>[0]);
}

/** The page that a guest serves; waits until it answers. */
export async function httpGet(url: string, signal: AbortSignal): Promise<string> {
  const what = `an answer of ${url}`;
  return await poll(
    async () => {
      const done = await run("/usr/bin/curl", ["-sSf", "-m", "3", url], {}, signal);
      return done.exitCode === 0 ? done.stdout.toString("utf8") : undefined;
    },
    { what, limitMs: BOOT_LIMIT_MS },
    signal,
  );
}

export async function virsh(args: readonly string[], signal: AbortSignal): Promise<string> {
  const done = await run("/usr/bin/virsh", ["-q", "-c", "qemu:///system", ...args], {}, signal);
  if (done.exitCode !== 0) throw new Error(`virsh ${args.join(" ")}: ${done.stderr}`);
  return done.stdout.toString("utf8").trim();
}
