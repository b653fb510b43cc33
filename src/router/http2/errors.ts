// How HTTP/2 says what went wrong (RFC 9113, section 7).

export const ERROR = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  ENHANCE_YOUR_CALM: 11,
} as const;

/** For people. */
export function nameOfError(code: number): string {
  return Object.entries(ERROR).find(([, known]) => known === code)?.[0] ?? `error ${code}`;
}

/** The peer ended one stream. */
export class StreamReset extends Error {
  override readonly name = "StreamReset";
  readonly code: number;

  constructor(code: number) {
    super(`the call was reset (${nameOfError(code)})`);
    this.code = code;
  }
}

/** The peer never began the stream: whoever opened it may do so again. */
export class NotBegun extends Error {
  override readonly name = "NotBegun";
}

/** The connection cannot go on, and with it none of its streams. */
export class ConnectionError extends Error {
  override readonly name = "ConnectionError";
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}
