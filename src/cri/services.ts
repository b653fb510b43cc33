// The table of RPCs: which function answers which, and which are not there yet.

import type { handleServerStreamingCall, handleUnaryCall } from "@grpc/grpc-js";
import type { Engine } from "../engine/engine.ts";
import type { ImageServiceServer, RuntimeServiceServer } from "../gen/runtime.ts";
import { VmletError } from "../model/failure.ts";
import type { Logger } from "../ports/logger.ts";
import { attach } from "./attach.ts";
import { containerEvents } from "./container-events.ts";
import { containerStats } from "./container-stats.ts";
import { containerStatus } from "./container-status.ts";
import { createContainer } from "./create-container.ts";
import { exec } from "./exec.ts";
import { execSync } from "./exec-sync.ts";
import { type RpcObserver, type Streamed, streamed, type Unary, unary } from "./handler.ts";
import { imageFsInfo } from "./image-fs-info.ts";
import { imageStatus } from "./image-status.ts";
import { listContainerStats, streamContainerStats } from "./list-container-stats.ts";
import { listContainers, streamContainers } from "./list-containers.ts";
import { listImages, streamImages } from "./list-images.ts";
import { listMetricDescriptors } from "./list-metric-descriptors.ts";
import { listPodSandbox, streamPodSandboxes } from "./list-pod-sandbox.ts";
import { listPodSandboxMetrics, streamPodSandboxMetrics } from "./list-pod-sandbox-metrics.ts";
import { listPodSandboxStats, streamPodSandboxStats } from "./list-pod-sandbox-stats.ts";
import { podSandboxStats } from "./pod-sandbox-stats.ts";
import { podSandboxStatus } from "./pod-sandbox-status.ts";
import { portForward } from "./port-forward.ts";
import { pullImage } from "./pull-image.ts";
import { removeContainer } from "./remove-container.ts";
import { removeImage } from "./remove-image.ts";
import { removePodSandbox } from "./remove-pod-sandbox.ts";
import { reopenContainerLog } from "./reopen-container-log.ts";
import { runPodSandbox } from "./run-pod-sandbox.ts";
import { runtimeConfig, updateRuntimeConfig } from "./runtime-config.ts";
import { status } from "./runtime-status.ts";
import { startContainer } from "./start-container.ts";
import { stopContainer } from "./stop-container.ts";
import { stopPodSandbox } from "./stop-pod-sandbox.ts";
import { updateContainerResources } from "./update-container-resources.ts";
import { updatePodSandboxResources } from "./update-pod-sandbox-resources.ts";
import { version } from "./version.ts";

/** The kubelet gives up after 2 minutes, 4 for RunPodSandbox: we end before it, so that it hears why. */
const LIMIT_MS = 115_000;
const RUN_POD_LIMIT = { limitMs: 230_000 };
/** A pull takes what it takes, and StopContainer's caller says how long. */
const NO_LIMIT = {};

export interface ServiceOptions {
  readonly cgroupDriver: "systemd" | "cgroupfs";
  /** Shown by `crictl info`; without secrets. */
  readonly effectiveConfig: unknown;
  /** Handlers of the RuntimeClasses whose pods are ours. */
  readonly handlers: readonly string[];
  readonly log: Logger;
  readonly observer?: RpcObserver;
}

/** @param options `closing` ends the streams that have no end. */
export function runtimeService(
  engine: Engine,
  options: ServiceOptions & { readonly closing: AbortSignal },
): RuntimeServiceServer {
  const { read, slowRead, write, slowWrite, pieces, notYet } = wrappers(options);
  return {
    version: read("Version", version()),
    status: read("Status", status(engine, options)),
    runtimeConfig: read("RuntimeConfig", runtimeConfig(options.cgroupDriver)),
    updateRuntimeConfig: write("UpdateRuntimeConfig", updateRuntimeConfig(options.log)),

    runPodSandbox: slowWrite("RunPodSandbox", runPodSandbox(engine, options.handlers), RUN_POD_LIMIT),
    stopPodSandbox: write("StopPodSandbox", stopPodSandbox(engine)),
    removePodSandbox: write("RemovePodSandbox", removePodSandbox(engine)),
    podSandboxStatus: read("PodSandboxStatus", podSandboxStatus(engine)),
    listPodSandbox: read("ListPodSandbox", listPodSandbox(engine)),
    streamPodSandboxes: pieces("StreamPodSandboxes", streamPodSandboxes(engine)),

    createContainer: write("CreateContainer", createContainer(engine)),
    startContainer: write("StartContainer", startContainer(engine)),
    stopContainer: slowWrite("StopContainer", stopContainer(engine), NO_LIMIT),
    removeContainer: write("RemoveContainer", removeContainer(engine)),
    containerStatus: read("ContainerStatus", containerStatus(engine)),
    listContainers: read("ListContainers", listContainers(engine)),
    streamContainers: pieces("StreamContainers", streamContainers(engine)),
    reopenContainerLog: write("ReopenContainerLog", reopenContainerLog(engine)),

    containerStats: read("ContainerStats", containerStats(engine)),
    listContainerStats: read("ListContainerStats", listContainerStats(engine)),
    streamContainerStats: pieces("StreamContainerStats", streamContainerStats(engine)),
    podSandboxStats: read("PodSandboxStats", podSandboxStats(engine)),
    listPodSandboxStats: read("ListPodSandboxStats", listPodSandboxStats(engine)),
    streamPodSandboxStats: pieces("StreamPodSandboxStats", streamPodSandboxStats(engine)),
    listMetricDescriptors: read("ListMetricDescriptors", listMetricDescriptors()),
    listPodSandboxMetrics: read("ListPodSandboxMetrics", listPodSandboxMetrics(engine)),
    streamPodSandboxMetrics: pieces("StreamPodSandboxMetrics", streamPodSandboxMetrics(engine)),

    exec: write("Exec", exec(engine)),
    attach: write("Attach", attach(engine)),
    portForward: write("PortForward", portForward(engine)),

    getContainerEvents: pieces("GetContainerEvents", containerEvents(engine, options.closing)),

    updateContainerResources: write("UpdateContainerResources", updateContainerResources(engine)),
    updatePodSandboxResources: write("UpdatePodSandboxResources", updatePodSandboxResources(engine)),
    execSync: slowRead("ExecSync", execSync(engine)),
    checkpointContainer: notYet("CheckpointContainer"),
    checkpointPod: notYet("CheckpointPod"),
    restorePod: notYet("RestorePod"),
  };
}

export function imageService(engine: Engine, options: ServiceOptions): ImageServiceServer {
  const { read, write, slowWrite, pieces } = wrappers(options);
  return {
    listImages: read("ListImages", listImages(engine)),
    streamImages: pieces("StreamImages", streamImages(engine)),
    imageStatus: read("ImageStatus", imageStatus(engine)),
    pullImage: slowWrite("PullImage", pullImage(engine), NO_LIMIT),
    removeImage: write("RemoveImage", removeImage(engine)),
    imageFsInfo: read("ImageFsInfo", imageFsInfo(engine)),
  };
}

function wrappers({ log, observer }: ServiceOptions) {
  const seen = { log, observer };
  const refuse = (rpc: string) => (): never => {
    throw new VmletError({ code: "NOT_IMPLEMENTED", rpc }, `${rpc} is not implemented by this version of vmlet`);
  };
  return {
    read: <Req, Res>(rpc: string, answer: Unary<Req, Res>): handleUnaryCall<Req, Res> =>
      unary(answer, { rpc, isRead: true, ...seen, limitMs: LIMIT_MS }),
    /** Asked by probes every few seconds; its caller says how long it may take. */
    slowRead: <Req, Res>(rpc: string, answer: Unary<Req, Res>) => unary(answer, { rpc, isRead: true, ...seen }),
    write: <Req, Res>(rpc: string, answer: Unary<Req, Res>): handleUnaryCall<Req, Res> =>
      unary(answer, { rpc, isRead: false, ...seen, limitMs: LIMIT_MS }),
    slowWrite: <Req, Res>(rpc: string, answer: Unary<Req, Res>, limit: { limitMs?: number }) =>
      unary(answer, { rpc, isRead: false, ...seen, ...limit }),
    pieces: <Req, Res>(rpc: string, answer: Streamed<Req, Res>): handleServerStreamingCall<Req, Res> =>
      streamed(answer, { rpc, isRead: true, ...seen }),
    notYet: <Req, Res>(rpc: string): handleUnaryCall<Req, Res> => unary(refuse(rpc), { rpc, isRead: true, ...seen }),
  };
}
