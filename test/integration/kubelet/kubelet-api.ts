// The kubelet's own HTTPS API, as the API server calls it.

import { request } from "node:https";
import { text } from "node:stream/consumers";
import { z } from "zod";
import { SpdyClient, upgrade } from "../../fakes/spdy-client.ts";
import { type Kubelet, NODE_NAME } from "../../node/kubelet.ts";

const endSchema = z.looseObject({ terminated: z.looseObject({ exitCode: z.number(), reason: z.string() }).optional() });
const containersSchema = z
  .array(
    z.looseObject({
      name: z.string(),
      ready: z.boolean(),
      started: z.boolean().optional(),
      restartCount: z.number(),
      containerID: z.string().optional(),
      image: z.string(),
      imageID: z.string(),
      state: endSchema.optional(),
      lastState: endSchema.optional(),
    }),
  )
  .default([]);

const podSchema = z.looseObject({
  metadata: z.looseObject({ name: z.string(), uid: z.string() }),
  status: z.looseObject({
    phase: z.string().optional(),
    podIP: z.string().optional(),
    conditions: z.array(z.looseObject({ type: z.string(), status: z.string() })).default([]),
    initContainerStatuses: containersSchema,
    containerStatuses: containersSchema,
  }),
});

export type KubeletPod = z.output<typeof podSchema>;

const podListSchema = z.looseObject({ items: z.array(podSchema).nullable() });

export interface Output {
  readonly stdout: string;
  readonly stderr: string;
  /** Kubernetes' `Status` of the command's end. */
  readonly status: unknown;
}

export class KubeletApi {
  readonly #kubelet: Kubelet;

  constructor(kubelet: Kubelet) {
    this.#kubelet = kubelet;
  }

  /** @throws with what the kubelet said when the answer is not 200. */
  async get(path: string): Promise<string> {
    const { url, ca } = this.#kubelet;
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const asked = request(`${url}${path}`, { ca, agent: false }, (response) => {
      text(response).then((body) => {
        if (response.statusCode === 200) resolve(body);
        else reject(new Error(`GET ${path}: ${response.statusCode}: ${body.trim()}`));
      }, reject);
    });
    asked.on("error", reject).end();
    return await promise;
  }

  /** Undefined while there is no such pod. */
  async pod(name: string): Promise<KubeletPod | undefined> {
    const { items } = podListSchema.parse(JSON.parse(await this.get("/pods")));
    return items?.find(({ metadata }) => metadata.name === `${name}-${NODE_NAME}`);
  }

  async logs(pod: string, container: string, query = ""): Promise<string> {
    return await this.get(`/containerLogs/default/${pod}-${NODE_NAME}/${container}${query}`);
  }

  async exec(pod: string, container: string, command: readonly string[], stdin?: string): Promise<Output> {
    const query = new URLSearchParams(command.map((word) => ["command", word]));
    for (const name of ["output", "error", ...(stdin === undefined ? [] : ["input"])]) query.append(name, "1");
    const client = await this.#upgraded(
      `/exec/default/${pod}-${NODE_NAME}/${container}?${query.toString()}`,
      "v4.channel.k8s.io",
    );
    const status = client.open({ streamType: "error" });
    const input = stdin === undefined ? undefined : client.open({ streamType: "stdin" });
    const [stdout, stderr] = [client.open({ streamType: "stdout" }), client.open({ streamType: "stderr" })];
    input?.end(stdin);
    const [said, complained, end] = await Promise.all(
      [stdout, stderr, status].map(async (stream) => await text(stream)),
    );
    client.transport.destroy();
    return { stdout: said ?? "", stderr: complained ?? "", status: JSON.parse(end ?? "") };
  }

  /** What a server on that port of the pod answers to what is sent. */
  async portForward(pod: string, port: number, sent: string): Promise<string> {
    const client = await this.#upgraded(`/portForward/default/${pod}-${NODE_NAME}`, "portforward.k8s.io");
    const headers = { port: String(port), requestID: "0" };
    const error = client.open({ ...headers, streamType: "error" }, { isFin: true });
    const data = client.open({ ...headers, streamType: "data" });
    data.write(sent);
    const answer = await text(data);
    const problem = await text(error);
    client.transport.destroy();
    if (problem !== "") throw new Error(problem);
    return answer;
  }

  async #upgraded(path: string, protocol: string): Promise<SpdyClient> {
    const { url, ca } = this.#kubelet;
    return new SpdyClient(await upgrade(`${url}${path}`, { "X-Stream-Protocol-Version": protocol }, { ca }));
  }
}
