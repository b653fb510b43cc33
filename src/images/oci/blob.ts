// One blob, by its digest, from wherever it is to be had: gone on with where a connection breaks.

import { createHash } from "node:crypto";
import { sleepMs } from "../../lib/backoff.ts";
import { failsWith } from "../../model/failure.ts";
import type { Body } from "../byte-source.ts";
import { refused } from "../http-errors.ts";
import { chunksOf, hasIdentityEncoding, headerOf } from "../transport.ts";
import { isOfSource, wrongDigest } from "./errors.ts";
import type { Descriptor } from "./manifest.ts";
import type { RegistryClient } from "./registry-client.ts";

/** Breaks in a row without a byte between them, */
const MAX_FAILURES = 4;
/** and in all: a server that gives a byte at a time has no end. */
const MAX_BREAKS = 100;
const PAUSE_MS = 500;

/**
 * The blob from there on, not verified. The clients are asked in their order; who failed comes after all others from then on.
 * Reading ends well only if there were exactly so many bytes.
 * @throws (reading) IMAGE_NOT_FOUND IMAGE_SOURCE_REFUSED IMAGE_SOURCE_UNAVAILABLE
 */
export function blobBody(
  blob: Descriptor,
  fromBytes: number,
  clients: readonly RegistryClient[],
  signal: AbortSignal,
): Body {
  const hosts = new BlobHosts(blob, clients);
  return {
    kind: "body",
    fromBytes,
    chunks: readOn(blob, fromBytes, hosts, signal),
    lengthBytes: blob.size,
    validators: {},
    pin: blob.digest,
    isResumable: true,
    readRange: (from, to, own) => hosts.read({ from, to }, own),
  };
}

/** All of it, verified. @throws (reading) as blobBody, and IMAGE_DIGEST_MISMATCH */
export const readBlob = (
  image: string,
  blob: Descriptor,
  clients: readonly RegistryClient[],
  signal: AbortSignal,
): AsyncIterable<Uint8Array> => verified(image, blob, readOn(blob, 0, new BlobHosts(blob, clients), signal));

/** Passes all bytes of the blob through, and fails at their end if they are others. */
export async function* verified(
  image: string,
  blob: Descriptor,
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const hash = createHash("sha256");
  for await (const chunk of chunks) {
    hash.update(chunk);
    yield chunk;
  }
  const found = `sha256:${hash.digest("hex")}`;
  if (found !== blob.digest) throw wrongDigest(image, "a layer", blob.digest, found);
}

async function* readOn(
  blob: Descriptor,
  fromBytes: number,
  hosts: BlobHosts,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let position = fromBytes;
  let failures = 0;
  for (let breaks = 1; position < blob.size; breaks++) {
    const rest = { from: position, to: blob.size };
    try {
      for await (const chunk of hosts.read(rest, signal)) {
        position += chunk.length;
        failures = 0;
        yield chunk;
      }
    } catch (error) {
      failures++;
      if (!failsWith(error, "IMAGE_SOURCE_UNAVAILABLE") || failures >= MAX_FAILURES || breaks >= MAX_BREAKS) {
        throw error;
      }
      await sleepMs(PAUSE_MS * failures, signal);
    }
  }
}

interface Part {
  readonly from: number;
  readonly to: number;
}

/** One that does not answer would otherwise be waited for at each range anew. */
class BlobHosts {
  readonly #blob: Descriptor;
  #clients: readonly RegistryClient[];

  constructor(blob: Descriptor, clients: readonly RegistryClient[]) {
    this.#blob = blob;
    this.#clients = clients;
  }

  /** From the first that opens it. @throws what the last one said; of the one that opened it, how it broke. */
  async *read(part: Part, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    let last: unknown;
    for (const client of this.#clients) {
      let hasBegun = false;
      try {
        const chunks = await openAt(this.#blob, part, client, signal);
        hasBegun = true;
        return yield* chunks;
      } catch (error) {
        if (!isOfSource(error)) throw error;
        this.#clients = [...this.#clients.filter((other) => other !== client), client];
        if (hasBegun) throw error;
        last = error;
      }
    }
    throw last;
  }
}

/** A server that does not know ranges sends everything: taken where only the rest is wanted, and the beginning dropped. */
async function openAt(
  { digest, size }: Descriptor,
  { from, to }: Part,
  client: RegistryClient,
  signal: AbortSignal,
): Promise<AsyncIterable<Uint8Array>> {
  const isWhole = from === 0 && to === size;
  const range = isWhole ? {} : { range: `bytes=${from}-${to === size ? "" : to - 1}` };
  const { answer, url } = await client.get(`blobs/${digest}`, range, signal);
  const isPart = answer.statusCode === 206;
  const length = headerOf(answer, "content-length");
  const lengthBytes = isPart ? to - from : size;
  const finding =
    isPart && !headerOf(answer, "content-range").startsWith(`bytes ${from}-${to - 1}/`)
      ? `answers with other bytes than those from ${from}`
      : !isPart && to < size
        ? "does not serve parts of a blob"
        : !hasIdentityEncoding(answer)
          ? "sends the blob compressed although it was told not to"
          : length !== "" && Number(length) !== lengthBytes
            ? `announces ${length} bytes where the manifest tells ${lengthBytes}`
            : undefined;
  if (finding !== undefined) {
    answer.body.destroy();
    throw refused(url, answer.statusCode, finding);
  }
  const expected = { url, profile: client.profile, lengthBytes };
  return noMoreThan(lengthBytes, isPart ? 0 : from, chunksOf(answer, expected, signal), url);
}

async function* noMoreThan(
  lengthBytes: number,
  dropBytes: number,
  chunks: AsyncIterable<Uint8Array>,
  url: URL,
): AsyncGenerator<Uint8Array> {
  let received = 0;
  for await (const chunk of chunks) {
    const from = Math.max(0, dropBytes - received);
    received += chunk.length;
    if (received > lengthBytes) {
      throw refused(url, 200, `sends more than the ${lengthBytes} bytes that the manifest tells`);
    }
    if (from < chunk.length) yield chunk.subarray(from);
  }
}
