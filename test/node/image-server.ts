// A web server on loopback for one folder: GET and HEAD, one byte range. Run as a program it serves until it is killed:
// node image-server.ts <folder> <port>

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";

export interface ImageServer extends AsyncDisposable {
  readonly port: number;
  /** The image name under which the daemon pulls a file of the folder. */
  nameOf(fileName: string): string;
}

export const imageNameOf = (port: number, fileName: string): string => `vmlet.dev/http/127.0.0.1__${port}/${fileName}`;

export async function serveImages(folderPath: string, port: number): Promise<ImageServer> {
  const server = createServer((request, response) => {
    answer(folderPath, request, response).catch(() => response.destroy());
  });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject).listen(port, "127.0.0.1", () => resolve());
  await promise;
  const address = server.address();
  const actual = typeof address === "object" && address !== null ? address.port : port;
  return {
    port: actual,
    nameOf: (fileName) => imageNameOf(actual, fileName),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

async function answer(folderPath: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const name = /^\/([A-Za-z0-9_-][A-Za-z0-9._-]*)$/.exec(request.url ?? "")?.[1];
  const path = join(folderPath, name ?? "-");
  const file = name === undefined ? undefined : await stat(path).catch(() => undefined);
  if (file === undefined || !file.isFile()) return void response.writeHead(404).end("no such file\n");
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  const start = Number(range?.[1] ?? 0);
  const end = Math.min(range?.[2] ? Number(range[2]) : file.size - 1, file.size - 1);
  if (range !== null && start > end) {
    return void response.writeHead(416, { "content-range": `bytes */${file.size}` }).end();
  }
  response.writeHead(range === null ? 200 : 206, {
    "content-type": "application/octet-stream",
    "content-length": end - start + 1,
    "accept-ranges": "bytes",
    "last-modified": file.mtime.toUTCString(),
    etag: `"${file.size.toString(16)}-${Math.floor(file.mtimeMs).toString(16)}"`,
    ...(range === null ? {} : { "content-range": `bytes ${start}-${end}/${file.size}` }),
  });
  if (request.method === "HEAD") return void response.end();
  await pipeline(createReadStream(path, { start, end }), response);
}

if (import.meta.main) {
  const [folderPath, port] = process.argv.slice(2);
  if (folderPath === undefined || port === undefined) throw new Error("usage: image-server.ts <folder> <port>");
  await serveImages(folderPath, Number(port));
}
