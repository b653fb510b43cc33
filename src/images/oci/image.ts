// An image in a registry: what its name means now, and the disk that is in it.

import { VmletError } from "../../model/failure.ts";
import type { ImageDigest } from "../../model/ids.ts";
import type { RegistryCredentials } from "../../model/registry-credentials.ts";
import type { Body, ResumePoint } from "../byte-source.ts";
import type { TransportProfile } from "../options.ts";
import type { SignatureDemand } from "../signatures/policy.ts";
import { readBlob } from "./blob.ts";
import { credentialsFor, readNodeCredentials } from "./credentials.ts";
import { type DiskLimits, openDisk } from "./disk.ts";
import { isOfSource, refusedContent } from "./errors.ts";
import { endpointsOf } from "./hosts.ts";
import { userOf } from "./image-config.ts";
import { choosePlatform, type Document, MAX_MANIFEST_BYTES, type Manifest, planOf, readDocument } from "./manifest.ts";
import { fetchManifest } from "./manifest-bytes.ts";
import type { OciTarget } from "./name.ts";
import { openClient, type RegistryClient } from "./registry-client.ts";

export interface OciRequest extends DiskLimits {
  readonly target: OciTarget;
  /** The caller's, for this pull alone. */
  readonly credentials: RegistryCredentials | undefined;
  /** Folder of hosts.toml files. */
  readonly hostsFolderPath: string;
  /** Like docker's config.json. */
  readonly authPath: string;
  /** Time limits, and what hosts.toml leaves open. */
  readonly profile: TransportProfile | undefined;
  /** As in OCI: `amd64`, `arm64`. */
  readonly arch: string;
  readonly nowMs: () => number;
  /** Undefined: it needs no signature. */
  readonly demand: SignatureDemand | undefined;
}

export interface OciImage {
  /** Of the manifest, or of the index, that the name means: what a pin names. */
  readonly manifestDigest: ImageDigest;
  /** Id of the key that signed it; absent: nothing was demanded. */
  readonly signedBy?: string;
  /**
   * Can be called once. Where the beginning is here it goes on, if what is in the registry allows that.
   * @throws IMAGE_REFUSED and the failures of a download, also from reading its bytes
   */
  readonly openDisk: (resume: ResumePoint | undefined) => Promise<Body>;
  /** Whom the image's author means to run in it, as the image spells it; empty: not said. @throws as openDisk */
  readonly readUser: () => Promise<string>;
}

/**
 * Asks what the name means, hands the answer to `use`, and closes everything when that ends, however it ends.
 * @throws IMAGE_NOT_FOUND IMAGE_REFUSED IMAGE_DIGEST_MISMATCH IMAGE_SOURCE_REFUSED IMAGE_SOURCE_UNAVAILABLE
 *   IMAGE_UNTRUSTED CONFIG_INVALID; the signal's reason.
 */
export async function withOciImage<T>(
  wanted: OciRequest,
  use: (found: OciImage) => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  await using stack = new AsyncDisposableStack();
  const { image, target } = wanted;
  const clients = await openClients(wanted, stack);
  const pulling = clients.filter(({ endpoint }) => endpoint.canPull);
  const asked = "digest" in target.manifest ? pulling : clients.filter(({ endpoint }) => endpoint.canResolve);
  const found = await firstOf(wanted, asked, async (client) => ask(image, client, target.manifest, signal));
  const signedBy = await signerOf(wanted, found, clients, signal);
  let asking: Promise<Manifest> | undefined;
  const readManifest = async (): Promise<Manifest> => {
    asking ??= manifestOf(wanted, found.document, pulling, signal);
    return await asking;
  };
  return await use({
    manifestDigest: found.digest,
    ...(signedBy === undefined ? {} : { signedBy }),
    openDisk: async (resume) => openDisk(wanted, planOf(image, await readManifest()), pulling, resume, signal),
    readUser: async () =>
      userOf(image, (await readManifest()).config, (blob) => readBlob(image, blob, pulling, signal)),
  });
}

async function openClients(wanted: OciRequest, stack: AsyncDisposableStack): Promise<readonly RegistryClient[]> {
  const { image, target, credentials, profile, nowMs } = wanted;
  const { registry, repository } = target;
  const node = await readNodeCredentials(wanted.authPath);
  const clients: RegistryClient[] = [];
  for (const endpoint of await endpointsOf(registry, wanted.hostsFolderPath)) {
    const { isMirror, baseUrl } = endpoint;
    const own = credentialsFor({ registry, repository, host: baseUrl.host, isMirror }, credentials, node);
    clients.push(
      stack.use(await openClient(endpoint, { image, registry, repository, credentials: own, profile, nowMs })),
    );
  }
  return clients;
}

/** The first good answer; without one, what the last said, and in short what those before it did. */
async function firstOf<T>(
  { image, target }: OciRequest,
  clients: readonly RegistryClient[],
  work: (client: RegistryClient) => Promise<T>,
): Promise<T> {
  const failures: VmletError[] = [];
  for (const client of clients) {
    try {
      return await work(client);
    } catch (error) {
      if (!isOfSource(error)) throw error;
      failures.push(error);
    }
  }
  const last = failures.pop();
  if (last === undefined) {
    throw new VmletError(
      { code: "IMAGE_NOT_FOUND", image },
      `image ${image}: no host for ${target.registry} in hosts.toml may be asked (capabilities: resolve for tags, pull)`,
    );
  }
  if (failures.length === 0) throw last;
  const before = failures.map(({ message }) => message).join("; ");
  throw new VmletError(last.failure, `${last.message} (before that: ${before})`, { cause: last });
}

interface Answered {
  readonly digest: ImageDigest;
  readonly document: Document;
}

async function ask(
  image: string,
  client: RegistryClient,
  manifest: OciTarget["manifest"],
  signal: AbortSignal,
): Promise<Answered> {
  const { digest, bytes, contentType } = await fetchManifest(image, client, manifest, MAX_MANIFEST_BYTES, signal);
  return { digest, document: readDocument(image, bytes, contentType) };
}

/** The key whose signature the demand is met by, before anything else of the image is asked for. */
async function signerOf(
  { image, arch, demand }: OciRequest,
  { digest, document }: Answered,
  clients: readonly RegistryClient[],
  signal: AbortSignal,
): Promise<string | undefined> {
  if (demand === undefined) return undefined;
  const inIndex = document.kind === "index" ? [choosePlatform(image, document.index, arch).digest] : [];
  const { checkSignature } = await import("../signatures/check.ts"); // memory that a node without rules has not to spare
  return await checkSignature({ image, digests: [digest, ...inIndex], demand }, clients, signal);
}

async function manifestOf(
  wanted: OciRequest,
  document: Document,
  clients: readonly RegistryClient[],
  signal: AbortSignal,
): Promise<Manifest> {
  if (document.kind === "manifest") return document.manifest;
  const { image, arch } = wanted;
  const { digest } = choosePlatform(image, document.index, arch);
  const chosen = await firstOf(wanted, clients, async (client) => ask(image, client, { digest }, signal));
  if (chosen.document.kind === "manifest") return chosen.document.manifest;
  throw refusedContent(image, "its index leads to another index; one level is taken");
}
