// CRI's container <-> our Machine.

import { resourcesInForce } from "../engine/update-machine.ts";
import {
  type Container,
  type ContainerConfig,
  type ContainerFilter,
  ContainerState,
  type ContainerStatus,
  type Mount as CriMount,
  type ImageSpec,
  type KeyValue,
  MountPropagation,
  type Signal,
} from "../gen/runtime.ts";
import { joinInside } from "../lib/safe-path.ts";
import { isShellName } from "../model/environment.ts";
import { invalid } from "../model/failure.ts";
import type { EnvVar, MachineSpec, MachineState, Mount } from "../model/machine.ts";
import type { PodSpec } from "../model/pod.ts";
import type { MachineRecord } from "../ports/pod-store.ts";
import { runAsOf } from "./convert-run-as.ts";
import {
  isPath,
  linuxResourcesOf,
  matchesLabels,
  nameOf,
  nanosOf,
  quoted,
  required,
  resourcesOf,
} from "./convert-shared.ts";

/** @throws SPEC_INVALID naming the field. */
export function machineSpecOf(config: ContainerConfig, pod: PodSpec): MachineSpec {
  const metadata = required(config.metadata, "config.metadata");
  const image = imageNameOf(required(config.image?.image, "config.image.image"), "config.image.image");
  const runAs = runAsOf(config.linux?.securityContext);
  refuseDevices(config);
  return {
    name: nameOf(metadata.name, "config.metadata.name"),
    attempt: metadata.attempt,
    image,
    userImage: imageNameOf(config.image?.userSpecifiedImage || image, "config.image.user_specified_image"),
    command: config.command.map((word, index) => withoutNul(word, `config.command[${index}]`)),
    args: config.args.map((word, index) => withoutNul(word, `config.args[${index}]`)),
    workingDir: withoutNul(config.workingDir, "config.working_dir"),
    ...(runAs === undefined ? {} : { runAs }),
    ...(config.stdin ? { input: { isTty: config.tty, isOnce: config.stdinOnce } } : {}),
    env: config.envs.map(envOf),
    mounts: config.mounts.map(mountOf),
    labels: config.labels,
    annotations: config.annotations,
    logPath: logPathOf(config.logPath, pod.logFolderPath),
    resources: resourcesOf(config.linux?.resources, "config.linux.resources"),
    stopSignal: config.stopSignal,
  };
}

/** Shown in the domain's description: libvirt takes no domain of more than 4 MiB. */
function imageNameOf(name: string, field: string): string {
  if (name.length <= MAX_IMAGE_NAME_CHARS) return name;
  throw invalid(field, `${name.length} characters, at most ${MAX_IMAGE_NAME_CHARS}`);
}

const MAX_IMAGE_NAME_CHARS = 4096;

/** What no process can be given. */
function withoutNul(text: string, field: string): string {
  if (text.includes("\0")) throw invalid(field, "has a NUL character, which no process can be given");
  return text;
}

function envOf({ key, value }: KeyValue, index: number): EnvVar {
  if (value.includes(0) && isShellName(key))
    throw invalid(
      `config.envs[${index}].value`,
      `of ${quoted(key)} has a NUL character, which no process can be given`,
    );
  return { name: key, valueBase64: value.toString("base64") };
}

/** Whoever asks for a disk or a card means it: a guest that came up without would use its root disk instead, or nothing. */
function refuseDevices({ devices, CDIDevices, mounts }: ContainerConfig): void {
  const why = "a VM gets no devices of the node (volumeDevices, device plugins)";
  for (const [index, { containerPath }] of devices.entries())
    throw invalid(`config.devices[${index}]`, `${quoted(containerPath)}: ${why}`);
  for (const [index, { name }] of CDIDevices.entries())
    throw invalid(`config.CDI_devices[${index}]`, `${quoted(name)}: ${why}`);
  const index = mounts.findIndex(({ image }) => image !== undefined && image.image !== "");
  if (index >= 0) throw invalid(`config.mounts[${index}].image`, "a VM cannot mount an image as a volume");
}

function mountOf({ containerPath, hostPath, readonly }: CriMount): Mount {
  return { containerPath, hostPath, isReadOnly: readonly };
}

function logPathOf(logPath: string, logFolderPath: string): string {
  if (logPath === "" || logFolderPath === "") return "";
  const path = joinInside(logFolderPath, logPath);
  if (path && !isPath(path))
    throw invalid("config.log_path", `${quoted(logPath)} makes a path of more than 4095 bytes`);
  if (path) return path;
  throw invalid("config.log_path", `${quoted(logPath)} leads out of the pod's log_directory ${logFolderPath}`);
}

/** A machine that is still being made has no answer yet: CreateContainer has not returned its id. */
export const isListed = ({ state }: MachineRecord): boolean => state.at !== "intended";

function containerStateOf(state: MachineState): ContainerState {
  switch (state.at) {
    case "intended":
    case "created":
    case "starting":
      return ContainerState.CONTAINER_CREATED;
    case "running":
    case "stopping":
      return ContainerState.CONTAINER_RUNNING;
    case "exited":
      return ContainerState.CONTAINER_EXITED;
  }
}

export function containerOf({ facts, state }: MachineRecord): Container {
  const { machineId, podId, spec, imageDigest, createdAtMs } = facts;
  return {
    id: machineId,
    podSandboxId: podId,
    metadata: { name: spec.name, attempt: spec.attempt },
    image: imageSpecOf(spec),
    imageRef: imageDigest,
    state: containerStateOf(state),
    createdAt: nanosOf(createdAtMs),
    labels: spec.labels,
    annotations: spec.annotations,
    imageId: imageDigest,
  };
}

/** @param condition What a person should know of a machine that runs, if anything. */
export function containerStatusOf(record: MachineRecord, condition: string | undefined): ContainerStatus {
  const { facts, state } = record;
  const { spec } = facts;
  const exit = state.at === "exited" ? state.exit : undefined;
  const startedAtMs = "startedAtMs" in state ? state.startedAtMs : undefined;
  const { podSandboxId: _podSandboxId, ...container } = containerOf(record);
  return {
    ...container,
    // The pod's status shows this; the kubelet creates containers with the image's id, which would tell people nothing.
    image: { ...imageSpecOf(spec), image: spec.userImage },
    startedAt: nanosOf(startedAtMs),
    finishedAt: nanosOf(exit?.finishedAtMs),
    exitCode: exit?.exitCode ?? 0,
    reason: exit?.reason ?? "",
    message: exit?.message || condition || "",
    mounts: spec.mounts.map(criMountOf),
    logPath: spec.logPath,
    resources: { linux: linuxResourcesOf(resourcesInForce(record)), windows: undefined },
    user: undefined,
    stopSignal: spec.stopSignal as Signal,
  };
}

/** The newest first: a kubelet that asks for all of a pod takes the first of a name for how its container is. */
export function containerStatusesOf(
  machines: readonly { readonly machine: MachineRecord; readonly condition: string | undefined }[],
): ContainerStatus[] {
  return machines
    .toSorted(({ machine: { facts: one } }, { machine: { facts: other } }) =>
      one.createdAtMs === other.createdAtMs
        ? other.spec.attempt - one.spec.attempt
        : other.createdAtMs - one.createdAtMs,
    )
    .map(({ machine, condition }) => containerStatusOf(machine, condition));
}

function criMountOf({ containerPath, hostPath, isReadOnly }: Mount): CriMount {
  return {
    containerPath,
    hostPath,
    readonly: isReadOnly,
    selinuxRelabel: false,
    propagation: MountPropagation.PROPAGATION_PRIVATE,
    uidMappings: [],
    gidMappings: [],
    recursiveReadOnly: false,
    image: undefined,
    imageSubPath: "",
  };
}

function imageSpecOf({ image, userImage }: MachineSpec): ImageSpec {
  return { image, annotations: {}, userSpecifiedImage: userImage, runtimeHandler: "", imageRef: "" };
}

export function matchesContainerFilter(container: Container, filter: ContainerFilter | undefined): boolean {
  if (!filter) return true;
  if (filter.id !== "" && filter.id !== container.id) return false;
  if (filter.podSandboxId !== "" && filter.podSandboxId !== container.podSandboxId) return false;
  if (filter.state && filter.state.state !== container.state) return false;
  return matchesLabels(container.labels, filter.labelSelector);
}
