// What the guest's init wrote on the port dev.vmlet.init.0. The guest may write anything there, for ever.

import { constants } from "node:fs";
import { open } from "node:fs/promises";

export interface InitReport {
  /** 0 to 255 */
  readonly exitCode: number;
}

/** A report is one short line; of more than this only the end is looked at. */
const MAX_INIT_REPORT_BYTES = 4096;

/** Reads the file to which QEMU appends what the port got; undefined when it says nothing or cannot be read. */
export async function readInitReportFile(path: string): Promise<InitReport | undefined> {
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
    const { size } = await file.stat();
    const position = Math.max(0, size - MAX_INIT_REPORT_BYTES);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_INIT_REPORT_BYTES), { position });
    return parseInitReport(buffer.subarray(0, bytesRead));
  } catch {
    return undefined;
  }
}

/** The last complete line that reads `exit <0..255>`; undefined when there is none. */
export function parseInitReport(bytes: Uint8Array): InitReport | undefined {
  const text = Buffer.from(bytes.subarray(-MAX_INIT_REPORT_BYTES)).toString("latin1");
  const codes = text
    .split("\n")
    .slice(0, -1) // what follows the last line end is not complete
    .map((line) => /^exit (\d{1,3})\r?$/.exec(line)?.[1])
    .map(Number)
    .filter((code) => code <= 255); // NaN is not
  const exitCode = codes.at(-1);
  return exitCode === undefined ? undefined : { exitCode };
}
