// Says what a downloaded file is and whether it may be used, from its bytes alone, before any QEMU tool sees it.

import type { DiskFormat } from "../model/image.ts";
import { foreignFormatOf, hasBootSignature, hasIso9660, QCOW_MAGIC, startsWith } from "./foreign-formats.ts";
import { inspectQcow2 } from "./qcow2-header.ts";

/** What the inspector wants to see of a file: its first bytes (or all, if shorter) and its last ones. */
export const HEAD_BYTES = 64 * 1024;
export const TAIL_BYTES = 512;

export interface InspectionLimits {
  readonly maxVirtualSizeBytes: number;
  /** A raw image must look bootable: MBR mark or GPT header. */
  readonly requireBootSignature: boolean;
  /** A qcow2 may have states of the disk from before, which no guest here sees. */
  readonly allowSnapshots: boolean;
}

export type Verdict =
  | { readonly isAccepted: true; readonly format: DiskFormat; readonly virtualSizeBytes: number }
  /** `finding` completes the sentence "the file …". */
  | { readonly isAccepted: false; readonly finding: string };

/** Why the file must be refused whatever follows its head; undefined: it may turn out well. */
export function refuseByHead(head: Uint8Array, limits: InspectionLimits): string | undefined {
  if (startsWith(head, QCOW_MAGIC, 0)) {
    const verdict = inspectQcow2(head, limits);
    return verdict.isAccepted ? undefined : verdict.finding;
  }
  return refuseRaw(head, new Uint8Array(), limits);
}

/** The verdict on the whole file. Never throws, whatever the bytes. */
export function inspect(
  file: { readonly head: Uint8Array; readonly tail: Uint8Array; readonly lengthBytes: number },
  limits: InspectionLimits,
): Verdict {
  if (file.lengthBytes === 0) return refused("is empty");
  if (startsWith(file.head, QCOW_MAGIC, 0)) {
    const verdict = inspectQcow2(file.head, limits);
    if (!verdict.isAccepted) return verdict;
    if (verdict.leastLengthBytes > file.lengthBytes) {
      return refused(
        `is cut short: its tables end at ${verdict.leastLengthBytes}, the file at ${file.lengthBytes} bytes`,
      );
    }
    return { isAccepted: true, format: "qcow2", virtualSizeBytes: verdict.virtualSizeBytes };
  }
  const finding = refuseRaw(file.head, file.tail, limits);
  if (finding !== undefined) return refused(finding);
  if (file.lengthBytes % 512 !== 0) {
    return refused(`is no disk: ${file.lengthBytes} bytes are not whole sectors of 512, and it is not qcow2`);
  }
  if (file.lengthBytes > limits.maxVirtualSizeBytes) {
    return refused(`is a disk of ${file.lengthBytes} bytes; the limit is ${limits.maxVirtualSizeBytes}`);
  }
  return { isAccepted: true, format: "raw", virtualSizeBytes: file.lengthBytes };
}

const refused = (finding: string): Verdict => ({ isAccepted: false, finding });

function refuseRaw(head: Uint8Array, tail: Uint8Array, limits: InspectionLimits): string | undefined {
  const foreign = foreignFormatOf(head, tail);
  if (foreign !== undefined) return `is ${foreign}; only qcow2 and raw disks are taken`;
  if (hasBootSignature(head)) return undefined;
  if (hasIso9660(head))
    return "is an ISO 9660 image without a boot sector for disks; only qcow2 and raw disks are taken";
  if (!limits.requireBootSignature) return undefined;
  return "is neither qcow2 nor a raw disk with a boot sector (MBR or GPT; see images.requireBootSignature)";
}
