// A web server on loopback for as long as a test runs; it does whatever the test wants, lies included.

import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type ServerOptions } from "node:https";
import type { AddressInfo } from "node:net";

export type Answer = (request: IncomingMessage, response: ServerResponse) => void;

export class WebServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #answers = new Map<string, Answer>();
  readonly scheme: "http" | "https";
  /** Paths asked for, in order. */
  readonly requests: string[] = [];

  private constructor(scheme: "http" | "https", make: (listener: RequestListener) => Server) {
    this.scheme = scheme;
    this.#server = make((request, response) => {
      const path = (request.url ?? "").split("?")[0] ?? "";
      this.requests.push(path);
      const answer = this.#answers.get(path);
      if (answer !== undefined) return answer(request, response);
      response.statusCode = 404;
      return void response.end("nothing here");
    });
  }

  static async listen(tls?: ServerOptions): Promise<WebServer> {
    const server =
      tls === undefined
        ? new WebServer("http", (listener) => createServer(listener))
        : new WebServer("https", (listener) => createTlsServer(tls, listener));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.#server.once("error", reject).listen(0, "127.0.0.1", () => resolve());
    await promise;
    return server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  urlOf(path: string): string {
    return `${this.scheme}://127.0.0.1:${this.port}${path}`;
  }

  /** The image name that stands for the URL of `path`. */
  nameOf(path: string): string {
    return `vmlet.dev/${this.scheme}/127.0.0.1__${this.port}${path}`;
  }

  on(path: string, answer: Answer): void {
    this.#answers.set(path, answer);
  }

  /** A plain file, with its length and nothing else. */
  serve(path: string, bytes: Uint8Array): void {
    this.on(path, (_request, response) => {
      response.setHeader("content-length", bytes.length);
      response.end(bytes);
    });
  }

  /** As `serve`; the second half comes after `letGo`. */
  serveHeldBack(path: string, bytes: Uint8Array): { readonly letGo: () => void } {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.on(path, (_request, response) => {
      response.setHeader("content-length", bytes.length);
      response.write(bytes.subarray(0, bytes.length / 2));
      void promise.then(() => response.end(bytes.subarray(bytes.length / 2)));
    });
    return { letGo: () => resolve() };
  }

  /** As `serve`, in so many pieces: each but the first comes after a `next`. */
  serveInPieces(path: string, bytes: Uint8Array, pieces: number): { readonly next: () => void } {
    const pieceBytes = Math.ceil(bytes.length / pieces);
    const senders = new Set<() => void>();
    let allowed = 1;
    this.on(path, (_request, response) => {
      response.setHeader("content-length", bytes.length);
      let sent = 0;
      const send = (): void => {
        for (; sent < allowed; sent++) response.write(bytes.subarray(sent * pieceBytes, (sent + 1) * pieceBytes));
        if (sent < pieces) return;
        senders.delete(send);
        response.end();
      };
      senders.add(send);
      send();
    });
    const next = (): void => {
      allowed = Math.min(allowed + 1, pieces);
      for (const send of senders) send();
    };
    return { next };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#server.closeAllConnections();
    await promise;
  }
}
