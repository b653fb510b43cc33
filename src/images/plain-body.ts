// What is to be stored of a download: the bytes as they come, or what is packed in them.

import { createHash } from "node:crypto";
import type { ImageDigest } from "../model/ids.ts";
import type { Body } from "./byte-source.ts";
import { mismatch, refusal, tooLarge } from "./refusal.ts";
import { unpack } from "./unpack.ts";

export interface PlainOptions {
  /** For messages. */
  readonly image: string;
  /** Of what comes over the wire. */
  readonly maxImageBytes: number;
  /** Of what may be packed in it: no disk that is taken can be larger. */
  readonly maxVirtualSizeBytes: number;
  /** Told of packed bytes only: of others whoever writes them knows. */
  readonly onReceived: (receivedBytes: number) => void;
}

export interface PlainBody {
  readonly body: Body;
  /** How many bytes it has, where whoever packed it tells. */
  readonly toldBytes?: number;
  /** What the packed bytes hashed to, once they have all been read; absent: they are not packed. */
  readonly packedDigest?: () => ImageDigest;
}

/**
 * Looks at the first bytes. Packed bytes are checked against the pin when they end; what is unpacked of a cut download
 * cannot be gone on with, because nobody keeps what the unpacker had in mind.
 */
export async function plainBody(body: Body, options: PlainOptions, signal: AbortSignal): Promise<PlainBody> {
  if (body.fromBytes > 0) return { body };
  const { image, maxImageBytes, maxVirtualSizeBytes, onReceived } = options;
  const hash = createHash("sha256");
  let digest: ImageDigest | undefined;
  const refuse = (finding: string): Error => refusal(image, finding);
  const { isPacked, chunks, toldBytes } = await unpack(body.chunks, { maxVirtualSizeBytes, refuse, watch }, signal);
  if (!isPacked) return { body: { ...body, chunks } };
  const { format } = body;
  const plain = { kind: "body", fromBytes: 0, validators: {}, isResumable: false, chunks: checked() } as const;
  return {
    body: format === undefined ? plain : { ...plain, format },
    packedDigest: () => digest ?? absent(),
    ...(toldBytes === undefined ? {} : { toldBytes }),
  };

  async function* watch(packed: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    let received = 0;
    for await (const chunk of packed) {
      received += chunk.length;
      if (received > maxImageBytes) throw refuse(tooLarge(maxImageBytes));
      hash.update(chunk);
      onReceived(received);
      yield chunk;
    }
    digest = `sha256:${hash.digest("hex")}` as ImageDigest;
  }

  async function* checked(): AsyncGenerator<Uint8Array, void, undefined> {
    yield* chunks;
    const found = digest ?? absent();
    if (body.pin !== undefined && found !== body.pin) throw mismatch(image, body.pin, found);
  }
}

function absent(): never {
  throw new Error("packed bytes have no digest before their end");
}
