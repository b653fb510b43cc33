// How the demo speaks CRI: by crictl, as a person would, or where crictl could not be built by gRPC of our own.

import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  ContainerConfig,
  CreateContainerRequest,
  ImageSpec,
  PodSandboxConfig,
  PodSandboxStatusRequest,
  PullImageRequest,
  RemoveContainerRequest,
  RemovePodSandboxRequest,
  RunPodSandboxRequest,
  StartContainerRequest,
  StopContainerRequest,
  StopPodSandboxRequest,
} from "../../src/gen/runtime.ts";
import { output } from "./command.ts";
import { connectCri } from "./cri-client.ts";
import { type NodeLayout, REPO_PATH } from "./layout.ts";

/** A pod and its container, in the JSON that crictl reads: names as in api.proto. */
export interface DemoPod {
  readonly pod: Readonly<Record<string, unknown>>;
  readonly container: Readonly<Record<string, unknown>>;
  readonly image: string;
  /** The value of its label. */
  readonly label: string;
}

export interface Driver extends Disposable {
  readonly name: string;
  pull(image: string, signal: AbortSignal): Promise<void>;
  runPod(signal: AbortSignal): Promise<string>;
  podIp(podId: string, signal: AbortSignal): Promise<string>;
  create(podId: string, signal: AbortSignal): Promise<string>;
  start(containerId: string, signal: AbortSignal): Promise<void>;
  stop(containerId: string, graceSeconds: number, signal: AbortSignal): Promise<void>;
  remove(containerId: string, signal: AbortSignal): Promise<void>;
  stopPod(podId: string, signal: AbortSignal): Promise<void>;
  removePod(podId: string, signal: AbortSignal): Promise<void>;
}

/** @param say Told each command before it runs. */
export async function openDriver(layout: NodeLayout, demo: DemoPod, say: (text: string) => void): Promise<Driver> {
  const crictl = join(REPO_PATH, ".cache/bin/crictl");
  return existsSync(crictl) ? crictlDriver(crictl, layout, demo, say) : grpcDriver(layout, demo, say);
}

async function crictlDriver(
  file: string,
  layout: NodeLayout,
  demo: DemoPod,
  say: (text: string) => void,
): Promise<Driver> {
  const podPath = join(layout.runFolderPath, "demo-pod.json");
  const containerPath = join(layout.runFolderPath, "demo-container.json");
  await writeFile(podPath, JSON.stringify(demo.pod, null, 2));
  await writeFile(containerPath, JSON.stringify(demo.container, null, 2));
  const crictl = async (args: readonly string[], signal: AbortSignal): Promise<string> => {
    say(`crictl ${args.join(" ").replace(/\b([0-9a-f]{12})[0-9a-f]{52}\b/g, "$1")}`);
    return (await output([file, "--config", layout.crictlConfigPath, ...args], signal)).trim();
  };
  const done = async (args: readonly string[], signal: AbortSignal): Promise<void> => void (await crictl(args, signal));
  return {
    name: "crictl",
    pull: (image, signal) => done(["pull", image], signal),
    runPod: (signal) => crictl(["runp", podPath], signal),
    podIp: (podId, signal) =>
      crictl(["inspectp", "-o", "go-template", "--template", "{{.status.network.ip}}", podId], signal),
    create: (podId, signal) => crictl(["create", podId, containerPath, podPath], signal),
    start: (id, signal) => done(["start", id], signal),
    stop: (id, graceSeconds, signal) => done(["stop", "--timeout", String(graceSeconds), id], signal),
    remove: (id, signal) => done(["rm", id], signal),
    stopPod: (id, signal) => done(["stopp", id], signal),
    removePod: (id, signal) => done(["rmp", id], signal),
    [Symbol.dispose]: () => {},
  };
}

function grpcDriver(layout: NodeLayout, demo: DemoPod, say: (text: string) => void): Driver {
  const cri = connectCri(layout.socketPath);
  const config = PodSandboxConfig.fromPartial(camelKeys(demo.pod));
  const containerConfig = ContainerConfig.fromPartial(camelKeys(demo.container));
  const told = <T>(name: string, result: Promise<T>): Promise<T> => {
    say(`gRPC ${name}`);
    return result;
  };
  const { runtime, image: images } = cri;
  return {
    name: "gRPC (crictl could not be built)",
    pull: async (image, signal) => {
      const request = PullImageRequest.fromPartial({ image: ImageSpec.fromPartial({ image }) });
      await told("PullImage", images.pullImage(request, signal));
    },
    runPod: async (signal) => {
      const request = RunPodSandboxRequest.fromPartial({ config });
      return (await told("RunPodSandbox", runtime.runPodSandbox(request, signal))).podSandboxId;
    },
    podIp: async (podSandboxId, signal) => {
      const request = PodSandboxStatusRequest.fromPartial({ podSandboxId });
      const { status } = await told("PodSandboxStatus", runtime.podSandboxStatus(request, signal));
      return status?.network?.ip ?? "";
    },
    create: async (podSandboxId, signal) => {
      const request = CreateContainerRequest.fromPartial({
        podSandboxId,
        config: containerConfig,
        sandboxConfig: config,
      });
      return (await told("CreateContainer", runtime.createContainer(request, signal))).containerId;
    },
    start: async (containerId, signal) =>
      void (await told(
        "StartContainer",
        runtime.startContainer(StartContainerRequest.fromPartial({ containerId }), signal),
      )),
    stop: async (containerId, graceSeconds, signal) => {
      const request = StopContainerRequest.fromPartial({ containerId, timeout: BigInt(graceSeconds) });
      await told("StopContainer", runtime.stopContainer(request, signal));
    },
    remove: async (containerId, signal) =>
      void (await told(
        "RemoveContainer",
        runtime.removeContainer(RemoveContainerRequest.fromPartial({ containerId }), signal),
      )),
    stopPod: async (podSandboxId, signal) =>
      void (await told(
        "StopPodSandbox",
        runtime.stopPodSandbox(StopPodSandboxRequest.fromPartial({ podSandboxId }), signal),
      )),
    removePod: async (podSandboxId, signal) =>
      void (await told(
        "RemovePodSandbox",
        runtime.removePodSandbox(RemovePodSandboxRequest.fromPartial({ podSandboxId }), signal),
      )),
    [Symbol.dispose]: () => cri[Symbol.dispose](),
  };
}

/** `log_directory` -> `logDirectory` and 64-bit numbers to bigint; keys of labels and annotations stay as they are. */
function camelKeys(value: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value).map(([key, below]) => [
      key.replace(/_([a-z])/g, (_match, letter: string) => letter.toUpperCase()),
      typeof below === "number" && INT64_KEYS.has(key)
        ? BigInt(below)
        : isRecord(below) && key !== "labels" && key !== "annotations"
          ? camelKeys(below)
          : below,
    ]),
  );
}

const INT64_KEYS: ReadonlySet<string> = new Set(["memory_limit_in_bytes", "cpu_period", "cpu_quota", "cpu_shares"]);

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
