// gRPC over HTTP/2, as far as a router speaks it: messages in their frames, statuses in trailers, deadlines in a header.

import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http2";
import { status } from "@grpc/grpc-js";

/** The kubelet's and containerd's limit for one message. */
const MAX_MESSAGE_BYTES = 16 << 20;
/** The status travels in a header, which must stay small. */
const MAX_DETAILS_CHARS = 4096;
const PREFIX_BYTES = 5;

/** A call that ended with something else than OK. */
export class RpcError extends Error {
  override readonly name = "RpcError";
  readonly code: number;

  constructor(code: number, details: string, options?: ErrorOptions) {
    super(details, options);
    this.code = code;
  }
}

/** One message as it stands on the wire: not compressed, its length, its bytes. */
export function frame(message: Uint8Array): Buffer {
  const framed = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
  framed.writeUInt8(0, 0);
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, PREFIX_BYTES);
  return framed;
}

/** Cuts a stream of bytes into messages. Holds at most one message that is not complete. */
export class Deframer {
  #chunks: Buffer[] = [];
  #bytes = 0;

  /** @throws RpcError when a message is compressed or larger than the limit. */
  push(chunk: Buffer): Buffer[] {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    const messages: Buffer[] = [];
    for (;;) {
      const size = this.#nextSize();
      if (size === undefined || this.#bytes < size) return messages;
      const whole = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks);
      messages.push(whole.subarray(PREFIX_BYTES, size));
      const rest = whole.subarray(size);
      this.#chunks = rest.length > 0 ? [rest] : [];
      this.#bytes = rest.length;
    }
  }

  /** Whether a message has begun and not ended. */
  get isMidMessage(): boolean {
    return this.#bytes > 0;
  }

  #nextSize(): number | undefined {
    if (this.#bytes < PREFIX_BYTES) return undefined;
    if ((this.#chunks[0] as Buffer).length < PREFIX_BYTES) this.#chunks = [Buffer.concat(this.#chunks)];
    const head = this.#chunks[0] as Buffer;
    if (head.readUInt8(0) !== 0) throw new RpcError(status.UNIMPLEMENTED, "vmlet router takes no compressed messages");
    const length = head.readUInt32BE(1);
    if (length > MAX_MESSAGE_BYTES)
      throw new RpcError(status.RESOURCE_EXHAUSTED, `a message of ${length} bytes, limit ${MAX_MESSAGE_BYTES}`);
    return PREFIX_BYTES + length;
  }
}

/** What is left for the call, in milliseconds; undefined: its caller sets no limit. */
export function timeoutMsOf(headers: IncomingHttpHeaders): number | undefined {
  const [, amount, unit] = /^(\d{1,8})([HMSmun])$/.exec(String(headers["grpc-timeout"] ?? "")) ?? [];
  const unitMs = UNIT_MS.get(unit ?? "");
  return unitMs === undefined ? undefined : Number(amount) * unitMs;
}

export function trailersOf(code: number, details = ""): OutgoingHttpHeaders {
  const text = details.length <= MAX_DETAILS_CHARS ? details : `${details.slice(0, MAX_DETAILS_CHARS - 1)}…`;
  const ending = { "grpc-status": String(code) };
  return text === "" ? ending : { ...ending, "grpc-message": encodeURI(text.toWellFormed()) };
}

/** How a call ended, out of its trailers (or out of its headers, where there is nothing but a status). */
export function statusOf(trailers: IncomingHttpHeaders): { readonly code: number; readonly details: string } {
  const code = Number(trailers["grpc-status"] ?? status.UNKNOWN);
  return {
    code: Number.isInteger(code) ? code : status.UNKNOWN,
    details: decoded(String(trailers["grpc-message"] ?? "")),
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
