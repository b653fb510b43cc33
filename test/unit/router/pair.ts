// A Connection of ours on one end of a socket, and on the other whatever a test wants.

import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createConnection, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  FLAG,
  type Frame,
  FrameReader,
  headOf,
  PREFACE,
  settingsPayload,
  TYPE,
} from "../../../src/router/http2/frames.ts";

export interface Pair extends AsyncDisposable {
  readonly ours: Socket;
  readonly theirs: Socket;
}

export async function openPair(): Promise<Pair> {
  const folderPath = await mkdtemp(join(tmpdir(), "vmlet-http2-"));
  const server = createServer().listen(join(folderPath, "s"));
  await once(server, "listening");
  const theirs = createConnection(join(folderPath, "s"));
  theirs.on("error", () => {}); // how it ends is seen at its end
  const [ours] = (await once(server, "connection")) as [Socket];
  return {
    ours,
    theirs,
    [Symbol.asyncDispose]: async () => {
      ours.destroy();
      theirs.destroy();
      server.close();
      await rm(folderPath, { recursive: true });
    },
  };
}

/** A peer that sends what it likes, and keeps the frames that it gets. */
export class RawPeer {
  readonly #socket: Socket;
  readonly #frames: Frame[] = [];
  #isClosed = false;
  #wake = Promise.withResolvers<void>();

  constructor(socket: Socket, { isServer = false }: { readonly isServer?: boolean } = {}) {
    this.#socket = socket;
    const reader = new FrameReader();
    let preface = isServer ? PREFACE.length : 0;
    socket.on("data", (chunk: Buffer) => {
      const skipped = Math.min(preface, chunk.length);
      preface -= skipped;
      this.#frames.push(...reader.push(chunk.subarray(skipped)));
      this.#changed();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#isClosed = true;
      this.#changed();
    });
  }

  send(...bytes: readonly Buffer[]): void {
    this.#socket.write(Buffer.concat(bytes));
  }

  /** What a client begins with, and a server without its first part. */
  greet(...settings: readonly [number, number][]): void {
    this.send(raw(TYPE.SETTINGS, 0, 0, settingsPayload(settings)));
  }

  /** Resolves when the other side has taken all that was sent so far. */
  async pong(): Promise<void> {
    this.send(raw(TYPE.PING, 0, 0, "0000000000000000"));
    await this.frame(TYPE.PING);
  }

  /** The next frame of that type, others left out. */
  async frame(type: number): Promise<Frame> {
    for (;;) {
      const at = this.#frames.findIndex((frame) => frame.type === type);
      const [found] = at < 0 ? [] : this.#frames.splice(0, at + 1).slice(-1);
      if (found !== undefined) return found;
      if (this.#isClosed) throw new Error(`the connection was closed before a frame of type ${type}`);
      await this.#wake.promise;
    }
  }

  async closed(): Promise<void> {
    while (!this.#isClosed) await this.#wake.promise;
  }

  #changed(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers<void>();
  }
}

export function raw(type: number, flags: number, streamId: number, payload: Buffer | string = ""): Buffer {
  const bytes = typeof payload === "string" ? Buffer.from(payload, "hex") : payload;
  return Buffer.concat([headOf({ type, flags, streamId }, bytes.length), bytes]);
}

/** POST / of http, in three bytes. */
export const REQUEST = Buffer.from("838684", "hex");
export const WHOLE = FLAG.END_HEADERS | FLAG.END_STREAM;
