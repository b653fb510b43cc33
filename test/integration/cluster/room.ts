// A node inside of this machine: mounts, processes and network of its own, so that programs with fixed places (a kubelet, the
// chart's pods) have them, and all that runs there ends at once and leaves nothing.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync } from "node:fs";
import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { output } from "../../node/command.ts";
import { poll } from "../../node/poll.ts";

type Argv = readonly [string, ...string[]];

export class Room implements AsyncDisposable {
  /** Of the node, on a network that nobody else is on. */
  readonly address = "10.77.0.2";
  /** The same folder inside and outside. */
  readonly folderPath: string;
  readonly #first: ChildProcess;
  readonly #firstPid: number;

  private constructor(folderPath: string, first: ChildProcess, firstPid: number) {
    this.folderPath = folderPath;
    this.#first = first;
    this.#firstPid = firstPid;
  }

  /** @param folderPath is made, and removed at the end; not below /etc, /opt, /run, /var/lib or /var/log. */
  static async open(folderPath: string, signal: AbortSignal): Promise<Room> {
    await mkdir(folderPath);
    const namespaces = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
    const script = [join(import.meta.dirname, "room.sh"), folderPath, "10.77.0.2/24"];
    const log = openSync(join(folderPath, "room.log"), "a");
    const first = spawn("/usr/bin/unshare", [...namespaces, ...script], {
      stdio: ["ignore", log, log],
      detached: true,
    });
    closeSync(log);
    first.on("error", () => {}); // it is then not up
    const children = `/proc/${first.pid}/task/${first.pid}/children`;
    try {
      const up = () => existsSync(join(folderPath, "up")) || undefined;
      await poll(up, { what: "a room", limitMs: 20_000, everyMs: 50 }, signal);
      return new Room(folderPath, first, Number((await readFile(children, "utf8")).trim()));
    } catch (error) {
      first.kill("SIGKILL");
      throw new Error(await readFile(join(folderPath, "room.log"), "utf8"), { cause: error });
    }
  }

  /** What it printed in there. Rejects when it fails. */
  async output(argv: Argv, signal: AbortSignal): Promise<string> {
    return await output(this.#inside(argv), signal);
  }

  /** In the background, for as long as there is the room; what it prints is in `logOf(name)`. */
  start(name: string, argv: Argv): void {
    const named = ["/bin/sh", "-c", 'echo $$ >"$0" && exec "$@"', this.#pidPathOf(name)] as const;
    const [file, ...args] = this.#inside([...named, ...argv]);
    const log = openSync(this.logPathOf(name), "a");
    const child = spawn(file, args, { stdio: ["ignore", log, log], detached: true, cwd: "/" });
    closeSync(log);
    child.on("error", () => {}); // whoever waits for it finds nobody
    child.unref();
  }

  /** Ends what was started under that name, at once. */
  async kill(name: string, signal: AbortSignal): Promise<void> {
    await this.output(["/bin/kill", "-KILL", (await readFile(this.#pidPathOf(name), "utf8")).trim()], signal);
  }

  logPathOf(name: string): string {
    return join(this.folderPath, `${name}.log`);
  }

  /** The end of it. */
  async logOf(name: string): Promise<string> {
    return (await readFile(this.logPathOf(name), "utf8").catch(() => "")).slice(-4_000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#first.exitCode === null && this.#first.signalCode === null) {
      const ended = once(this.#first, "exit");
      process.kill(this.#firstPid, "SIGKILL"); // and with it all that is in there
      await ended;
    }
    await rm(this.folderPath, { recursive: true, force: true });
  }

  #pidPathOf(name: string): string {
    return join(this.folderPath, `${name}.pid`);
  }

  #inside(argv: Argv): Argv {
    return ["/usr/bin/nsenter", "-t", String(this.#firstPid), "--mount", "--net", "--pid", "--", ...argv];
  }
}
