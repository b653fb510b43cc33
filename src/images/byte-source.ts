// Where the bytes of an image come from, as the receiving side sees it: a file on a web server, a blob in a registry.

import type { ImageDigest } from "../model/ids.ts";
import type { DiskFormat } from "../model/image.ts";

/** By which a server can say that nothing changed since. */
export interface Validators {
  readonly etag?: string;
  readonly lastModified?: string;
}

/** What is here of an earlier, cut download. */
export interface ResumePoint {
  /** More than 0. */
  readonly fromBytes: number;
  /** The file that has them. */
  readonly path: string;
  /** Of the whole, as the source told it then. */
  readonly lengthBytes?: number;
  readonly validators: Validators;
}

export interface Body {
  readonly kind: "body";
  /** Where `chunks` begins: 0, or that of the resume point, if the source still has the same bytes. */
  readonly fromBytes: number;
  /** To the end, in order. Fails when it ends early. */
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Of the whole; absent when the source does not say. */
  readonly lengthBytes?: number;
  readonly validators: Validators;
  /** What all of it must hash to, as it comes over the wire. */
  readonly pin?: ImageDigest;
  /** What the source says that it is, where it says that. */
  readonly format?: DiskFormat;
  /** What came over the network for it is told by the source, because that is something else than `chunks`. */
  readonly isCounted?: true;
  /** A part of it can be told from a part of something else, and gone on with. */
  readonly isResumable: boolean;
  /**
   * The bytes from `fromBytes` up to, not including, `toBytes`, on a connection of their own; fails unless they are of
   * the same version. Absent when the source is not known to allow that.
   */
  readonly readRange?: (fromBytes: number, toBytes: number, signal: AbortSignal) => AsyncIterable<Uint8Array>;
}

export type Download = { readonly kind: "unchanged" } | Body;

/** One thing that can be downloaded. All failures are VmletErrors, or the signal's reason. */
export interface ByteSource {
  /** Says which bytes these are: what is left of a cut download under the same key can be gone on with. */
  readonly key: string;
  /** Asks whether what is here of it is still right; absent: that cannot be asked. @throws as withDownload */
  readonly isUnchanged?: (signal: AbortSignal) => Promise<boolean>;
  /**
   * Opens it, hands the answer to `use`, and closes everything when that ends, however it ends.
   * @param resume A source that has other bytes by now, or cannot begin there, answers from 0.
   */
  withDownload<T>(
    resume: ResumePoint | undefined,
    use: (download: Download) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T>;
}
