// A registry on loopback with what a test pushes into it, that asks for what the test wants to be asked for.

import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type ServerOptions } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

export const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
export const OCI_LAYER = "application/vnd.oci.image.layer.v1.tar";

export interface Layer {
  readonly mediaType: string;
  readonly bytes: Uint8Array;
}

export type Hook = (request: IncomingMessage, response: ServerResponse, url: URL) => boolean;

interface Stored {
  readonly type: string;
  readonly bytes: Uint8Array;
}

const sha256 = (bytes: Uint8Array): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

export class OciRegistry implements AsyncDisposable {
  readonly #server: Server;
  readonly #scheme: "http" | "https";
  readonly #blobs = new Map<string, Uint8Array>();
  readonly #manifests = new Map<string, Stored>();
  /** `GET /v2/…` with its Authorization, if any. */
  readonly requests: {
    readonly method: string;
    readonly path: string;
    readonly headers: IncomingMessage["headers"];
  }[] = [];
  /** May answer itself and return true. */
  hook: Hook = () => false;

  private constructor(tls: ServerOptions | undefined) {
    const listener: RequestListener = (request, response) => this.#answer(request, response);
    this.#scheme = tls === undefined ? "http" : "https";
    this.#server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  }

  static async listen(tls?: ServerOptions): Promise<OciRegistry> {
    const registry = new OciRegistry(tls);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    registry.#server.once("error", reject).listen(0, "127.0.0.1", () => resolve());
    await promise;
    return registry;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get host(): string {
    return `127.0.0.1:${this.port}`;
  }

  get url(): string {
    return `${this.#scheme}://${this.host}`;
  }

  nameOf(repository: string): string {
    return `vmlet.dev/oci/127.0.0.1__${this.port}/${repository}`;
  }

  /** Makes the node reach it by plain HTTP. */
  async writeHosts(folderPath: string, toml = `server = "${this.url}"\n`): Promise<void> {
    await mkdir(join(folderPath, this.host), { recursive: true });
    await writeFile(join(folderPath, this.host, "hosts.toml"), toml);
  }

  blob(bytes: Uint8Array): { readonly digest: string; readonly size: number } {
    const digest = sha256(bytes);
    this.#blobs.set(digest, bytes);
    return { digest, size: bytes.length };
  }

  manifest(repository: string, tag: string, type: string, content: object): string {
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: type, ...content }));
    const digest = sha256(bytes);
    for (const name of [tag, digest]) this.#manifests.set(`${repository}/${name}`, { type, bytes });
    return digest;
  }

  /** An image or an artifact. @returns the manifest's digest. */
  push(repository: string, layers: readonly Layer[], more: object = {}, tag = "latest"): string {
    const config = { mediaType: "application/vnd.oci.image.config.v1+json", ...this.blob(Buffer.from("{}")) };
    const descriptors = layers.map(({ mediaType, bytes }) => ({ mediaType, ...this.blob(bytes) }));
    return this.manifest(repository, tag, OCI_MANIFEST, { config, layers: descriptors, ...more });
  }

  /** Paths asked for, without the query. */
  paths(): readonly string[] {
    return this.requests.map(({ path }) => path.split("?")[0] ?? "");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#server.closeAllConnections();
    await promise;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { method = "", url = "", headers } = request;
    this.requests.push({ method, path: url, headers });
    const parsed = new URL(url, this.url);
    if (this.hook(request, response, parsed)) return;
    const [, repository, kind, name] = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(parsed.pathname) ?? [];
    const stored =
      kind === "manifests"
        ? this.#manifests.get(`${repository}/${name}`)
        : { type: "application/octet-stream", bytes: this.#blobs.get(name ?? "") };
    if (stored?.bytes === undefined) return void response.writeHead(404).end("nothing here");
    send(request, response, stored.bytes, { "content-type": stored.type });
  }
}

/** With Range, as registries can. */
export function send(
  request: IncomingMessage,
  response: ServerResponse,
  bytes: Uint8Array,
  headers: Readonly<Record<string, string>> = {},
): void {
  const [, from, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
  const part = bytes.subarray(Number(from ?? 0), last ? Number(last) + 1 : bytes.length);
  const end = Number(from) + part.length - 1;
  const range = from === undefined ? {} : { "content-range": `bytes ${from}-${end}/${bytes.length}` };
  response.writeHead(from === undefined ? 200 : 206, { "content-length": part.length, ...range, ...headers });
  response.end(part);
}
