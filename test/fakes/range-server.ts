// One file on a web server that serves ranges of it, counts what it sent, and cuts off when told to.

import type { IncomingMessage, ServerResponse } from "node:http";
import type { WebServer } from "./web-server.ts";

export interface RangedFile {
  readonly bytes: Buffer;
  /** Validators and whatever else. */
  readonly headers: Readonly<Record<string, string>>;
  readonly ignoresIfRange?: boolean;
  /** Of each connection. */
  readonly bytesPerSecond?: number;
}

const PIECE_BYTES = 64 * 1024;

export class RangeServer {
  readonly #file: RangedFile;
  /** Of the file: the connection that comes there breaks. */
  cutAtBytes: number | undefined;
  sentBytes = 0;
  /** Told after each piece, before the next one goes. */
  onSent: ((sentBytes: number) => void) | undefined;
  /** Range headers, in order. */
  readonly asked: (string | undefined)[] = [];

  constructor(file: RangedFile) {
    this.#file = file;
  }

  static on(server: WebServer, path: string, file: RangedFile): RangeServer {
    const served = new RangeServer(file);
    server.on(path, (request, response) => served.answer(request, response));
    return served;
  }

  answer(request: IncomingMessage, response: ServerResponse): void {
    void this.#answer(request, response).catch(() => response.destroy());
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { bytes, headers } = this.#file;
    const { etag } = headers;
    if (etag !== undefined && request.headers["if-none-match"] === etag) return void response.writeHead(304).end();
    this.asked.push(request.headers.range);
    const ifRange = request.headers["if-range"];
    const isSame = ifRange === undefined || ifRange === etag || ifRange === headers["last-modified"];
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    if (range === null || !(isSame || this.#file.ignoresIfRange === true)) {
      response.writeHead(200, { "content-length": bytes.length, "accept-ranges": "bytes", ...headers });
      return this.#send(response, 0, bytes.length);
    }
    const from = Number(range[1]);
    const to = range[2] === "" ? bytes.length : Math.min(Number(range[2]) + 1, bytes.length);
    if (from >= bytes.length) return void response.writeHead(416).end();
    const contentRange = `bytes ${from}-${to - 1}/${bytes.length}`;
    response.writeHead(206, { "content-length": to - from, "content-range": contentRange, ...headers });
    return this.#send(response, from, to);
  }

  async #send(response: ServerResponse, from: number, to: number): Promise<void> {
    const { bytes, bytesPerSecond } = this.#file;
    for (let at = from; at < to; at += PIECE_BYTES) {
      if (this.cutAtBytes !== undefined && at >= this.cutAtBytes) return void response.destroy();
      const piece = bytes.subarray(at, Math.min(at + PIECE_BYTES, to));
      this.sentBytes += piece.length;
      if (bytesPerSecond !== undefined) await wait((piece.length / bytesPerSecond) * 1000);
      const isTaken = response.write(piece);
      this.onSent?.(this.sentBytes);
      if (!isTaken) await drained(response);
      if (response.destroyed) return;
    }
    response.end();
  }
}

const wait = async (ms: number): Promise<void> => {
  const { promise, resolve } = Promise.withResolvers<void>();
  setTimeout(resolve, ms);
  await promise;
};

async function drained(response: ServerResponse): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  response.once("drain", resolve).once("close", resolve);
  await promise;
  response.off("drain", resolve).off("close", resolve);
}
