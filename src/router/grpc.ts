// gRPC over HTTP/2, as far as a router speaks it: messages in their frames, statuses in trailers, deadlines in a header.

import { ByteCutter } from "../lib/byte-cutter.ts";
import type { Headers } from "./http2/hpack.ts";
import type { Header } from "./http2/static-headers.ts";

/** gRPC's numbers of how a call ended. */
export const CODE = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

/** The kubelet's and containerd's limit for one message. */
const MAX_MESSAGE_BYTES = 16 << 20;
/** What a timer of Node can wait, some 25 days; it takes more for no wait at all. */
const MAX_TIMEOUT_MS = 0x7fffffff;
/** The status travels in a header, which must stay small. */
const MAX_DETAILS_CHARS = 4096;
const PREFIX_BYTES = 5;

export interface RpcErrorOptions extends ErrorOptions {
  readonly trailers?: Headers;
}

/** A call that ended with something else than OK. */
export class RpcError extends Error {
  override readonly name = "RpcError";
  readonly code: number;
  /** All that a runtime said at the end; absent where the router itself refuses. */
  readonly trailers: Headers | undefined;

  constructor(code: number, details: string, options?: RpcErrorOptions) {
    super(details, options);
    this.code = code;
    this.trailers = options?.trailers;
  }
}

/** One message as it stands on the wire: not compressed, its length, its bytes. Parts of one follow each other. */
export function frame(...parts: readonly Uint8Array[]): Buffer {
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(
    parts.reduce((sum, part) => sum + part.length, 0),
    1,
  );
  return Buffer.concat([prefix, ...parts]);
}

/** Cuts a stream of bytes into messages. Holds at most one message that is not complete. */
export class Deframer {
  readonly #cutter = new ByteCutter({
    prefixBytes: PREFIX_BYTES,
    sizeOf: (prefix) => {
      if (prefix.readUInt8(0) !== 0)
        throw new RpcError(CODE.UNIMPLEMENTED, "vmlet router takes no compressed messages");
      const length = prefix.readUInt32BE(1);
      if (length > MAX_MESSAGE_BYTES)
        throw new RpcError(CODE.RESOURCE_EXHAUSTED, `a message of ${length} bytes, limit ${MAX_MESSAGE_BYTES}`);
      return PREFIX_BYTES + length;
    },
  });

  /** @throws RpcError when a message is compressed or larger than the limit. */
  push(chunk: Buffer): Buffer[] {
    return this.#cutter.push(chunk).map((piece) => piece.subarray(PREFIX_BYTES));
  }

  /** Whether a message has begun and not ended. */
  get isMidMessage(): boolean {
    return this.#cutter.heldBytes > 0;
  }
}

export function valueOf(headers: Headers, wanted: string): string | undefined {
  return headers.find(([name]) => name === wanted)?.[1];
}

/** What is left for the call, in milliseconds; undefined: its caller sets no limit, or one that only it and the runtime keep. */
export function timeoutMsOf(headers: Headers): number | undefined {
  const [, amount, unit] = /^(\d{1,8})([HMSmun])$/.exec(valueOf(headers, "grpc-timeout") ?? "") ?? [];
  const unitMs = UNIT_MS.get(unit ?? "");
  if (unitMs === undefined) return undefined;
  const timeoutMs = Number(amount) * unitMs;
  return timeoutMs <= MAX_TIMEOUT_MS ? timeoutMs : undefined;
}

export function trailersOf(code: number, details = ""): Headers {
  const text = details.length <= MAX_DETAILS_CHARS ? details : `${details.slice(0, MAX_DETAILS_CHARS - 1)}…`;
  const status: Header = ["grpc-status", String(code)];
  return text === "" ? [status] : [status, ["grpc-message", encodeURI(text.toWellFormed())]];
}

/** How a call ended, out of its trailers (or out of its headers, where there is nothing but a status). */
export function statusOf(trailers: Headers): { readonly code: number; readonly details: string } {
  const code = Number(valueOf(trailers, "grpc-status") ?? CODE.UNKNOWN);
  return {
    code: Number.isInteger(code) ? code : CODE.UNKNOWN,
    details: decoded(valueOf(trailers, "grpc-message") ?? ""),
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a lone percent sign: as it came
  }
}

const UNIT_MS: ReadonlyMap<string, number> = new Map([
  ["H", 3_600_000],
  ["M", 60_000],
  ["S", 1000],
  ["m", 1],
  ["u", 1e-3],
  ["n", 1e-6],
]);
