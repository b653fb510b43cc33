import type { ImageDigest, MachineId } from "../model/ids.ts";
import type { Image } from "../model/image.ts";
import type { ImagePull, PullCaller } from "../model/image-pull.ts";
import type { RegistryCredentials } from "../model/registry-credentials.ts";

export interface FilesystemUsage {
  /** Of the filesystem: the kubelet takes two that differ for two disks, and evicts by the one that is full. */
  readonly mountpoint: string;
  readonly usedBytes: number;
  readonly usedInodes: number;
}

/**
 * Disk images by name and digest. Implemented by `src/images/`; faked in `test/fakes/image-store.ts`; both MUST pass
 * `test/contract/image-store.contract.ts`. Reads are answered from memory.
 */
export interface ImageStore {
  /**
   * Have the image that `reference` names. Concurrent pulls of one image join; abort ends the waiting, and the
   * download when nobody else waits.
   * @param reference A docker reference under `vmlet.dev/`, or one that the node's rules make something of.
   * @param credentials For the image's own registry; anything else passes over them.
   * @param caller Shown to those who look at the pull.
   * @throws IMAGE_REFERENCE_INVALID IMAGE_NOT_FOUND IMAGE_REFUSED IMAGE_DIGEST_MISMATCH IMAGE_SOURCE_REFUSED
   *   IMAGE_SOURCE_UNAVAILABLE IMAGE_UNTRUSTED DISK_FULL
   */
  pull(reference: string, signal: AbortSignal, credentials?: RegistryCredentials, caller?: PullCaller): Promise<Image>;
  /** Those under way, the oldest first. */
  pulls(): readonly ImagePull[];
  /**
   * Look on until a pull ends, as it ends; this keeps none alive.
   * @throws PULL_NOT_FOUND, also when it has ended; what the pull throws.
   */
  untilPulled(pullId: string, signal: AbortSignal): Promise<Image>;
  /**
   * By name (with or without tag), name@digest, digest, or digest prefix of 12 or more characters. An image that may not
   * be used under any of its names, or under this one, is not found until it is pulled again.
   */
  find(reference: string): Image | undefined;
  list(): readonly Image[];
  /** Forget the image and all its names. Its bytes stay as long as a machine uses them. Unknown: no change. */
  remove(reference: string, signal: AbortSignal): Promise<void>;
  /**
   * Keep the bytes until `release`, across restarts: saved before it resolves. Twice by the same machine: once.
   * @throws IMAGE_NOT_FOUND
   */
  hold(
    digest: ImageDigest,
    machineId: MachineId,
    signal: AbortSignal,
  ): Promise<{ readonly path: string; readonly image: Image }>;
  /** Held by nobody under that id: no change. */
  release(machineId: MachineId, signal: AbortSignal): Promise<void>;
  /** What the images take, once what nobody comes back for has made way. */
  usage(): Promise<FilesystemUsage>;
}
