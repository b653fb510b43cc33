// A disk in a registry as a source of bytes like any other.

import type { RegistryCredentials } from "../../model/registry-credentials.ts";
import type { ByteSource } from "../byte-source.ts";
import type { FetchParts } from "../pull.ts";
import type { SignatureDemand } from "../signatures/policy.ts";
import { type OciImage, withOciImage } from "./image.ts";
import type { OciTarget } from "./name.ts";

/** Node's names of processors where OCI has others. */
const OCI_ARCH: Readonly<Record<string, string>> = { x64: "amd64", ia32: "386", ppc64: "ppc64le" };

export interface OciWanted {
  /** For messages, and for progress. */
  readonly image: string;
  readonly target: OciTarget;
  readonly credentials: RegistryCredentials | undefined;
  /** Undefined: it needs no signature. */
  readonly demand: SignatureDemand | undefined;
}

/**
 * Asks the registry what the name means, and hands `use` where to get that from.
 * @throws as ImageStore.pull, also from the source.
 */
export async function withOciSource<T>(
  { options, clock }: Pick<FetchParts, "options" | "clock">,
  { image, target, credentials, demand }: OciWanted,
  use: (source: ByteSource, found: OciImage) => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const request = {
    image,
    target,
    credentials,
    hostsFolderPath: options.registry.hostsFolderPath,
    authPath: options.registry.authPath,
    profile: options.profiles["default"],
    arch: OCI_ARCH[process.arch] ?? process.arch,
    maxImageBytes: options.maxImageBytes,
    maxVirtualSizeBytes: options.maxVirtualSizeBytes,
    nowMs: () => clock.nowMs(),
    demand,
  };
  return withOciImage(request, async (found) => use(sourceOf(found), found), signal);
}

const sourceOf = ({ manifestDigest, openDisk }: OciImage): ByteSource => ({
  key: `oci ${manifestDigest}`,
  withDownload: async (resume, use) => use(await openDisk(resume)),
});
