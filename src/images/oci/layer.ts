// A layer that is a tar archive, as it streams by: unpacked, and verified when it ends.

import { createReadStream } from "node:fs";
import { overConnections, RANGE_TIMING } from "../ranges.ts";
import { type UnpackLimits, unpack } from "../unpack.ts";
import { blobBody, verified } from "./blob.ts";
import { refusedContent } from "./errors.ts";
import type { Descriptor } from "./manifest.ts";
import type { RegistryClient } from "./registry-client.ts";

/** Bytes of the layer that an earlier pull left on disk, and so need not be fetched. */
export interface Here {
  /** Of the layer. */
  readonly fromBytes: number;
  readonly lengthBytes: number;
  /** The file that begins with them. */
  readonly path: string;
}

export interface LayerOptions extends Pick<UnpackLimits, "maxVirtualSizeBytes"> {
  /** Told of each piece that comes over the network. */
  readonly onReceived: (bytes: number) => void;
}

const PIECE_BYTES = 1024 * 1024;

export class Layer {
  readonly #image: string;
  readonly #blob: Descriptor;
  readonly #clients: readonly RegistryClient[];
  readonly #limits: UnpackLimits;
  readonly #onReceived: LayerOptions["onReceived"];
  #isPlain = false;
  #here: Here | undefined;

  constructor(
    image: string,
    blob: Descriptor,
    clients: readonly RegistryClient[],
    { maxVirtualSizeBytes, onReceived }: LayerOptions,
  ) {
    this.#image = image;
    this.#blob = blob;
    this.#clients = clients;
    this.#onReceived = onReceived;
    this.#limits = { maxVirtualSizeBytes, refuse: (finding) => refusedContent(image, `a layer ${finding}`) };
  }

  /** Known once the first bytes were read: what comes over the wire is the archive itself. */
  get isPlain(): boolean {
    return this.#isPlain;
  }

  /**
   * The archive. To be read once. Ends well only if the layer's bytes hash to its digest.
   * @throws as blobBody, IMAGE_DIGEST_MISMATCH, IMAGE_REFUSED
   */
  async *archive(signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const wire = verified(this.#image, this.#blob, this.#wire(signal));
    const { isPacked, chunks } = await unpack(wire, this.#limits, signal);
    this.#isPlain = !isPacked;
    yield* chunks;
  }

  /** To be said of a plain layer, by whoever reads it, when the reading has come to where they begin. */
  has(here: Here): void {
    this.#here = here;
  }

  async *#wire(signal: AbortSignal): AsyncGenerator<Uint8Array> {
    let position = 0;
    for await (const chunk of this.#remote(0, signal)) {
      position += chunk.length;
      yield chunk;
      if (this.#here !== undefined) break;
    }
    if (this.#here === undefined) return;
    const { fromBytes, lengthBytes, path } = this.#here;
    const skippedBytes = position - fromBytes;
    if (skippedBytes < lengthBytes) {
      yield* createReadStream(path, { start: skippedBytes, end: lengthBytes - 1, highWaterMark: PIECE_BYTES });
      position = fromBytes + lengthBytes;
    }
    yield* this.#remote(position, signal);
  }

  async *#remote(fromBytes: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const body = blobBody(this.#blob, fromBytes, this.#clients, signal);
    for await (const chunk of overConnections(body, RANGE_TIMING, signal)) {
      this.#onReceived(chunk.length);
      yield chunk;
    }
  }
}
