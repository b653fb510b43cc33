// One pod as a kubelet keeps it: it looks at what is listed and does the next thing, whatever became of its last call.

import { randomUUID } from "node:crypto";
import { setTimeout as after } from "node:timers/promises";
import {
  type Container,
  ContainerState,
  type PodSandbox,
  PodSandboxConfig,
  PodSandboxState,
} from "../../../src/gen/runtime.ts";
import type { SeededRandom } from "../../fakes/seeded-random.ts";
import type { TestNode } from "../../node/test-node.ts";
import { qemuPid } from "./qemu-process.ts";
import { containerConfigOf, podConfigOf } from "./vm-pod.ts";

/** A VM that was started, and its QEMU. */
interface Running {
  readonly containerId: string;
  readonly pid: number;
  /** False from the moment on at which somebody sets out to end it. */
  isWanted: boolean;
}

export class SoakedPod {
  readonly name: string;
  starts = 0;
  running: Running | undefined;
  readonly #node: TestNode;
  readonly #image: string;
  readonly #config: PodSandboxConfig;

  constructor(node: TestNode, { name, image }: { readonly name: string; readonly image: string }) {
    this.#node = node;
    this.#image = image;
    this.name = name;
    this.#config = podConfigOf(node, `${name}-${randomUUID().slice(0, 4)}`);
  }

  /** @param random What is done with a container that runs. */
  async step(random: SeededRandom, signal: AbortSignal): Promise<void> {
    const sandboxes = await this.#sandboxes(signal);
    const ready = sandboxes.find(({ state }) => state === PodSandboxState.SANDBOX_READY);
    for (const old of sandboxes.filter((it) => it !== ready)) await this.#remove(old.id, signal);
    if (ready === undefined) return await this.#run(nextAttempt(sandboxes), signal);
    const containers = await this.#containers(ready.id, signal);
    const running = containers.find(({ state }) => state === ContainerState.CONTAINER_RUNNING);
    if (running === undefined) return await this.#start(ready.id, nextAttempt(containers), signal);
    if (this.running?.containerId !== running.id) await this.#adopt(running.id);
    if (random.oneIn(2)) return await after(200 + random.below(800), undefined, { signal });
    this.#unwanted();
    if (random.oneIn(2)) await this.#node.cri.runtime.stopContainer({ containerId: running.id, timeout: 0n }, signal);
    else await this.#remove(ready.id, signal);
    this.running = undefined;
  }

  async killQemu(): Promise<void> {
    const { running } = this;
    if (!running?.isWanted) return;
    this.#unwanted();
    process.kill(running.pid, "SIGKILL");
  }

  #unwanted(): void {
    if (this.running) this.running.isWanted = false;
  }

  async #run(attempt: number, signal: AbortSignal): Promise<void> {
    const metadata = { name: "", namespace: "", uid: "", ...this.#config.metadata, attempt };
    const config = { ...this.#config, metadata };
    await this.#node.cri.runtime.runPodSandbox({ config, runtimeHandler: "vmlet" }, signal);
  }

  async #start(podSandboxId: string, attempt: number, signal: AbortSignal): Promise<void> {
    const { runtime } = this.#node.cri;
    const over = { metadata: { name: "vm", attempt }, logPath: `vm/${attempt}.log` };
    const request = { podSandboxId, config: containerConfigOf(this.#image, over), sandboxConfig: this.#config };
    const { containerId } = await runtime.createContainer(request, signal);
    await runtime.startContainer({ containerId }, signal);
    this.starts += 1;
    await this.#adopt(containerId);
  }

  async #adopt(containerId: string): Promise<void> {
    this.running = undefined;
    this.running = { containerId, pid: await qemuPid(containerId), isWanted: true };
  }

  async #remove(podSandboxId: string, signal: AbortSignal): Promise<void> {
    await this.#node.cri.runtime.stopPodSandbox({ podSandboxId }, signal);
    await this.#node.cri.runtime.removePodSandbox({ podSandboxId }, signal);
  }

  async #sandboxes(signal: AbortSignal): Promise<PodSandbox[]> {
    const filter = {
      id: "",
      state: undefined,
      labelSelector: { "io.kubernetes.pod.uid": this.#config.metadata?.uid ?? "" },
    };
    return (await this.#node.cri.runtime.listPodSandbox({ filter }, signal)).items;
  }

  async #containers(podSandboxId: string, signal: AbortSignal): Promise<Container[]> {
    const filter = { id: "", state: undefined, podSandboxId, labelSelector: {} };
    return (await this.#node.cri.runtime.listContainers({ filter }, signal)).containers;
  }
}

function nextAttempt(of: readonly (PodSandbox | Container)[]): number {
  return Math.max(-1, ...of.map(({ metadata }) => metadata?.attempt ?? 0)) + 1;
}
