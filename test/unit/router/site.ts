// A router between a client and two runtimes, all in a temp folder.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Client, credentials, type ServiceError } from "@grpc/grpc-js";
import { parseConfig } from "../../../src/config/load.ts";
import type * as cri from "../../../src/gen/runtime.ts";
import { ImageServiceClient, RuntimeServiceClient } from "../../../src/gen/runtime.ts";
import { startRouter } from "../../../src/router/router.ts";
import { CriRuntime, messageType } from "../../fakes/cri-runtime.ts";
import { type KeptLog, keptLog } from "../../fakes/kept-log.ts";

export class Site implements AsyncDisposable {
  readonly containers: CriRuntime;
  readonly machines: CriRuntime;
  readonly log: KeptLog = keptLog();
  readonly folderPath: string;
  readonly #clients: { close(): void }[] = [];
  #router: AsyncDisposable | undefined;

  private constructor(folderPath: string) {
    this.folderPath = folderPath;
    this.containers = new CriRuntime("containerd", join(folderPath, "c.sock"));
    this.machines = new CriRuntime("vmlet", join(folderPath, "m.sock"));
  }

  static async open(): Promise<Site> {
    const site = new Site(await mkdtemp(join(tmpdir(), "vmlet-router-")));
    await Promise.all([site.containers.start(), site.machines.start()]);
    await site.startRouter();
    return site;
  }

  get socketPath(): string {
    return join(this.folderPath, "r.sock");
  }

  async startRouter(): Promise<void> {
    const config = parseConfig("", "", []).router;
    const options = {
      ...config,
      socketPath: this.socketPath,
      containersSocketPath: this.containers.socketPath,
      machinesSocketPath: this.machines.socketPath,
      stateFolderPath: join(this.folderPath, "state"),
      registryPrefixes: ["quay.io/containerdisks/"],
      answerWithinMs: 200,
      metrics: { listen: "off" as const },
      version: "0",
    };
    this.#router = await startRouter(options, this.log);
  }

  async stopRouter(): Promise<void> {
    await this.#router?.[Symbol.asyncDispose]();
    this.#router = undefined;
  }

  client(): Caller {
    const address = `unix:${this.socketPath}`;
    const runtime = new RuntimeServiceClient(address, credentials.createInsecure());
    const images = new ImageServiceClient(address, credentials.createInsecure());
    this.#clients.push(runtime, images);
    return { runtime, images, call: callerOf(runtime, images) };
  }

  /** The bytes that a call of the runtime service brings. */
  async bytesOf(method: string, request: Buffer = Buffer.alloc(0)): Promise<Buffer> {
    const client = new Client(`unix:${this.socketPath}`, credentials.createInsecure());
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const asTheyAre = (bytes: Buffer): Buffer => bytes;
    const path = `/runtime.v1.RuntimeService/${method}`;
    client.makeUnaryRequest(path, asTheyAre, asTheyAre, request, (error, answer = Buffer.alloc(0)) =>
      error ? reject(error) : resolve(answer),
    );
    return await promise.finally(() => client.close());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.close();
    this.machines.hang = undefined;
    await this.stopRouter();
    await Promise.all([this.containers.kill(), this.machines.kill()]);
    await rm(this.folderPath, { recursive: true });
  }
}

export interface Caller {
  readonly runtime: RuntimeServiceClient;
  readonly images: ImageServiceClient;
  /** Any unary method by its name in the proto; rejects with a ServiceError. */
  readonly call: <M extends Method>(method: M, request?: unknown, timeoutMs?: number) => Promise<Response<M>>;
}

type Method = keyof {
  [Name in keyof typeof cri as Name extends `${infer M}Response` ? M : never]: true;
};
type Response<M extends Method> = ReturnType<(typeof cri)[`${M}Response`]["fromPartial"]>;

function callerOf(runtime: RuntimeServiceClient, images: ImageServiceClient): Caller["call"] {
  return async (method, request = {}, timeoutMs = 5_000) => {
    const name = `${method[0]?.toLowerCase()}${method.slice(1)}`;
    const client = (name in runtime ? runtime : images) as unknown as Record<string, Unary>;
    const unary = client[name];
    if (unary === undefined) throw new Error(`no method ${method}`);
    const whole = messageType(`${method}Request`)?.fromPartial(request);
    return (await promisify(unary.bind(client))(whole, { deadline: Date.now() + timeoutMs })) as never;
  };
}

type Unary = (request: unknown, options: unknown, done: (error: ServiceError | null, answer: unknown) => void) => void;
