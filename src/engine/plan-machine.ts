// What a machine is made of: decided from what was asked for and what the pod has, before anything is touched.

import { type Annotations, parseAnnotations } from "../model/annotations.ts";
import type { Attachment } from "../model/attachment.ts";
import { VmletError } from "../model/failure.ts";
import type { Image } from "../model/image.ts";
import type { MachineFacts } from "../model/machine.ts";
import { type MachinePlan, tapNameOf } from "../model/machine-plan.ts";
import { partitionOf, sizeMachine } from "../model/sizing.ts";
import type { PodRecord } from "../ports/pod-store.ts";
import type { SeedFile, SeedRequest } from "../ports/seed.ts";
import type { Parts } from "./parts.ts";

/**
 * @param field Where the resources were said; CreateContainer's own place when absent.
 * @throws SPEC_INVALID naming the field that asks for what cannot be.
 */
export function planMachine(
  { options, store }: Pick<Parts, "options" | "store">,
  pod: PodRecord,
  facts: Omit<MachineFacts, "notices">,
  base: { readonly path: string; readonly format: Image["format"] },
  field?: string,
): MachinePlan {
  const { spec } = facts;
  const { namespace, name, uid, cgroupParent, overhead } = pod.facts.spec;
  const paths = store.pathsOf(facts.podId, facts.machineId);
  const attachment = attachmentOf(pod);
  const { template, execWay } = annotationsOf(pod);
  const partition = partitionOf(cgroupParent, { hasMachined: options.hasMachined, exists: options.cgroupExists });
  return {
    machineId: facts.machineId,
    podId: facts.podId,
    domainName: facts.domainName,
    title: `${namespace}/${name}: ${spec.name}`,
    description: `Kubernetes pod ${namespace}/${name}, container ${spec.name}, image ${spec.userImage}. Made by vmlet: use kubectl to change it.`,
    metadata: {
      namespace,
      pod: name,
      podUid: uid,
      container: spec.name,
      image: spec.userImage,
      imageDigest: facts.imageDigest,
    },
    ...sizeMachine({ resources: spec.resources, overhead, ...(field === undefined ? {} : { field }) }, options),
    ...(partition === undefined ? {} : { partition }),
    disk: { overlayPath: paths.overlayPath, base },
    seedPath: paths.seedPath,
    nic: { tapName: tapNameOf(facts.machineId), mac: attachment.mac, mtu: attachment.mtu },
    consoleFilePath: paths.consoleFilePath,
    consoleSocketPath: paths.consoleSocketPath,
    initReportPath: paths.initReportPath,
    vncSocketPath: paths.vncSocketPath,
    ...(execWay === "agent" ? {} : { sshSocketPath: paths.sshSocketPath }),
    template,
  };
}

/** What the guest is told at its first boot. */
export function planSeed(
  { store }: Pick<Parts, "store">,
  pod: PodRecord,
  { machineId, podId, spec }: Pick<MachineFacts, "machineId" | "podId" | "spec">,
  files: readonly SeedFile[],
): SeedRequest {
  const { userData, sshKeys, execUser, execWay } = annotationsOf(pod);
  const { seedPath, sshKeyFolderPath } = store.pathsOf(podId, machineId);
  return {
    seedPath,
    machineId,
    hostname: pod.facts.spec.hostname,
    attachment: attachmentOf(pod),
    dns: pod.facts.spec.dns,
    sysctls: pod.facts.spec.sysctls,
    userData,
    sshKeys,
    env: spec.env,
    argv: [...spec.command, ...spec.args],
    workingDir: spec.workingDir,
    ...(spec.runAs === undefined ? {} : { runAs: spec.runAs }),
    ...(spec.input === undefined ? {} : { input: spec.input }),
    files,
    ...(execWay === "agent" ? {} : { ssh: { keyFolderPath: sshKeyFolderPath, user: execUser } }),
  };
}

export function annotationsOf({ facts }: PodRecord): Annotations {
  return parseAnnotations(facts.spec.annotations);
}

function attachmentOf({ facts, state }: PodRecord): Attachment {
  if ("attachment" in state && state.attachment) return state.attachment;
  throw new VmletError(
    { code: "WRONG_STATE", subject: "pod", state: state.at },
    `pod sandbox ${facts.podId} is ${state.at}: it has no network for a machine`,
  );
}
