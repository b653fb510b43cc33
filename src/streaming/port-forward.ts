// Joins one connection of a client with one TCP connection to the pod, each half by itself.

import { pipeline } from "node:stream/promises";
import { errorCodeOf } from "../lib/error-code.ts";
import { connectPod, type PodConnection } from "./pod-connection.ts";
import type { ForwardPair } from "./session.ts";

export interface ForwardTarget {
  /** For messages. */
  readonly podId: string;
  /** Tried one after the other. */
  readonly addresses: readonly string[];
}

/**
 * When the pod has said all it had to say, the client may go on for this long between two pieces. kubectl then sends
 * nothing more, and its older versions wait for us to end the pair.
 */
const HALF_CLOSED_IDLE_MS = 1_000;

/** Resolves when both are closed. Never rejects: the client is told what went wrong. */
export async function forward(pair: ForwardPair, target: ForwardTarget, signal: AbortSignal): Promise<void> {
  const left = new AbortController();
  pair.data.once("close", () => left.abort());
  let pod: PodConnection;
  try {
    pod = await connectToAny(pair, target.addresses, AbortSignal.any([signal, left.signal]));
  } catch (error) {
    if (left.signal.aborted) return pair.end(); // the client has reset it, and its next one must not find us waiting
    return pair.end(`cannot connect to port ${pair.port} of pod ${target.podId}: ${reasonOf(error)}`);
  }
  const drop = (): void => void pod.socket.destroy();
  signal.addEventListener("abort", drop, { once: true });
  try {
    await join(pair, pod);
  } catch {
    // Reset by either side. The other one sees its connection end, and that is all: kubectl gives up all forwarding
    // at the first message, so a message is for what never worked.
  } finally {
    signal.removeEventListener("abort", drop);
    pod.socket.destroy();
    pair.end();
  }
}

/** Each direction ends by itself: who has said all may still listen. */
async function join({ data }: ForwardPair, { socket, toClient }: PodConnection): Promise<void> {
  const toPod = pipeline(data, socket);
  const first = await Promise.race([toPod.then(() => "toPod" as const), toClient.then(() => "toClient" as const)]);
  if (first === "toPod") return await toClient;
  // From here on the socket carries one direction only, and its own timer tells when that is idle.
  socket.setTimeout(HALF_CLOSED_IDLE_MS, () => socket.destroy());
  await toPod.catch(() => {}); // the pod had said all; what the client still had is nobody's
}

async function connectToAny(
  { data, port }: ForwardPair,
  addresses: readonly string[],
  signal: AbortSignal,
): Promise<PodConnection> {
  let firstError: unknown = new Error("the pod has no address");
  for (const [index, host] of addresses.entries()) {
    try {
      return await connectPod({ host, port, client: data }, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (index === 0) firstError = error; // the one to tell: a pod's second address often serves nothing
    }
  }
  throw firstError;
}

function reasonOf(error: unknown): string {
  if (errorCodeOf(error) === "ECONNREFUSED") return "connection refused";
  return error instanceof Error ? error.message : String(error);
}
