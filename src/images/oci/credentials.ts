// Which credentials a registry gets: the caller's for the image's own registry, or the node's for that host.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { z } from "zod";
import { errorCodeOf } from "../../lib/error-code.ts";
import { VmletError } from "../../model/failure.ts";
import { decodeAuth, type RegistryCredentials } from "../../model/registry-credentials.ts";
import { registryHostOf } from "./name.ts";

const MAX_FILE_CHARS = 1024 * 1024;
const FIELD = "images.registry.authPath";

const authEntry = z.object({
  auth: z.string().optional(),
  username: z.string().optional(),
  password: z.string().optional(),
  identitytoken: z.string().optional(),
  registrytoken: z.string().optional(),
});
/** docker's config.json; what else is in it (helpers, proxies) is not for us. */
const authFile = z.object({ auths: z.record(z.string(), authEntry).default({}) });

/** By registry host, or by a part of it: `quay.io/team`. */
export type NodeCredentials = ReadonlyMap<string, RegistryCredentials>;

/** Read for each pull, so that a rotated password needs no restart. No file: none. @throws CONFIG_INVALID */
export async function readNodeCredentials(path: string): Promise<NodeCredentials> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (errorCodeOf(error) === "ENOENT") return new Map();
    throw broken(path, "cannot be read", error);
  }
  try {
    if (text.length > MAX_FILE_CHARS) throw new Error("too large");
    const { auths } = authFile.parse(JSON.parse(text));
    return new Map(Object.entries(auths).map(([address, entry]) => [placeOf(address), fromEntry(entry)]));
  } catch {
    throw broken(path, "is not like docker's config.json"); // without the cause, which quotes the file
  }
}

/**
 * What to show to `host` for an image of `registry`. The caller's credentials go to the image's own registry alone
 * (and only if they are for it): a mirror is somebody else.
 */
export function credentialsFor(
  about: {
    readonly registry: string;
    readonly repository: string;
    readonly host: string;
    readonly isMirror: boolean;
  },
  given: RegistryCredentials | undefined,
  node: NodeCredentials,
): RegistryCredentials | undefined {
  if (about.isMirror) return nearest(node, about.host, about.repository);
  const address = given?.serverAddress ?? "";
  const isMeant = address === "" || registryHostOf(address) === registryHostOf(about.registry);
  return given !== undefined && isMeant ? given : nearest(node, about.registry, about.repository);
}

/** Those for the smallest part that the repository is in: what is meant for a team is not shown to others. */
function nearest(node: NodeCredentials, host: string, repository: string): RegistryCredentials | undefined {
  const parts = [registryHostOf(host), ...repository.split("/")];
  const places = parts.map((_part, index) => parts.slice(0, parts.length - index).join("/"));
  const place = places.find((text) => node.has(text));
  return place === undefined ? undefined : node.get(place);
}

/** docker's addresses are URLs with `/v1/` or `/v2/`, or hosts. */
function placeOf(address: string): string {
  const path = address.replace(/^https?:\/\/[^/]*|^[^/]*/, "").replace(/\/+$/, "");
  return registryHostOf(address) + (/^\/v[12]$/.test(path) ? "" : path);
}

/** Tells pulls with different credentials apart, and nothing else. */
export const fingerprintOf = (credentials: RegistryCredentials | undefined): string =>
  credentials === undefined ? "" : createHash("sha256").update(JSON.stringify(credentials)).digest("hex");

function fromEntry({ auth, username, password, identitytoken, registrytoken }: z.output<typeof authEntry>) {
  return {
    ...(auth === undefined || auth === "" ? {} : decodeAuth(auth)),
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(identitytoken === undefined ? {} : { identityToken: identitytoken }),
    ...(registrytoken === undefined ? {} : { registryToken: registrytoken }),
  };
}

function broken(path: string, why: string, cause?: unknown): VmletError {
  return new VmletError(
    { code: "CONFIG_INVALID", path, field: FIELD },
    `${path} (${FIELD}) ${why}`,
    cause === undefined ? {} : { cause },
  );
}
