// What a connection sends, in frames.

import type { Socket } from "node:net";
import { FLAG, headOf, MAX_PAYLOAD_BYTES, numbers, PREFACE, TYPE } from "./frames.ts";
import { encodeHeaders, type Headers } from "./hpack.ts";
import { Outbox, type OutboxOptions } from "./outbox.ts";

export class Sender {
  readonly #outbox: Outbox;
  #hasSentHeaders = false;

  constructor(socket: Socket, options: OutboxOptions) {
    this.#outbox = new Outbox(socket, options);
  }

  /** Whether data must wait for the socket. */
  get isFull(): boolean {
    return this.#outbox.isFull;
  }

  preface(): void {
    this.#outbox.push(PREFACE);
  }

  headers(streamId: number, headers: Headers, { isLast }: { readonly isLast: boolean }): void {
    const block = encodeHeaders(headers, { isFirst: !this.#hasSentHeaders });
    this.#hasSentHeaders = true;
    for (let at = 0; at === 0 || at < block.length; at += MAX_PAYLOAD_BYTES) {
      const [type, own] = at === 0 ? [TYPE.HEADERS, isLast ? FLAG.END_STREAM : 0] : [TYPE.CONTINUATION, 0];
      const end = at + MAX_PAYLOAD_BYTES >= block.length ? FLAG.END_HEADERS : 0;
      this.#send({ type, flags: own | end, streamId }, block.subarray(at, at + MAX_PAYLOAD_BYTES));
    }
  }

  /** At most MAX_PAYLOAD_BYTES. */
  data(streamId: number, bytes: Buffer, { isLast }: { readonly isLast: boolean }): void {
    this.#send({ type: TYPE.DATA, flags: isLast ? FLAG.END_STREAM : 0, streamId }, bytes);
  }

  reset(streamId: number, code: number): void {
    this.#send({ type: TYPE.RST_STREAM, streamId }, numbers(code));
  }

  settings(payload: Buffer): void {
    this.#send({ type: TYPE.SETTINGS }, payload);
  }

  acknowledge(type: typeof TYPE.SETTINGS | typeof TYPE.PING, payload: Buffer): void {
    this.#outbox.pushLater(headOf({ type, flags: FLAG.ACK, streamId: 0 }, payload.length), payload);
  }

  /** Stream 0 is the connection. */
  window(streamId: number, bytes: number): void {
    const payload = numbers(bytes);
    this.#outbox.pushLater(headOf({ type: TYPE.WINDOW_UPDATE, flags: 0, streamId }, payload.length), payload);
  }

  goAway(lastId: number, code: number): void {
    this.#send({ type: TYPE.GOAWAY }, numbers(lastId, code));
  }

  /** Now, and not when what runs is done. */
  flush(): void {
    this.#outbox.flush();
  }

  #send({ type, flags = 0, streamId = 0 }: Sent, payload: Buffer): void {
    this.#outbox.push(headOf({ type, flags, streamId }, payload.length), payload);
  }
}

interface Sent {
  readonly type: number;
  readonly flags?: number;
  readonly streamId?: number;
}
