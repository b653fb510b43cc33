// The gRPC server on the unix socket that the kubelet connects to.

import { rm } from "node:fs/promises";
import { Server, ServerCredentials, type ServiceDefinition, type UntypedServiceImplementation } from "@grpc/grpc-js";
import type { Engine } from "../engine/engine.ts";
import { ImageServiceService, RuntimeServiceService } from "../gen/runtime.ts";
import { listenAlone, SocketPathTaken } from "../lib/socket-path.ts";
import { VmletError } from "../model/failure.ts";
import { encodedOnce } from "./kept-answers.ts";
import { imageService, runtimeService, type ServiceOptions } from "./services.ts";

/** The kubelet's client takes 16 MiB. */
const MAX_MESSAGE_BYTES = 16 << 20;
const SOCKET_FIELD = "socketPath";
/** Calls that are under way when we stop get this long. */
const DRAIN_LIMIT_MS = 2_000;

const RUNTIME_SERVICE = {
  ...RuntimeServiceService,
  listPodSandbox: encodedOnce(RuntimeServiceService.listPodSandbox),
  listContainers: encodedOnce(RuntimeServiceService.listContainers),
};

export interface ServeOptions extends ServiceOptions {
  readonly socketPath: string;
}

/** What else is served on the socket. */
export interface MoreService {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
}

/** Serves until disposed. The socket is root's alone (0600): whoever can speak CRI owns the node. */
export async function serveCri(
  options: ServeOptions,
  engine: Engine,
  more: readonly MoreService[] = [],
): Promise<AsyncDisposable> {
  const { socketPath } = options;
  const server = new Server({
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    "grpc.enable_channelz": 0, // nobody can ask for it here, and it counts at each call
  });
  const closing = new AbortController();
  server.addService(RUNTIME_SERVICE, runtimeService(engine, { ...options, closing: closing.signal }));
  server.addService(ImageServiceService, imageService(engine, options));
  for (const { definition, implementation } of more) server.addService(definition, implementation);
  try {
    await listenAlone({ socketPath, field: SOCKET_FIELD }, async () => await bind(server, socketPath));
  } catch (error) {
    if (!(error instanceof SocketPathTaken)) throw error;
    throw new VmletError({ code: "CONFIG_INVALID", path: socketPath, field: SOCKET_FIELD }, error.message);
  }
  return {
    async [Symbol.asyncDispose]() {
      closing.abort();
      await drain(server);
      await rm(socketPath, { force: true });
    },
  };
}

async function bind(server: Server, socketPath: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.bindAsync(`unix:${socketPath}`, ServerCredentials.createInsecure(), (error) =>
    error ? reject(error) : resolve(),
  );
  await promise;
}

/** Calls under way get their time; a client that keeps its connection open and says nothing does not get more. */
async function drain(server: Server): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const force = setTimeout(() => {
    server.forceShutdown();
    resolve(); // grpc-js may then never call back
  }, DRAIN_LIMIT_MS);
  server.tryShutdown(() => resolve());
  await promise;
  clearTimeout(force);
}
