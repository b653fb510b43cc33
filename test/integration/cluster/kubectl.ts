// kubectl in a room, and what the tests ask by it. What fails says what the cluster and the kubelet said meanwhile.

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { z } from "zod";
import { poll } from "../../node/poll.ts";
import type { Room } from "./room.ts";

const podSchema = z.object({
  metadata: z.object({ name: z.string() }),
  status: z.object({
    podIP: z.string().optional(),
    containerStatuses: z
      .array(
        z.object({
          containerID: z.string().optional(),
          restartCount: z.number(),
          resources: z.object({ requests: z.record(z.string(), z.string()).optional() }).optional(),
        }),
      )
      .default([]),
  }),
});

export type Pod = z.output<typeof podSchema>;

const podListSchema = z.object({ items: z.array(podSchema) });

const summarySchema = z.object({
  pods: z.array(
    z.object({
      podRef: z.object({ name: z.string() }),
      memory: z.object({ workingSetBytes: z.number().optional() }).optional(),
    }),
  ),
});

export class Kubectl {
  readonly kubeconfigPath: string;
  readonly #room: Room;
  readonly #programPath: string;
  readonly #signal: AbortSignal;

  constructor(room: Room, programPath: string, kubeconfigPath: string, signal: AbortSignal) {
    this.#room = room;
    this.#programPath = programPath;
    this.kubeconfigPath = kubeconfigPath;
    this.#signal = signal;
  }

  argv(...args: string[]): [string, ...string[]] {
    return [this.#programPath, "--kubeconfig", this.kubeconfigPath, ...args];
  }

  /** What it printed. */
  async run(...args: string[]): Promise<string> {
    return await this.#room.output(this.argv(...args), this.#signal);
  }

  async apply(...objects: unknown[]): Promise<void> {
    const path = join(this.#room.folderPath, "objects.yaml");
    await writeFile(path, objects.map((object) => stringify(object)).join("---\n"));
    await this.run("apply", "-f", path);
  }

  async rolledOut(what: string, ...args: string[]): Promise<void> {
    await this.explained(async () => await this.run("rollout", "status", what, "--timeout=5m", ...args));
  }

  /** Those with the label `app`. */
  async podsOf(app: string): Promise<Pod[]> {
    return podListSchema.parse(JSON.parse(await this.run("get", "pods", "-l", `app=${app}`, "-o", "json"))).items;
  }

  /** Of a pod, as the node's kubelet tells it; 0 while it tells nothing. */
  async workingSetBytes(node: string, pod: string): Promise<number> {
    const text = await this.run("get", "--raw", `/api/v1/nodes/${node}/proxy/stats/summary`);
    const found = summarySchema.parse(JSON.parse(text)).pods.find(({ podRef }) => podRef.name === pod);
    return found?.memory?.workingSetBytes ?? 0;
  }

  /** Until it is true, or a text that is not empty. */
  async until(what: string, isSo: () => Promise<boolean | string>): Promise<void> {
    const ask = async (): Promise<true | undefined> => Boolean(await isSo()) || undefined;
    await this.explained(async () => await poll(ask, { what, limitMs: 120_000, everyMs: 500 }, this.#signal));
  }

  async explained<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      const pods = await this.run("get", "pods", "-A", "-o", "wide").catch(String);
      const events = await this.run("get", "events", "-A").catch(String);
      throw new Error([error, pods, events, await this.#room.logOf("kubelet")].join("\n"), { cause: error });
    }
  }
}
