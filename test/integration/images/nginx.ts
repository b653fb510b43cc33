// Debian's nginx on loopback, serving one folder in several manners: each manner is the first part of the path.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { certify } from "../../fakes/certificate.ts";
import { poll } from "../../node/poll.ts";
import { freePort, tool } from "./server-parts.ts";

/** Of each connection, in the manners that are slow, */
const SLOW_BYTES_PER_SECOND = 4 * 1024 * 1024;
/** and in the one for large files. */
const THROTTLED_BYTES_PER_SECOND = 64 * 1024 * 1024;

export type Manner =
  /** Ranges, ETag and Last-Modified, as nginx comes. */
  | "plain"
  /** No ranges. */
  | "whole"
  | "slow"
  | "slow-whole"
  | "throttled"
  /** No ETag. */
  | "dated"
  /** Compresses for whoever accepts that. */
  | "zipping"
  /** Serves `<file>.gz` as the file, for everybody. */
  | "zipped"
  | "private"
  /** Redirects to `plain`. */
  | "moved";

export interface NginxRequest {
  readonly path: string;
  readonly status: number;
  /** Without headers; also of answers that were broken off. */
  readonly sentBytes: number;
  readonly range: string;
}

export class Nginx implements AsyncDisposable {
  readonly #scheme: "http" | "https";
  readonly #port: number;
  readonly #folderPath: string;
  #process: ChildProcess;

  private constructor(scheme: "http" | "https", port: number, folderPath: string) {
    this.#scheme = scheme;
    this.#port = port;
    this.#folderPath = folderPath;
    this.#process = this.#spawn();
  }

  static async start(scheme: "http" | "https", signal: AbortSignal): Promise<Nginx> {
    const folderPath = await mkdtemp(join(tmpdir(), "vmlet-nginx-"));
    const port = await freePort();
    await mkdir(join(folderPath, "files"));
    if (scheme === "https") await certify(folderPath, "tls", "subjectAltName=IP:127.0.0.1");
    await writeFile(join(folderPath, "users"), "somebody:{PLAIN}else\n");
    await writeFile(join(folderPath, "nginx.conf"), configuration(scheme, port, folderPath));
    const nginx = new Nginx(scheme, port, folderPath);
    await nginx.#answers(signal);
    return nginx;
  }

  /** What is in it is served. */
  get filesPath(): string {
    return join(this.#folderPath, "files");
  }

  get caPath(): string {
    return join(this.#folderPath, "tls.crt");
  }

  nameOf(manner: Manner, file: string): string {
    return `vmlet.dev/${this.#scheme}/127.0.0.1__${this.#port}/${manner}/${file}`;
  }

  urlOf(manner: Manner, file: string): string {
    return `${this.#scheme}://127.0.0.1:${this.#port}/${manner}/${file}`;
  }

  get #readyUrl(): string {
    return `${this.#scheme}://127.0.0.1:${this.#port}/ready`;
  }

  /** Those that have ended, in the order of their ends. */
  async requests(): Promise<readonly NginxRequest[]> {
    // Whoever has its last byte may be here before the line in the log is. Its one worker does one thing after the other.
    await tool("curl", ["-skf", "-o", "/dev/null", this.#readyUrl], AbortSignal.timeout(60_000)).catch(() => "");
    const lines = (await readFile(join(this.#folderPath, "log"), "utf8")).split("\n").filter((line) => line !== "");
    return lines.map((line) => {
      const [path = "", status, sentBytes, range = ""] = line.split(" ");
      return { path, status: Number(status), sentBytes: Number(sentBytes), range };
    });
  }

  /** In the middle of whatever it does. */
  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    process.kill(-(this.#process.pid ?? Number.NaN), "SIGKILL");
    await once(this.#process, "exit");
  }

  async restart(signal: AbortSignal): Promise<void> {
    this.#process = this.#spawn();
    await this.#answers(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await rm(this.#folderPath, { recursive: true, force: true });
  }

  #spawn(): ChildProcess {
    const args = ["-e", "stderr", "-p", this.#folderPath, "-c", join(this.#folderPath, "nginx.conf")];
    // Its own process group: the worker is another process, and dies with the master only when that is told nicely.
    const child = spawn("/usr/sbin/nginx", args, { stdio: ["ignore", "ignore", "inherit"], detached: true });
    child.on("error", () => {}); // the test then finds nobody there
    return child;
  }

  async #answers(signal: AbortSignal): Promise<void> {
    const ask = async () => {
      if (this.#process.exitCode !== null) throw new Error("nginx ended at once");
      return tool("curl", ["-skf", "-o", "/dev/null", this.#readyUrl], signal);
    };
    await poll(ask, { what: "an answer of nginx", limitMs: 60_000, everyMs: 20 }, signal);
  }
}

function configuration(scheme: "http" | "https", port: number, folderPath: string): string {
  const manner = (name: Manner, ...lines: readonly string[]): string =>
    `location /${name}/ { alias ${folderPath}/files/; ${lines.map((line) => `${line};`).join(" ")} }`;
  const slow = `limit_rate ${SLOW_BYTES_PER_SECOND}`;
  const temps = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  return `
daemon off;
worker_processes 1;
user root;
pid ${folderPath}/pid;
error_log /dev/null;
events {}
http {
  sendfile on;
  log_format plain '$uri $status $body_bytes_sent $http_range';
  access_log ${folderPath}/log plain;
  ${temps.map((name) => `${name}_temp_path ${folderPath}/${name};`).join(" ")}
  server {
    listen 127.0.0.1:${port}${scheme === "https" ? " ssl http2" : ""};
    ${scheme === "https" ? `ssl_certificate ${folderPath}/tls.crt; ssl_certificate_key ${folderPath}/tls.key;` : ""}
    location = /ready { access_log off; return 204; }
    ${manner("plain")}
    ${manner("whole", "max_ranges 0")}
    ${manner("slow", slow)}
    ${manner("slow-whole", "max_ranges 0", slow)}
    ${manner("throttled", `limit_rate ${THROTTLED_BYTES_PER_SECOND}`)}
    ${manner("dated", "etag off")}
    ${manner("zipping", "gzip on", "gzip_types *", "gzip_min_length 1")}
    ${manner("zipped", "gzip_static always")}
    ${manner("private", 'auth_basic "who"', `auth_basic_user_file ${folderPath}/users`)}
    location /moved/ { rewrite ^/moved/(.*)$ /plain/$1 redirect; }
  }
}
`;
}
