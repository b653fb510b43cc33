// Which image names mean something in an OCI registry, and what.

import { VmletError } from "../../model/failure.ts";
import type { ImageDigest } from "../../model/ids.ts";
import { formatReference, type ImageReference, plainHostOf } from "../../model/image-reference.ts";

export interface OciTarget {
  /** Host, with its port where there is one: `quay.io`, `registry.example.org:5000`. Credentials are kept by it. */
  readonly registry: string;
  /** `containerdisks/fedora` */
  readonly repository: string;
  /** Wanted by the manifest's digest, or else by a tag. */
  readonly manifest: { readonly digest: ImageDigest } | { readonly tag: string };
}

const OCI_NAME = /^vmlet\.dev\/oci\/([^/]+)\/(.+)$/;

/**
 * What `vmlet.dev/oci/<registry>/<repository>`, or a plain reference under one of `prefixes`, asks for.
 * Undefined: the name is neither.
 * @throws IMAGE_REFERENCE_INVALID
 */
export function ociTargetOf(reference: ImageReference, prefixes: readonly string[]): OciTarget | undefined {
  const { name, tag = "latest", digest } = reference;
  const manifest = digest === undefined ? { tag } : { digest };
  if (/^vmlet\.dev\/oci(?:\/|$)/.test(name)) {
    const [, host = "", path = ""] = OCI_NAME.exec(name) ?? [];
    const registry = plainHostOf(host);
    if (registry === undefined) {
      throw malformed(reference, "vmlet.dev/oci/ needs a registry and a repository; a port is written host__5000");
    }
    return { ...dockerHub(registry, path), manifest };
  }
  if (!prefixes.some((prefix) => name.startsWith(prefix))) return undefined;
  const slash = name.indexOf("/");
  return { ...dockerHub(name.slice(0, slash), name.slice(slash + 1)), manifest };
}

/** Docker's own registry has short names. */
function dockerHub(registry: string, repository: string): { readonly registry: string; readonly repository: string } {
  if (registry !== "docker.io" && registry !== "index.docker.io") return { registry, repository };
  return { registry: "docker.io", repository: repository.includes("/") ? repository : `library/${repository}` };
}

/** Docker Hub goes by many names; everything else by its own. */
export function registryHostOf(address: string): string {
  const host = address.replace(/^https?:\/\//, "").split("/")[0] ?? "";
  return /^(?:index\.|registry-1\.|www\.)?docker\.(?:io|com)$/.test(host) ? "docker.io" : host.toLowerCase();
}

function malformed(reference: ImageReference, why: string): VmletError {
  const image = formatReference(reference);
  return new VmletError({ code: "IMAGE_REFERENCE_INVALID", image }, `image ${image}: ${why}`);
}
