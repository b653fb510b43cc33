// CRI's image <-> our Image.

import type { AuthConfig, FilesystemUsage as CriFilesystemUsage, Image as CriImage } from "../gen/runtime.ts";
import type { Image } from "../model/image.ts";
import { decodeAuth, type RegistryCredentials } from "../model/registry-credentials.ts";
import type { FilesystemUsage } from "../ports/image-store.ts";
import { nanosOf } from "./convert-shared.ts";

export function criImageOf({ digest, repoTags, repoDigests, sizeBytes, user, isPinned }: Image): CriImage {
  return {
    id: digest,
    repoTags: [...repoTags],
    repoDigests: [...repoDigests],
    size: BigInt(sizeBytes),
    ...criUserOf(user),
    spec: undefined,
    pinned: isPinned,
  };
}

/** One of the two must be there; where the image names nobody, and the guest decides, the kubelet must expect root. */
function criUserOf(user: string): Pick<CriImage, "uid" | "username"> {
  const [name = ""] = user.split(":"); // what follows is a group
  const isNumber = /^\d{1,10}$/.test(name);
  if (name !== "" && !isNumber) return { uid: undefined, username: name };
  return { uid: { value: BigInt(name) }, username: "" }; // BigInt("") is 0
}

export function criFilesystemUsageOf(usage: FilesystemUsage, atMs: number): CriFilesystemUsage {
  return {
    timestamp: nanosOf(atMs),
    fsId: { mountpoint: usage.mountpoint },
    usedBytes: { value: BigInt(usage.usedBytes) },
    inodesUsed: { value: BigInt(usage.usedInodes) },
  };
}

/** Undefined: the kubelet tries without. */
export function credentialsOf(auth: AuthConfig | undefined): RegistryCredentials | undefined {
  if (auth === undefined) return undefined;
  const { username, password, identityToken, registryToken, serverAddress } = auth;
  const decoded = username === "" && password === "" ? decodeAuth(auth.auth) : { username, password };
  const told = {
    ...(decoded === undefined || (decoded.username === "" && decoded.password === "") ? {} : decoded),
    ...(identityToken === "" ? {} : { identityToken }),
    ...(registryToken === "" ? {} : { registryToken }),
  };
  if (Object.keys(told).length === 0) return undefined;
  return serverAddress === "" ? told : { ...told, serverAddress };
}
