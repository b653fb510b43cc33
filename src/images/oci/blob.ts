// One blob, by its digest: gone on with where the connection broke, and nothing but the bytes that were meant.

import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { failsWith } from "../../model/failure.ts";
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
 * The bytes of the blob, in order. The clients are tried in their order, each time that it has to be opened again.
 * Ends well only if there were exactly so many bytes and they hash to the digest.
 * @throws IMAGE_NOT_FOUND IMAGE_SOURCE_REFUSED IMAGE_SOURCE_UNAVAILABLE IMAGE_DIGEST_MISMATCH
 */
export async function* readBlob(
  image: string,
  blob: Descriptor,
  clients: readonly RegistryClient[],
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const hash = createHash("sha256");
  let received = 0;
  let failures = 0;
  for (let breaks = 1; received < blob.size; breaks++) {
    try {
      for await (const chunk of await openAnywhere(blob, received, clients, signal)) {
        hash.update(chunk);
        received += chunk.length;
        failures = 0;
        yield chunk;
      }
    } catch (error) {
      failures++;
      if (!failsWith(error, "IMAGE_SOURCE_UNAVAILABLE") || failures >= MAX_FAILURES || breaks >= MAX_BREAKS) {
        throw error;
      }
      await sleep(PAUSE_MS * failures, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }
  const found = `sha256:${hash.digest("hex")}`;
  if (found !== blob.digest) throw wrongDigest(image, "a layer", blob.digest, found);
}

async function openAnywhere(
  blob: Descriptor,
  offset: number,
  clients: readonly RegistryClient[],
  signal: AbortSignal,
): Promise<AsyncIterable<Uint8Array>> {
  let last: unknown;
  for (const client of clients) {
    try {
      return await openAt(blob, offset, client, signal);
    } catch (error) {
      if (!isOfSource(error)) throw error;
      last = error;
    }
  }
  throw last;
}

async function openAt(
  { digest, size }: Descriptor,
  offset: number,
  client: RegistryClient,
  signal: AbortSignal,
): Promise<AsyncIterable<Uint8Array>> {
  const range = offset === 0 ? {} : { range: `bytes=${offset}-` };
  const { answer, url } = await client.get(`blobs/${digest}`, range, signal);
  const isPart = answer.statusCode === 206;
  const length = headerOf(answer, "content-length");
  const wanted = isPart ? size - offset : size;
  const isWrongPart = isPart && !headerOf(answer, "content-range").startsWith(`bytes ${offset}-`);
  if (isWrongPart || !hasIdentityEncoding(answer) || (length !== "" && Number(length) !== wanted)) {
    answer.body.destroy();
    if (isWrongPart) throw refused(url, answer.statusCode, `answers with other bytes than those from ${offset}`);
    if (length !== "" && Number(length) !== wanted) {
      throw refused(url, answer.statusCode, `announces ${length} bytes where the manifest tells ${wanted}`);
    }
    throw refused(url, answer.statusCode, "sends the blob compressed although it was told not to");
  }
  const expected = { url, profile: client.profile, lengthBytes: wanted };
  return exactly(chunksOf(answer, expected, signal), { url, wanted, skip: isPart ? 0 : offset });
}

/** No more than was told; without the bytes that are here already. */
async function* exactly(
  chunks: AsyncIterable<Uint8Array>,
  about: { readonly url: URL; readonly wanted: number; readonly skip: number },
): AsyncGenerator<Uint8Array> {
  const { url, wanted, skip } = about;
  let received = 0;
  for await (const chunk of chunks) {
    const from = Math.max(0, skip - received);
    received += chunk.length;
    if (received > wanted) throw refused(url, 200, `sends more than the ${wanted} bytes that the manifest tells`);
    if (from < chunk.length) yield chunk.subarray(from);
  }
}
