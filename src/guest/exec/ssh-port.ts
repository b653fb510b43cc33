// The host's end of a guest's ssh port, as a stream that an SSH client can be given.
//
// INVARIANTS: what the guest says before its SSH server says who it is, is dropped, and bounded: an old server's last words, a
// booting guest's, a hostile one's. What we say and the guest does not take is bounded. When the stream ends, so does the socket.

import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { untilAborted } from "../../lib/keyed-lock.ts";

const GREETING = Buffer.from("SSH-2.0-");
/** Far above what an encrypted stream that was cut leaves in QEMU's and the kernel's buffers. */
const MAX_NOISE_BYTES = 1 << 20;
/** Beyond it the guest does not read: every command's input waits for room below it. */
const MAX_BACKLOG_BYTES = 32 << 20;
/** A keystroke as much as 32 KiB of input is one; each takes some 500 bytes beside its own. */
const MAX_BACKLOG_PIECES = 32 << 10;
const HIGH_WATER_BYTES = 1 << 20;

export class SshPort extends Duplex {
  readonly #socket: Socket;
  readonly #heard = Promise.withResolvers<void>();
  #wrong: (bytes: number) => string | undefined = () => undefined;
  /** The last bytes before the greeting; undefined once it came. */
  #noise: Buffer | undefined = Buffer.alloc(0);
  #noiseBytes = 0;
  #heardAtMs = 0;
  #backlogPieces = 0;

  /** Owns the socket. */
  constructor(socket: Socket) {
    super({ readableHighWaterMark: HIGH_WATER_BYTES, writableHighWaterMark: HIGH_WATER_BYTES, emitClose: true });
    this.#socket = socket;
    this.#heard.promise.catch(() => {});
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("error", (error) => this.destroy(error));
    socket.on("close", () => this.destroy());
  }

  /** Resolves with the first byte of the guest: somebody there serves this port. Rejects when the port ends before. */
  get heard(): Promise<void> {
    return this.#heard.promise;
  }

  get isHeard(): boolean {
    return this.#heardAtMs > 0;
  }

  /** Since the guest last said something. */
  get silentMs(): number {
    return performance.now() - this.#heardAtMs;
  }

  /** Said by us and not taken by the guest. */
  get backlogBytes(): number {
    return this.#socket.writableLength;
  }

  /** Resolves when the guest has taken everything; at once when that is so. */
  async drained(signal: AbortSignal): Promise<void> {
    if (!this.#socket.writableNeedDrain) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#socket.once("drain", resolve);
    try {
      await untilAborted(promise, signal);
    } finally {
      this.#socket.off("drain", resolve);
    }
  }

  /** `wrong` is asked at each piece of so many bytes: what it says, ends the port. */
  watch(wrong: (bytes: number) => string | undefined): void {
    this.#wrong = wrong;
  }

  override _read(): void {
    this.#socket.resume();
  }

  /** Done at once, so that each piece comes by here: whoever is to wait looks at the backlog, which ssh2 does not. */
  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.backlogBytes > MAX_BACKLOG_BYTES || this.#backlogPieces > MAX_BACKLOG_PIECES) {
      done(new Error(`the guest does not read: ${this.backlogBytes} bytes wait for it`));
      return;
    }
    this.#backlogPieces += 1;
    this.#socket.write(chunk, () => void (this.#backlogPieces -= 1));
    done();
  }

  override _final(done: () => void): void {
    this.#socket.end();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket.destroy();
    this.#heard.reject(error ?? new Error("the port was closed"));
    done(error);
  }

  #receive(chunk: Buffer): void {
    this.#heardAtMs = performance.now();
    this.#heard.resolve();
    const useful = this.#noise === undefined ? chunk : this.#findGreeting(chunk);
    if (useful === undefined || this.destroyed) return;
    const wrong = this.#wrong(chunk.length);
    if (wrong !== undefined) this.destroy(new Error(wrong));
    else if (!this.push(useful)) this.#socket.pause();
  }

  #findGreeting(chunk: Buffer): Buffer | undefined {
    const all = Buffer.concat([this.#noise ?? Buffer.alloc(0), chunk]);
    const at = all.indexOf(GREETING);
    if (at >= 0) {
      this.#noise = undefined;
      return all.subarray(at);
    }
    this.#noise = all.subarray(-(GREETING.length - 1));
    this.#noiseBytes += chunk.length;
    if (this.#noiseBytes > MAX_NOISE_BYTES) {
      this.destroy(new Error(`the guest said ${this.#noiseBytes} bytes on its ssh port that are no SSH`));
    }
    return undefined;
  }
}
