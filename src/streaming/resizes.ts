// The resize channel: JSON objects one after the other, `{"Width":80,"Height":24}`.

import type { Readable } from "node:stream";
import type { TerminalSize, TerminalSizes } from "../ports/guest-exec.ts";

/** A message has some 30 bytes; what is longer than this without an end is not one. */
const MAX_UNFINISHED_CHARS = 1024;
const MAX_SIZE = 0xffff; // uint16 in every client

/**
 * Reads the channel whether or not anybody listens: unread, it would make the client's connection wait. What is no size is
 * skipped: a terminal of the wrong size is no reason to end a session.
 */
export function readResizes(channel: Readable): TerminalSizes {
  let unfinished = "";
  let latest: TerminalSize | undefined;
  let listener: (size: TerminalSize) => void = () => {};
  channel.on("data", (chunk: Buffer) => {
    const parts = (unfinished + chunk.toString("latin1")).split("}");
    unfinished = (parts.pop() ?? "").slice(-MAX_UNFINISHED_CHARS);
    const size = parts
      .map((part) => parseSize(part.slice(part.lastIndexOf("{"))))
      .findLast((each) => each !== undefined);
    if (size === undefined) return;
    latest = size;
    listener(size);
  });
  return {
    get latest() {
      return latest;
    },
    listen: (next) => void (listener = next),
  };
}

function parseSize(text: string): TerminalSize | undefined {
  const columns = Number(/"Width"\s*:\s*(\d{1,5})/i.exec(text)?.[1]);
  const rows = Number(/"Height"\s*:\s*(\d{1,5})/i.exec(text)?.[1]);
  return columns >= 1 && rows >= 1 && columns <= MAX_SIZE && rows <= MAX_SIZE ? { columns, rows } : undefined;
}
