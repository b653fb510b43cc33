// Puts the frames of a header block together and reads it.

import { ConnectionError, ERROR } from "./errors.ts";
import { contentOf, FLAG, type Frame, HEAD_BYTES } from "./frames.ts";
import { HeaderDecoder, type Headers } from "./hpack.ts";

/** Of one call's headers, decoded: a peer may say them in far fewer bytes. */
export const MAX_LIST_BYTES = 1 << 16;
/** Of a block as it comes, with its frames' heads: nobody can send empty ones for ever. */
const MAX_BLOCK_BYTES = 1 << 16;

export interface Block {
  readonly streamId: number;
  /** Undefined: too large. */
  readonly headers: Headers | undefined;
  /** Nothing of the stream comes behind it. */
  readonly isLast: boolean;
}

export class HeaderBlocks {
  readonly #decoder = new HeaderDecoder({ maxListBytes: MAX_LIST_BYTES });
  #first: Frame | undefined;
  #parts: Buffer[] = [];
  #bytes = 0;

  /** Whether one has begun that has not ended: nothing else may come before. */
  get isOpen(): boolean {
    return this.#first !== undefined;
  }

  /** Undefined: there is more to come. @throws ConnectionError where it cannot be read */
  push(frame: Frame): Block | undefined {
    this.#first ??= frame;
    const first = this.#first;
    if (frame.streamId !== first.streamId)
      throw new ConnectionError(ERROR.PROTOCOL_ERROR, "a header block of two streams");
    this.#parts.push(frame === first ? contentOf(frame) : frame.payload);
    this.#bytes += HEAD_BYTES + frame.payload.length;
    if (this.#bytes > MAX_BLOCK_BYTES)
      throw new ConnectionError(ERROR.ENHANCE_YOUR_CALM, `a header block of more than ${MAX_BLOCK_BYTES} bytes`);
    if ((frame.flags & FLAG.END_HEADERS) === 0) return undefined;
    const headers = this.#decoder.decode(Buffer.concat(this.#parts));
    this.#first = undefined;
    this.#parts = [];
    this.#bytes = 0;
    return { streamId: first.streamId, headers, isLast: (first.flags & FLAG.END_STREAM) !== 0 };
  }
}
