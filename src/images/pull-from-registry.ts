// A pull from a registry: asks what the name means, downloads the disk that is in it, and keeps it under the name.

import type { Image } from "../model/image.ts";
import type { RegistryCredentials } from "../model/registry-credentials.ts";
import type { ByteSource } from "./byte-source.ts";
import { type OciImage, type OciRequest, withOciImage } from "./oci/image.ts";
import type { OciTarget } from "./oci/name.ts";
import { type Fetched, withImage } from "./pull.ts";
import type { PullParts } from "./pull-from-web.ts";
import type { Naming } from "./shelf.ts";
import type { SignatureDemand } from "./signatures/policy.ts";

export interface RegistryImage {
  /** `name:tag` or `name@digest`. */
  readonly image: string;
  readonly target: OciTarget;
  readonly credentials: RegistryCredentials | undefined;
  /** Undefined: it needs no signature. */
  readonly demand: SignatureDemand | undefined;
}

/** Node's names of processors where OCI has others. */
const OCI_ARCH: Readonly<Record<string, string>> = { x64: "amd64", ia32: "386", ppc64: "ppc64le" };

/** The registry is asked each time, whatever is here: it alone knows what the credentials open. @throws as ImageStore.pull */
export async function pullFromRegistry(parts: PullParts, wanted: RegistryImage, signal: AbortSignal): Promise<Image> {
  const work = async (found: OciImage) => fetchAndKeep(parts, wanted.image, found, signal);
  const pulled = await withOciImage(requestOf(parts, wanted), work, signal);
  if (pulled === undefined) throw new Error("unreachable: a manifest's disk does not change");
  return pulled;
}

function requestOf({ options, clock, meter }: PullParts, wanted: RegistryImage): OciRequest {
  return {
    ...wanted,
    hostsFolderPath: options.registry.hostsFolderPath,
    authPath: options.registry.authPath,
    profile: options.profiles["default"],
    arch: OCI_ARCH[process.arch] ?? process.arch,
    maxImageBytes: options.maxImageBytes,
    maxVirtualSizeBytes: options.maxVirtualSizeBytes,
    onArchiveBytes: (bytes) => meter.counted(bytes),
    nowMs: () => clock.nowMs(),
  };
}

async function fetchAndKeep(
  parts: PullParts,
  image: string,
  found: OciImage,
  signal: AbortSignal,
): Promise<Image | undefined> {
  const { catalog, shelf } = parts;
  const { manifestDigest: manifest, signedBy } = found;
  const naming = (user = ""): Naming => ({
    reference: image,
    manifest,
    ...(signedBy === undefined ? {} : { signedBy }),
    ...(user === "" ? {} : { user }),
  });
  const known = () => catalog.recordOfManifest(manifest);
  const source: ByteSource = {
    key: `oci ${manifest}`,
    withDownload: async (resume, use) => use(await found.openDisk(resume)),
  };
  const wanted = {
    image,
    source,
    present: async () => shelf.nameWhatIsHere(naming(known()?.user), () => known()?.blob, signal),
    keep: async (fetched: Fetched) =>
      fetched.kind === "unchanged" ? undefined : shelf.publish(fetched, naming(await found.readUser()), signal),
  };
  return withImage(parts, wanted, signal);
}
