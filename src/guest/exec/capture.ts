// A command whose output is kept instead of streamed.

import { Writable } from "node:stream";
import type { GuestExec, GuestOutput, Guests } from "../../ports/guest-exec.ts";

/** What CRI says of ExecSync: 16 MB of each, the rest is dropped. */
const STREAM_CAP_BYTES = 16_000_000;
/** Both together, so that the kubelet takes the answer: its client's limit is 16 MiB. */
const ANSWER_CAP_BYTES = (16 << 20) - 4096;
/** Pieces that are kept as they came. Each takes some 200 bytes beside its own, and a guest may send them one by one. */
const MAX_LOOSE = 256;

export function captureWith(exec: GuestExec): Guests["capture"] {
  return async (target, command, signal): Promise<GuestOutput> => {
    const room = { leftBytes: ANSWER_CAP_BYTES };
    const [stdout, stderr] = [new Kept(room), new Kept(room)];
    const exitCode = await exec.run(target, { ...command, isTty: false }, { stdout, stderr }, signal);
    return { exitCode, stdout: stdout.bytes(), stderr: stderr.bytes() };
  };
}

class Kept extends Writable {
  readonly #room: { leftBytes: number };
  readonly #merged: Buffer[] = [];
  #loose: Buffer[] = [];
  #leftBytes = STREAM_CAP_BYTES;

  constructor(room: { leftBytes: number }) {
    super();
    this.#room = room;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    const part = chunk.subarray(0, Math.min(this.#leftBytes, this.#room.leftBytes));
    if (part.length > 0) this.#loose.push(part);
    if (this.#loose.length === MAX_LOOSE) this.#merge();
    this.#leftBytes -= part.length;
    this.#room.leftBytes -= part.length;
    done();
  }

  bytes(): Buffer {
    return Buffer.concat([...this.#merged, ...this.#loose]);
  }

  #merge(): void {
    this.#merged.push(Buffer.concat(this.#loose));
    this.#loose = [];
  }
}
