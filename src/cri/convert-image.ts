// CRI's image <-> our Image.

import type { AuthConfig, FilesystemUsage as CriFilesystemUsage, Image as CriImage } from "../gen/runtime.ts";
import type { Image } from "../model/image.ts";
import { decodeAuth, type RegistryCredentials } from "../model/registry-credentials.ts";
import type { FilesystemUsage } from "../ports/image-store.ts";
import { nanosOf } from "./convert-shared.ts";

export function criImageOf({ digest, repoTags, repoDigests, sizeBytes, isPinned }: Image): CriImage {
  return {
    id: digest,
    repoTags: [...repoTags],
    repoDigests: [...repoDigests],
    size: BigInt(sizeBytes),
    uid: { value: 0n }, // the guest decides who runs in it; the field must be there or username must
    username: "",
    spec: undefined,
    pinned: isPinned,
  };
}

export function criFilesystemUsageOf(usage: FilesystemUsage, nowMs: number): CriFilesystemUsage {
  return {
    timestamp: nanosOf(nowMs),
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
