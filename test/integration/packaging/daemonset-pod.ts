// A pod of the chart's DaemonSet, made as a kubelet makes it: by CRI, in a containerd of the test. Folders of the node are
// those of a test node, but for what there is one of on a machine.

import { randomUUID } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  ContainerConfig,
  ContainerState,
  MountPropagation,
  NamespaceMode,
  PodSandboxConfig,
} from "../../../src/gen/runtime.ts";
import type { CriClient } from "../../node/cri-client.ts";
import { poll } from "../../node/poll.ts";
import type { Rendered, RenderedContainer } from "./rendered.ts";

export interface NodeFolders {
  /** Where the node's folders are for the test: `/run/vmlet` is `<root>/run/vmlet`. */
  readonly rootPath: string;
  /** What is itself there, or at another place. */
  readonly elsewhere: Readonly<Record<string, string>>;
}

export interface DaemonSetPod {
  /** Its output and exit code. */
  exec(container: string, command: readonly string[], signal: AbortSignal): Promise<{ exitCode: number; text: string }>;
  log(container: string): Promise<string>;
  /** Stopped and removed, as at an update of the DaemonSet. */
  remove(signal: AbortSignal): Promise<void>;
}

const PROPAGATION = {
  HostToContainer: MountPropagation.PROPAGATION_HOST_TO_CONTAINER,
  Bidirectional: MountPropagation.PROPAGATION_BIDIRECTIONAL,
} as const;

/** Resolves when the init containers have ended well and the others have started. */
export async function startDaemonSetPod(
  cri: CriClient,
  { pod, configMaps }: Rendered,
  folders: NodeFolders,
  signal: AbortSignal,
): Promise<DaemonSetPod> {
  const uid = randomUUID();
  const namespaces = { network: NamespaceMode.NODE, pid: NamespaceMode.NODE, ipc: NamespaceMode.POD };
  const logDirectory = join(folders.rootPath, "daemonset-logs", uid);
  await mkdir(logDirectory, { recursive: true });
  const config = PodSandboxConfig.fromPartial({
    metadata: { name: "vmlet", namespace: "vmlet-system", uid, attempt: 0 },
    logDirectory,
    linux: { securityContext: { namespaceOptions: namespaces, privileged: true } },
  });
  const { podSandboxId } = await cri.runtime.runPodSandbox({ config, runtimeHandler: "" }, signal);
  const ids = new Map<string, string>();
  const start = async (container: RenderedContainer): Promise<string> => {
    const containerConfig = ContainerConfig.fromPartial({
      metadata: { name: container.name, attempt: 0 },
      image: { image: container.image },
      command: container.command,
      envs: container.env.map(({ name, value }) => ({ key: name, value: Buffer.from(value) })),
      mounts: await mountsOf(container),
      logPath: `${container.name}.log`,
      linux: { securityContext: { privileged: container.securityContext.privileged, namespaceOptions: namespaces } },
    });
    const request = { podSandboxId, config: containerConfig, sandboxConfig: config };
    const { containerId } = await cri.runtime.createContainer(request, signal);
    await cri.runtime.startContainer({ containerId }, signal);
    ids.set(container.name, containerId);
    return containerId;
  };

  async function mountsOf(container: RenderedContainer): Promise<ContainerConfig["mounts"]> {
    const made: object[] = [];
    for (const { name, mountPath, subPath = "", readOnly, mountPropagation } of container.volumeMounts) {
      const volume = pod.volumes.find((one) => one.name === name);
      const hostPath = volume?.hostPath
        ? await nodePath(volume.hostPath.path)
        : await configPath(volume?.configMap?.name ?? "");
      const propagation = mountPropagation ? PROPAGATION[mountPropagation] : MountPropagation.PROPAGATION_PRIVATE;
      made.push({ containerPath: mountPath, hostPath: join(hostPath, subPath), readonly: readOnly, propagation });
    }
    return ContainerConfig.fromPartial({ mounts: made }).mounts;
  }

  async function nodePath(path: string): Promise<string> {
    const own = folders.elsewhere[path] ?? join(folders.rootPath, path);
    await mkdir(own, { recursive: true, mode: 0o755 });
    return own;
  }

  async function configPath(name: string): Promise<string> {
    const folder = join(folders.rootPath, "configmaps", name);
    for (const [file, text] of Object.entries(configMaps[name] ?? {})) {
      await mkdir(dirname(join(folder, file)), { recursive: true });
      await writeFile(join(folder, file), text);
    }
    return folder;
  }

  const log = async (container: string): Promise<string> =>
    await readFile(join(logDirectory, `${container}.log`), "utf8").catch(() => "");
  for (const container of pod.initContainers) {
    const containerId = await start(container);
    const exitCode = await poll(
      async () => {
        const { status } = await cri.runtime.containerStatus({ containerId, verbose: false }, signal);
        return status?.state === ContainerState.CONTAINER_EXITED ? status.exitCode : undefined;
      },
      { what: `the end of ${container.name}`, limitMs: 120_000 },
      signal,
    );
    if (exitCode !== 0) throw new Error(`${container.name} ended with ${exitCode}: ${await log(container.name)}`);
  }
  for (const container of pod.containers) await start(container);
  return {
    log,
    exec: async (container, command, own) => {
      const request = { containerId: ids.get(container) ?? "", cmd: [...command], timeout: 120n };
      const { exitCode, stdout, stderr } = await cri.runtime.execSync(request, own);
      return { exitCode, text: Buffer.concat([stdout, stderr]).toString("utf8") };
    },
    remove: async (own) => {
      for (const containerId of ids.values()) await cri.runtime.stopContainer({ containerId, timeout: 30n }, own);
      await cri.runtime.stopPodSandbox({ podSandboxId }, own);
      await cri.runtime.removePodSandbox({ podSandboxId }, own);
    },
  };
}
