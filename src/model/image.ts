// An image: the bytes of a disk, known by their digest, called by names.

import type { ImageDigest } from "./ids.ts";

export type DiskFormat = "qcow2" | "raw";

export interface Image {
  readonly digest: ImageDigest;
  readonly format: DiskFormat;
  /** Bytes the image takes on the node's disk. */
  readonly sizeBytes: number;
  /** Size of the disk that the guest sees. */
  readonly virtualSizeBytes: number;
  /** Normalised names with a tag, sorted: `vmlet.dev/https/host/path:latest`. */
  readonly repoTags: readonly string[];
  /** Names with what a pin says, sorted: the digest of a file, but of a registry's manifest. */
  readonly repoDigests: readonly string[];
  /** Whom its author means to run in it, `1001`, `www-data` or `1001:100`; empty: not said. The guest decides. */
  readonly user: string;
  readonly isPinned: boolean;
  /** When one of its names was last given to it by a download; absent: it has no name, and a machine runs from it. */
  readonly pulledAtMs?: number;
}
