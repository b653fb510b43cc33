// The daemon as a command sees it: promises and streams over its socket. What fails is a CliFailure.

import { createConnection } from "node:net";
import {
  type CallOptions,
  type ClientReadableStream,
  type ClientUnaryCall,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { RuntimeServiceClient, type VersionResponse } from "../gen/runtime.ts";
import {
  type Image,
  type Machine,
  type PullProgress,
  type PullRequest,
  type PullResponse,
  VmletClient,
} from "../gen/vmlet.ts";
import { errorCodeOf } from "../lib/error-code.ts";
import { printable } from "../lib/printable.ts";
import { CliFailure } from "./failure.ts";

export interface DaemonClient extends Disposable {
  readonly socketPath: string;
  listImages(signal: AbortSignal): Promise<readonly Image[]>;
  listPulls(signal: AbortSignal): Promise<readonly PullProgress[]>;
  listMachines(signal: AbortSignal): Promise<readonly Machine[]>;
  version(signal: AbortSignal): Promise<VersionResponse>;
  /** Abort ends the waiting; the iteration then rejects with the signal's reason. */
  pull(request: PullRequest, signal: AbortSignal): AsyncIterable<PullResponse>;
}

/** The daemon answers such calls out of its memory: longer than this it hangs. */
const ANSWER_LIMIT_MS = 30_000;

/** @throws CliFailure when nobody answers there. */
export async function connectDaemon(socketPath: string, signal: AbortSignal): Promise<DaemonClient> {
  await knock(socketPath, signal);
  const options = { "grpc.max_receive_message_length": 64 << 20 };
  const vmlet = new VmletClient(`unix://${socketPath}`, credentials.createInsecure(), options);
  const runtime = new RuntimeServiceClient(`unix://${socketPath}`, credentials.createInsecure(), options);
  return {
    socketPath,
    listImages: async (own) => (await unary(vmlet.listImages.bind(vmlet), {}, own)).images,
    listPulls: async (own) => (await unary(vmlet.listPulls.bind(vmlet), {}, own)).pulls,
    listMachines: async (own) => (await unary(vmlet.listMachines.bind(vmlet), {}, own)).machines,
    version: async (own) => await unary(runtime.version.bind(runtime), { version: "v1" }, own),
    pull: (request, own) => streamed(vmlet.pull(request), own),
    [Symbol.dispose]: () => {
      vmlet.close();
      runtime.close();
    },
  };
}

/** gRPC would try for a long time, and then not say which errno it was. */
async function knock(socketPath: string, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = createConnection({ path: socketPath, signal }).once("connect", resolve).once("error", reject);
  try {
    await promise;
  } catch (error) {
    signal.throwIfAborted();
    throw new CliFailure(`no daemon on ${printable(socketPath)}: ${remedyOf(errorCodeOf(error))}`);
  } finally {
    socket.destroy();
  }
}

function remedyOf(code: string | undefined): string {
  switch (code) {
    case "ENOENT":
      return "there is no such socket; is `vmlet serve` running? --socket names another";
    case "ECONNREFUSED":
      return "the socket is there and nobody serves it; is `vmlet serve` running?";
    case "EACCES":
      return "permission denied; it is root's alone";
    default:
      return code ?? "it cannot be reached";
  }
}

type Unary<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: Response) => void,
) => ClientUnaryCall;

async function unary<Request, Response>(
  method: Unary<Request, Response>,
  request: Request,
  signal: AbortSignal,
): Promise<Response> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<Response>();
  const options = { deadline: Date.now() + ANSWER_LIMIT_MS };
  const call = method(request, new Metadata(), options, (error, response) => {
    if (error === null) resolve(response);
    else reject(signal.aborted ? signal.reason : failureOf(error));
  });
  using _cancelling = cancelWith(call, signal);
  return await promise;
}

async function* streamed<Response>(
  call: ClientReadableStream<Response>,
  signal: AbortSignal,
): AsyncGenerator<Response, void, undefined> {
  using _cancelling = cancelWith(call, signal);
  try {
    signal.throwIfAborted();
    for await (const piece of call) yield piece as Response;
  } catch (error) {
    signal.throwIfAborted();
    throw failureOf(error);
  } finally {
    call.on("error", () => {}); // cancelling is an error of the stream, and nobody listens any more
    call.cancel();
  }
}

function cancelWith(call: { cancel(): void }, signal: AbortSignal): Disposable {
  const cancel = (): void => call.cancel();
  signal.addEventListener("abort", cancel, { once: true });
  return { [Symbol.dispose]: () => signal.removeEventListener("abort", cancel) };
}

function failureOf(error: unknown): unknown {
  if (!(error instanceof Error) || !("details" in error) || !("code" in error)) return error;
  const { code, details } = error as ServiceError;
  if (code === status.UNIMPLEMENTED)
    return new CliFailure("the daemon does not know this call; compare the versions: vmlet version", "UNIMPLEMENTED");
  return new CliFailure(`${printable(details)} (${status[code]})`, status[code]);
}
