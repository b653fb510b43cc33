// The client's side of SPDY/3.1, as little of it as Kubernetes' clients use.

import { request } from "node:http";
import { request as requestByTls } from "node:https";
import { Duplex } from "node:stream";
import { text } from "node:stream/consumers";
import {
  dataHeader,
  FrameReader,
  pingFrame,
  RESET,
  resetFrame,
  synStreamFrame,
} from "../../src/streaming/spdy/frames.ts";
import { HeaderReader, HeaderWriter } from "../../src/streaming/spdy/headers.ts";

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

export class Refused extends Error {
  readonly answer: Answer;

  constructor(answer: Answer) {
    super(`${answer.status}: ${answer.body.trim()}`);
    this.answer = answer;
  }
}

/** Resolves to the raw connection behind an upgrade. @throws Refused */
export async function upgrade(
  url: string,
  headers: Record<string, string | string[]>,
  trust: { readonly ca?: string } = {},
): Promise<Duplex> {
  const method = headers["Upgrade"] === "websocket" ? "GET" : "POST";
  const options = { method, headers: { Connection: "Upgrade", Upgrade: "SPDY/3.1", ...headers }, ...trust };
  const asked = url.startsWith("https:") ? requestByTls(url, options) : request(url, options);
  const { promise, resolve, reject } = Promise.withResolvers<Duplex>();
  asked.on("upgrade", (_response, socket, head) => {
    if (head.length > 0) socket.unshift(head);
    resolve(socket);
  });
  asked.on("response", (response) => {
    const { statusCode: status = 0, headers: told } = response;
    text(response).then((body) => reject(new Refused({ status, headers: told, body })), reject);
  });
  asked.on("error", reject);
  asked.end();
  return await promise;
}

export class SpdyClient {
  readonly transport: Duplex;
  readonly streams = new Map<number, ClientStream>();
  readonly pongs: number[] = [];
  /** Resolves when nothing more comes, and all that came is with the streams. */
  readonly closed: Promise<void>;
  readonly #reader = new FrameReader();
  readonly #writer = new HeaderWriter();
  readonly #headers = new HeaderReader();
  #lastId = -1;

  constructor(transport: Duplex) {
    this.transport = transport;
    transport.on("error", () => {});
    this.closed = this.#serve();
  }

  static async connect(url: string, ...protocols: string[]): Promise<SpdyClient> {
    return new SpdyClient(await upgrade(url, { "X-Stream-Protocol-Version": protocols }));
  }

  /** Not awaited for the server's reply: `stream.replied` is for that. */
  open(headers: Record<string, string>, { isFin = false } = {}): ClientStream {
    this.#lastId += 2;
    const stream = new ClientStream(this.#lastId, this.transport);
    this.streams.set(stream.streamId, stream);
    this.transport.write(synStreamFrame(this.#lastId, this.#writer.write(new Map(Object.entries(headers))), { isFin }));
    return stream;
  }

  ping(id: number): void {
    this.transport.write(pingFrame(id));
  }

  async #serve(): Promise<void> {
    try {
      for await (const chunk of this.transport as AsyncIterable<Buffer>) {
        for (const frame of this.#reader.read(chunk)) {
          if ("block" in frame) await this.#headers.read(frame.block);
          if (frame.type === "ping") this.pongs.push(frame.id);
          if (!("streamId" in frame)) continue;
          const stream = this.streams.get(frame.streamId);
          if (frame.type === "syn-reply") stream?.reply();
          if (frame.type === "reset") stream?.wasReset();
          if (frame.type !== "data") continue;
          if (frame.bytes.length > 0 && stream !== undefined) await stream.receive(frame.bytes);
          if (frame.isFin) stream?.receiveEnd();
        }
      }
    } catch {
      // The connection broke: "close" follows.
    }
    this.transport.destroy();
    for (const stream of this.streams.values()) stream.receiveEnd(); // what came before it can still be read
  }
}

export class ClientStream extends Duplex {
  readonly streamId: number;
  readonly #transport: Duplex;
  readonly #replied = Promise.withResolvers<void>();
  #wantsMore: () => void = () => {};
  #isEnded = false;
  isReset = false;

  constructor(streamId: number, transport: Duplex) {
    super();
    this.streamId = streamId;
    this.#transport = transport;
    this.#replied.promise.catch(() => {});
    this.on("error", () => {});
    this.on("close", () => {
      this.#replied.reject(new Error("closed"));
      this.#wantsMore();
    });
  }

  get replied(): Promise<void> {
    return this.#replied.promise;
  }

  reply(): void {
    this.#replied.resolve();
  }

  wasReset(): void {
    this.isReset = true;
    this.destroy();
  }

  /** As Go's client does: the connection waits for whoever does not read. */
  async receive(bytes: Buffer): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wantsMore = resolve;
    if (!this.push(bytes) && !this.destroyed) await promise;
  }

  receiveEnd(): void {
    this.#replied.reject(new Error("closed"));
    if (!this.#isEnded && !this.destroyed) this.push(null);
    this.#isEnded = true;
  }

  reset(): void {
    this.#transport.write(resetFrame(this.streamId, RESET.cancel));
    this.destroy();
  }

  override _read(): void {
    this.#wantsMore();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#transport.write(dataHeader(this.streamId, chunk.length, { isFin: false }));
    this.#transport.write(chunk, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#transport.write(dataHeader(this.streamId, 0, { isFin: true }), done);
  }
}
