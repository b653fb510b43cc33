// What is to be stored of a download: the bytes as they come, or what is packed in them.

import { createHash } from "node:crypto";
import type { ImageDigest } from "../model/ids.ts";
import type { Body } from "./byte-source.ts";
import { peek } from "./peek.ts";
import { mismatch, refusal, tooLarge } from "./refusal.ts";
import { PACKING_HEAD_BYTES, packingOf, type UnpackLimits, unpacked } from "./unpack.ts";

export interface PlainOptions extends UnpackLimits {
  /** Of what comes over the wire. */
  readonly maxImageBytes: number;
  /** What the bytes on the wire must hash to. */
  readonly pin: ImageDigest | undefined;
  /** Told of packed bytes only: of others whoever writes them knows. */
  readonly onReceived: (receivedBytes: number) => void;
}

export interface PlainBody {
  readonly body: Body;
  /** What the packed bytes hashed to, once they have all been read; absent: they are not packed. */
  readonly packedDigest?: () => ImageDigest;
}

/**
 * Looks at the first bytes. Packed bytes are checked against the pin when they end; what is unpacked of a cut download
 * cannot be gone on with, because nobody keeps what the unpacker had in mind.
 */
export async function plainBody(body: Body, options: PlainOptions, signal: AbortSignal): Promise<PlainBody> {
  if (body.fromBytes > 0) return { body };
  const { head, chunks } = await peek(body.chunks, PACKING_HEAD_BYTES);
  const packing = packingOf(head);
  if (packing === undefined) return { body: { ...body, chunks } };
  const hash = createHash("sha256");
  let digest: ImageDigest | undefined;
  async function* counted(): AsyncGenerator<Uint8Array, void, undefined> {
    let received = 0;
    for await (const chunk of chunks) {
      received += chunk.length;
      if (received > options.maxImageBytes) throw refusal(options.image, tooLarge(options.maxImageBytes));
      hash.update(chunk);
      options.onReceived(received);
      yield chunk;
    }
    digest = `sha256:${hash.digest("hex")}` as ImageDigest;
  }
  const packed = counted();
  return {
    body: { kind: "body", fromBytes: 0, validators: {}, chunks: checked() },
    packedDigest: () => digest ?? absent(),
  };

  async function* checked(): AsyncGenerator<Uint8Array, void, undefined> {
    if (packing === undefined) return;
    yield* unpacked(packing, packed, options, signal);
    const found = digest ?? absent();
    if (options.pin !== undefined && found !== options.pin) throw mismatch(options.image, options.pin, found);
  }
}

function absent(): never {
  throw new Error("packed bytes have no digest before their end");
}
