// Debian's docker-registry on loopback, as an admin would set it up: TLS from an authority of its own, and htpasswd.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { run } from "../../../src/lib/spawn.ts";
import { certify } from "../../fakes/certificate.ts";
import { freePort, tool } from "./server-parts.ts";

export interface RegistryOptions {
  readonly isTls: boolean;
  /** Absent: everybody may push and pull. */
  readonly login?: { readonly username: string; readonly password: string };
}

export class DockerRegistry implements AsyncDisposable {
  readonly host: string;
  readonly #process: ChildProcess;
  readonly #folderPath: string;
  readonly #options: RegistryOptions;

  private constructor(host: string, folderPath: string, options: RegistryOptions, signal: AbortSignal) {
    this.host = host;
    this.#folderPath = folderPath;
    this.#options = options;
    const log = openSync(join(folderPath, "log"), "a");
    const args = ["serve", join(folderPath, "config.yml")];
    this.#process = spawn("docker-registry", args, { stdio: ["ignore", log, "ignore"], signal });
    this.#process.on("error", () => {}); // the test then finds nobody there
    closeSync(log);
  }

  static async start(options: RegistryOptions, signal: AbortSignal): Promise<DockerRegistry> {
    const folderPath = await mkdtemp(join(tmpdir(), "vmlet-registry-"));
    const host = `127.0.0.1:${await freePort()}`;
    if (options.isTls) await certify(folderPath, "tls", "subjectAltName=IP:127.0.0.1");
    if (options.login !== undefined) {
      const { username, password } = options.login;
      const line = await tool("htpasswd", ["-Bbn", username, password], signal);
      await writeFile(join(folderPath, "htpasswd"), line);
    }
    const config = {
      version: 0.1,
      log: { level: "error" },
      storage: { filesystem: { rootdirectory: join(folderPath, "storage") } },
      http: {
        addr: host,
        ...(options.isTls
          ? { tls: { certificate: join(folderPath, "tls.crt"), key: join(folderPath, "tls.key") } }
          : {}),
      },
      ...(options.login === undefined
        ? {}
        : { auth: { htpasswd: { realm: "test", path: join(folderPath, "htpasswd") } } }),
    };
    await writeFile(join(folderPath, "config.yml"), JSON.stringify(config));
    const registry = new DockerRegistry(host, folderPath, options, signal);
    await registry.#answers(signal);
    return registry;
  }

  get caPath(): string {
    return join(this.#folderPath, "tls.crt");
  }

  nameOf(repository: string): string {
    return `vmlet.dev/oci/${this.host.replace(":", "__")}/${repository}`;
  }

  async writeHosts(folderPath: string): Promise<void> {
    await mkdir(join(folderPath, this.host), { recursive: true });
    const { isTls } = this.#options;
    const toml = isTls ? `ca = ${JSON.stringify(this.caPath)}\n` : `server = "http://${this.host}"\n`;
    await writeFile(join(folderPath, this.host, "hosts.toml"), toml);
  }

  /** @param source As skopeo names it: `oci:/folder:tag`. @param how skopeo's own options: `--format=v2s2`. */
  async push(source: string, repository: string, how: readonly string[], signal: AbortSignal): Promise<void> {
    const to = `docker://${this.host}/${repository}`;
    const flags = ["--quiet", ...how, ...(await this.access("dest-"))];
    await tool("skopeo", ["--insecure-policy", "copy", ...flags, source, to], signal);
  }

  /** Digests of the blobs that were sent to vmlet, whole or in part, in the order of their ends. */
  async blobsRead(): Promise<readonly string[]> {
    const log = await readFile(join(this.#folderPath, "log"), "utf8"); // of requests, as Apache writes it
    const reads = log.matchAll(/"GET \/v2\/\S+\/blobs\/(sha256:[0-9a-f]{64}) HTTP\/1\.1" 20[06] \d+ "[^"]*" "vmlet"/g);
    return [...reads].map(([, digest = ""]) => digest);
  }

  /** What skopeo and buildah have to be told. @param prefix Of the options. */
  async access(prefix = ""): Promise<readonly string[]> {
    const { login, isTls } = this.#options;
    const trust = isTls ? `--${prefix}cert-dir=${await this.#certFolder()}` : `--${prefix}tls-verify=false`;
    return [trust, ...(login === undefined ? [] : [`--${prefix}creds=${login.username}:${login.password}`])];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode === null && this.#process.kill("SIGTERM")) await once(this.#process, "exit");
    await rm(this.#folderPath, { recursive: true, force: true });
  }

  async #certFolder(): Promise<string> {
    const path = join(this.#folderPath, "certs");
    await mkdir(path, { recursive: true });
    await tool("cp", [this.caPath, join(path, "ca.crt")], AbortSignal.timeout(10_000));
    return path;
  }

  async #answers(signal: AbortSignal): Promise<void> {
    const scheme = this.#options.isTls ? "https" : "http";
    const url = `${scheme}://${this.host}/v2/`;
    while ((await run("curl", ["-sk", "-o", "/dev/null", url], {}, signal)).exitCode !== 0) {
      if (this.#process.exitCode !== null) throw new Error("docker-registry ended at once");
      await sleep(50, undefined, { signal });
    }
  }
}
