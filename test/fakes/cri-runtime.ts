// A CRI runtime on a unix socket, over a table in memory: what a router has behind it. It can hang, fail, and go.

import { rm } from "node:fs/promises";
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerWritableStream,
  type ServiceDefinition,
  type ServiceError,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import * as cri from "../../src/gen/runtime.ts";
import {
  Container,
  type ContainerEventResponse,
  ContainerState,
  type CreateContainerRequest,
  Image,
  ImageServiceService,
  ListContainersRequest,
  ListImagesRequest,
  ListPodSandboxRequest,
  PodSandbox,
  PodSandboxState,
  type RunPodSandboxRequest,
  RuntimeServiceService,
} from "../../src/gen/runtime.ts";
import { filterOf } from "../../src/router/filter.ts";

type Request = Readonly<Record<string, unknown>>;
interface Asked {
  readonly request: Request;
  readonly metadata: Metadata;
}

type Answer = (request: never) => unknown;

/** The service, whose answers may also be bytes. */
const withBytes = (service: ServiceDefinition): ServiceDefinition =>
  Object.fromEntries(
    Object.entries(service).map(([name, method]) => {
      const responseSerialize = (value: unknown): Buffer =>
        value instanceof Uint8Array ? Buffer.from(value) : method.responseSerialize(value);
      return [name, { ...method, responseSerialize }];
    }),
  );

export class CriRuntime {
  readonly name: string;
  readonly socketPath: string;
  readonly pods = new Map<string, PodSandbox>();
  readonly containers = new Map<string, Container>();
  readonly images = new Map<string, Image>();
  /** Names of those that its Status offers. */
  runtimeHandlers: readonly string[];
  /** Methods that were called, in their order, with what they were asked. */
  readonly calls: { readonly method: string; readonly request: Request; readonly metadata: Metadata }[] = [];
  /** Every call waits for it. */
  hang: Promise<void> | undefined;
  /** What these methods answer instead; bytes go out as they are. */
  readonly answers = new Map<string, Answer>();
  readonly #listeners = new Set<ServerWritableStream<unknown, unknown>>();
  #server: Server | undefined;
  #made = 0;

  constructor(name: string, socketPath: string) {
    this.name = name;
    this.socketPath = socketPath;
    this.runtimeHandlers = ["", name];
  }

  async start(): Promise<void> {
    const server = new Server();
    for (const service of [RuntimeServiceService, ImageServiceService])
      server.addService(withBytes(service), this.#implementation(service));
    server.addService(FUTURE_SERVICE, this.#implementation(FUTURE_SERVICE));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    await rm(this.socketPath, { force: true });
    server.bindAsync(`unix:${this.socketPath}`, ServerCredentials.createInsecure(), (error) =>
      error ? reject(error) : resolve(),
    );
    await promise;
    this.#server = server;
  }

  /** As a process that is killed: no call is answered any more. What it ran goes on. */
  async kill(): Promise<void> {
    this.#server?.forceShutdown();
    this.#server = undefined;
    this.#listeners.clear();
    await rm(this.socketPath, { force: true });
  }

  emit(event: ContainerEventResponse): void {
    for (const listener of this.#listeners) listener.write(event);
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  called(method: string): Request[] {
    return this.calls.filter((call) => call.method === method).map(({ request }) => request);
  }

  #implementation(definition: Readonly<Record<string, { readonly path: string; readonly responseStream: boolean }>>) {
    return Object.fromEntries(
      Object.entries(definition).map(([name, { path, responseStream }]) => {
        const method = path.slice(path.lastIndexOf("/") + 1);
        return [name, responseStream ? this.#streamed(method) : this.#unary(method)];
      }),
    );
  }

  #unary(method: string) {
    const answer = async (call: Asked, callback: sendUnaryData<unknown>): Promise<void> => {
      try {
        callback(null, await this.#answer(method, call));
      } catch (error) {
        callback(asServiceError(error));
      }
    };
    return (call: Asked, callback: sendUnaryData<unknown>): void => void answer(call, callback);
  }

  #streamed(method: string) {
    const answer = async (call: ServerWritableStream<Request, unknown>): Promise<void> => {
      try {
        for (const message of (await this.#answer(method, call)) as unknown[]) call.write(message);
        call.end();
      } catch (error) {
        call.emit("error", asServiceError(error));
      }
    };
    return (call: ServerWritableStream<Request, unknown>): void => {
      if (method !== "GetContainerEvents") return void answer(call);
      this.#listeners.add(call);
      call.on("cancelled", () => {
        this.#listeners.delete(call);
        call.end();
      });
    };
  }

  async #answer(method: string, { request, metadata }: Asked): Promise<unknown> {
    this.calls.push({ method, request, metadata });
    await this.hang;
    const answer = this.answers.get(method) ?? this.#usual()[method];
    if (answer === undefined) throw failure(status.UNIMPLEMENTED, `${this.name} has no ${method}`);
    const given = await answer(request as never);
    if (given instanceof Uint8Array) return given;
    const whole = (message: unknown): unknown => messageType(`${method}Response`)?.fromPartial(message) ?? message;
    return Array.isArray(given) ? given.map(whole) : whole(given);
  }

  #usual(): Readonly<Record<string, Answer>> {
    const listPods = (request: ListPodSandboxRequest): PodSandbox[] => {
      const wanted = filterOf("PodSandbox", ListPodSandboxRequest.encode(request).finish());
      return [...this.pods.values()].filter((pod) => wanted(PodSandbox.encode(pod).finish()));
    };
    return {
      Version: () => ({ version: "0.1.0", runtimeName: this.name, runtimeVersion: "1", runtimeApiVersion: "v1" }),
      Status: () => ({
        status: { conditions: [condition("RuntimeReady"), condition("NetworkReady")] },
        info: { config: JSON.stringify(this.name) },
        runtimeHandlers: this.runtimeHandlers.map((name) => ({ name, features: undefined })),
        features: undefined,
      }),
      RunPodSandbox: (request: RunPodSandboxRequest) => {
        const id = this.#newId();
        const { metadata, labels = {}, annotations = {} } = request.config ?? {};
        const state = PodSandboxState.SANDBOX_READY;
        const { runtimeHandler } = request;
        this.pods.set(id, { id, metadata, state, createdAt: 1n, labels, annotations, runtimeHandler });
        return { podSandboxId: id };
      },
      StopPodSandbox: ({ podSandboxId }: { podSandboxId: string }) => {
        this.#have(this.pods, podSandboxId).state = PodSandboxState.SANDBOX_NOTREADY;
        return {};
      },
      RemovePodSandbox: ({ podSandboxId }: { podSandboxId: string }) => {
        this.pods.delete(podSandboxId);
        for (const [id, one] of this.containers) if (one.podSandboxId === podSandboxId) this.containers.delete(id);
        return {};
      },
      PodSandboxStatus: ({ podSandboxId }: { podSandboxId: string }) => {
        const { id, metadata, state } = this.#have(this.pods, podSandboxId);
        return {
          status: { id, metadata, state, labels: {}, annotations: {} },
          info: {},
          containersStatuses: [],
          timestamp: 0n,
        };
      },
      ListPodSandbox: (request: ListPodSandboxRequest) => ({ items: listPods(request) }),
      StreamPodSandboxes: (request: ListPodSandboxRequest) => listPods(request).map((pod) => ({ podSandboxes: [pod] })),
      CreateContainer: ({ podSandboxId, config }: CreateContainerRequest) => {
        this.#have(this.pods, podSandboxId);
        const id = this.#newId();
        const image = config?.image;
        if (image !== undefined && !this.images.has(image.image))
          throw failure(status.NOT_FOUND, `no image ${image.image}`);
        this.containers.set(
          id,
          Container.fromPartial({ id, podSandboxId, metadata: config?.metadata, image, labels: config?.labels ?? {} }),
        );
        return { containerId: id };
      },
      StartContainer: ({ containerId }: { containerId: string }) => {
        this.#have(this.containers, containerId).state = ContainerState.CONTAINER_RUNNING;
        return {};
      },
      StopContainer: ({ containerId }: { containerId: string }) => {
        this.#have(this.containers, containerId).state = ContainerState.CONTAINER_EXITED;
        return {};
      },
      RemoveContainer: ({ containerId }: { containerId: string }) => {
        this.containers.delete(containerId);
        return {};
      },
      ListContainers: (request: ListContainersRequest) => {
        const wanted = filterOf("Container", ListContainersRequest.encode(request).finish());
        return { containers: [...this.containers.values()].filter((one) => wanted(Container.encode(one).finish())) };
      },
      Exec: () => ({ url: `http://127.0.0.1:1/${this.name}` }),
      ListContainerStats: () => ({
        stats: [...this.containers.keys()].map((id) => ({
          attributes: { id, metadata: undefined, labels: {}, annotations: {} },
        })),
      }),
      UpdateRuntimeConfig: () => ({}),
      ListImages: (request: ListImagesRequest) => {
        const wanted = filterOf("Image", ListImagesRequest.encode(request).finish());
        return { images: [...this.images.values()].filter((one) => wanted(Image.encode(one).finish())) };
      },
      PullImage: ({ image }: { image: { image: string } }) => {
        this.images.set(image.image, Image.fromPartial({ id: `sha256:${this.name}`, repoTags: [image.image] }));
        return { imageRef: `sha256:${this.name}` };
      },
      ImageStatus: ({ image }: { image: { image: string } }) => ({ image: this.images.get(image.image), info: {} }),
      RemoveImage: () => ({}),
      ImageFsInfo: () => ({ imageFilesystems: [filesystem(this.name)], containerFilesystems: [filesystem(this.name)] }),
      Tell: ({ text }: { text: string }) => ({ text: `${this.name}: ${text}` }),
    };
  }

  #newId(): string {
    this.#made += 1;
    return `${this.name}${this.#made}`.padEnd(64, "0");
  }

  #have<T>(table: ReadonlyMap<string, T>, id: string): T {
    const found = table.get(id);
    if (found === undefined) throw failure(status.NOT_FOUND, `${this.name} has no ${id}`);
    return found;
  }
}

/** The generated type of that name. */
export function messageType(name: string): { fromPartial(given: unknown): unknown } | undefined {
  return (cri as unknown as Record<string, { fromPartial(given: unknown): unknown }>)[name];
}

/** A service that no router of today has heard of. */
export const FUTURE_SERVICE = {
  tell: {
    path: "/runtime.v2.FutureService/Tell",
    requestStream: false,
    responseStream: false,
    requestSerialize: (value: unknown) => Buffer.from(JSON.stringify(value)),
    requestDeserialize: (bytes: Buffer): unknown => JSON.parse(bytes.toString()),
    responseSerialize: (value: unknown) => Buffer.from(JSON.stringify(value)),
    responseDeserialize: (bytes: Buffer): unknown => JSON.parse(bytes.toString()),
  },
} as const;

const condition = (type: string) => ({ type, status: true, reason: "", message: "" });

const filesystem = (mountpoint: string) => ({
  timestamp: 0n,
  fsId: { mountpoint },
  usedBytes: { value: 1n },
  inodesUsed: { value: 1n },
});

function asServiceError(error: unknown): Partial<ServiceError> {
  const { code, message } = error as Partial<ServiceError> & Error;
  return { code: code ?? status.INTERNAL, details: message };
}

function failure(code: status, details: string): ServiceError {
  return Object.assign(new Error(details), { code, details, metadata: new Metadata() });
}
