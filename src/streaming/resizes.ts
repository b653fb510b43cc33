// The resize channel: JSON objects one after the other, `{"Width":80,"Height":24}`.

import type { Readable } from "node:stream";
import type { TerminalSize } from "../ports/guest-exec.ts";

/** A message has some 30 bytes; what is longer than this without an end is not one. */
const MAX_UNFINISHED_CHARS = 1024;
const MAX_SIZE = 0xffff; // uint16 in every client

/** Ends when the channel does. What is no size is skipped: a terminal of the wrong size is no reason to end a session. */
export async function* readResizes(channel: Readable): AsyncGenerator<TerminalSize> {
  let unfinished = "";
  try {
    for await (const chunk of channel as AsyncIterable<Buffer>) {
      const parts = (unfinished + chunk.toString("latin1")).split("}");
      unfinished = (parts.pop() ?? "").slice(-MAX_UNFINISHED_CHARS);
      for (const part of parts) {
        const size = parseSize(part.slice(part.lastIndexOf("{")));
        if (size !== undefined) yield size;
      }
    }
  } catch {
    // The client is gone; whoever runs the command hears of that by its signal.
  }
}

function parseSize(text: string): TerminalSize | undefined {
  const columns = Number(/"Width"\s*:\s*(\d{1,5})/i.exec(text)?.[1]);
  const rows = Number(/"Height"\s*:\s*(\d{1,5})/i.exec(text)?.[1]);
  return columns >= 1 && rows >= 1 && columns <= MAX_SIZE && rows <= MAX_SIZE ? { columns, rows } : undefined;
}
