// Whether an image is signed by a key that is trusted for it, as far as its registry can show.

import { failsWith, VmletError } from "../../model/failure.ts";
import type { ImageDigest } from "../../model/ids.ts";
import { readBlob } from "../oci/blob.ts";
import { isOfSource } from "../oci/errors.ts";
import type { Descriptor } from "../oci/manifest.ts";
import type { RegistryClient } from "../oci/registry-client.ts";
import { type Attached, attachedTo } from "./attached.ts";
import { untrusted } from "./errors.ts";
import type { SignatureDemand } from "./policy.ts";
import type { TrustedKey } from "./public-key.ts";
import { judgeBundle, judgeMessage, type Verdict } from "./verify.ts";

export interface SignatureCheck {
  /** For messages. */
  readonly image: string;
  /** Of the manifest and of the index that leads to it: a signature of one of them is enough. */
  readonly digests: readonly ImageDigest[];
  readonly demand: SignatureDemand;
}

/** A signature is a kilobyte, with everything that may come with it some ten. */
const MAX_SIGNATURE_BYTES = 128 * 1024;
/** Things attached to one image, or its parts, that are read. */
const MAX_READS = 200;
/** In all: the kubelet waits, and whoever is slow may be so on purpose. */
const LIMIT_MS = 120_000;
const MAX_SHOWN = 4;

/**
 * Asks the places in their order, and ends at the first signature that is good.
 * @returns the id of the key that made it
 * @throws IMAGE_UNTRUSTED; IMAGE_SOURCE_UNAVAILABLE when a place that may have one does not answer; TIMED_OUT
 */
export async function checkSignature(
  check: SignatureCheck,
  clients: readonly RegistryClient[],
  signal: AbortSignal,
): Promise<string> {
  const limit = AbortSignal.timeout(LIMIT_MS);
  try {
    return await firstGood(check, clients, AbortSignal.any([signal, limit]));
  } catch (error) {
    if (!limit.aborted || signal.aborted) throw error;
    const doing = "checking signatures";
    const message = `image ${check.image}: its signatures could not be checked in ${LIMIT_MS} ms`;
    throw new VmletError({ code: "TIMED_OUT", doing, limitMs: LIMIT_MS }, message, { cause: error });
  }
}

async function firstGood(
  { image, digests, demand }: SignatureCheck,
  clients: readonly RegistryClient[],
  signal: AbortSignal,
): Promise<string> {
  const places = clients.filter(({ endpoint }) => endpoint.canResolve && endpoint.canPull);
  const findings: string[] = [];
  let unavailable: VmletError | undefined;
  let reads = 0;
  const spend = (): void => {
    if (++reads <= MAX_READS) return;
    const what = `more than ${MAX_READS} things are attached to it; ${demand.field} wants a signature among them`;
    throw untrusted(image, what);
  };
  for (const { digest, client } of digests.flatMap((own) => places.map((place) => ({ digest: own, client: place })))) {
    try {
      for await (const attached of attachedTo({ image, digest, client, spend }, signal)) {
        spend();
        const verdict = await judge(attached, { image, digest, client, keys: demand.keys }, signal);
        if ("signedBy" in verdict) return verdict.signedBy.id;
        findings.push(`a signature ${verdict.finding}`);
      }
    } catch (error) {
      if (!failsWith(error, "IMAGE_SOURCE_UNAVAILABLE")) throw error;
      unavailable = error;
    }
  }
  if (unavailable !== undefined) throw unavailable; // one may be there
  throw untrusted(image, `${demand.field} wants a signature of ${digests.join(" or ")}; ${told(findings)}`);
}

interface Judged {
  readonly image: string;
  readonly digest: ImageDigest;
  readonly client: RegistryClient;
  readonly keys: readonly TrustedKey[];
}

async function judge(
  attached: Attached,
  { image, digest, client, keys }: Judged,
  signal: AbortSignal,
): Promise<Verdict> {
  if (attached.kind === "unreadable") return { finding: `may be there (${attached.finding})` };
  const { layer } = attached;
  if (layer.size > MAX_SIGNATURE_BYTES) return { finding: `is larger than ${MAX_SIGNATURE_BYTES} bytes` };
  try {
    const bytes = await wholeOf(image, layer, client, signal);
    if (attached.kind === "bundle") return judgeBundle(bytes, digest, keys);
    return judgeMessage(bytes, attached.signature, digest, keys);
  } catch (error) {
    if (!isOfSource(error) || error.failure.code === "IMAGE_SOURCE_UNAVAILABLE") throw error;
    return { finding: `cannot be read (${error.message})` };
  }
}

async function wholeOf(image: string, layer: Descriptor, client: RegistryClient, signal: AbortSignal): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of readBlob(image, layer, [client], signal)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Different ones, each once, not too many. */
function told(findings: readonly string[]): string {
  if (findings.length === 0) return "there is none in its registry (cosign sign --key makes one)";
  const distinct = [...new Set(findings)];
  return distinct.slice(0, MAX_SHOWN).join(", ") + (distinct.length > MAX_SHOWN ? " and so on" : "");
}
