// A guest agent whose guest is this machine: it runs, opens and reads what it is asked to, as QEMU's does.

import { type ChildProcess, spawn } from "node:child_process";
import { type FileHandle, open } from "node:fs/promises";
import { constants } from "node:os";
import { VmletError } from "../../src/model/failure.ts";
import type { AgentCommand } from "../../src/ports/hypervisor.ts";

interface Running {
  readonly child: ChildProcess;
  readonly out: Buffer[];
  readonly err: Buffer[];
  end?: { readonly exitcode: number } | { readonly signal: number };
}

type Arguments = Readonly<Record<string, unknown>>;

export class LocalAgent implements AsyncDisposable {
  /** What was asked, in order. */
  readonly asked: string[] = [];
  readonly #running = new Map<number, Running>();
  readonly #files = new Map<number, FileHandle>();
  #lastHandle = 1000;

  ask = async (_machineId: unknown, { execute, arguments: args = {} }: AgentCommand): Promise<unknown> => {
    this.asked.push(execute);
    switch (execute) {
      case "guest-exec":
        return await this.#exec(args);
      case "guest-exec-status":
        return this.#status(Number(args["pid"]));
      case "guest-file-open":
        return await this.#open(String(args["path"]));
      case "guest-file-read":
        return await this.#read(args);
      case "guest-file-close": {
        const handle = Number(args["handle"]);
        await this.#files.get(handle)?.close();
        this.#files.delete(handle);
        return {};
      }
      default:
        throw refused(execute, "no such command");
    }
  };

  /** What it still holds for who asked: commands whose end nobody heard, and open files. */
  get held(): number {
    return this.#running.size + this.#files.size;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { child } of this.#running.values()) child.kill("SIGKILL");
    for (const file of this.#files.values()) await file.close();
  }

  async #exec(args: Arguments): Promise<unknown> {
    const child = spawn(String(args["path"]), args["arg"] as string[], { stdio: ["ignore", "pipe", "pipe"] });
    const running: Running = { child, out: [], err: [] };
    child.stdout.on("data", (chunk: Buffer) => running.out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => running.err.push(chunk));
    child.on("close", (exitcode, signal) => {
      running.end = signal === null ? { exitcode: exitcode ?? 0 } : { signal: constants.signals[signal] };
    });
    const { pid = 0 } = child;
    this.#running.set(pid, running);
    return { pid };
  }

  #status(pid: number): unknown {
    const running = this.#running.get(pid);
    if (running === undefined) throw refused("guest-exec-status", "PID does not exist");
    if (running.end === undefined) return { exited: false };
    this.#running.delete(pid);
    const text = (chunks: Buffer[]): string => Buffer.concat(chunks).toString("base64");
    return { exited: true, ...running.end, "out-data": text(running.out), "err-data": text(running.err) };
  }

  async #open(path: string): Promise<number> {
    try {
      this.#files.set(++this.#lastHandle, await open(path, "r"));
      return this.#lastHandle;
    } catch (error) {
      throw refused("guest-file-open", String(error));
    }
  }

  async #read(args: Arguments): Promise<unknown> {
    const file = this.#files.get(Number(args["handle"]));
    if (file === undefined) throw refused("guest-file-read", "no such handle");
    const { buffer, bytesRead } = await file.read(Buffer.alloc(Number(args["count"])));
    return { count: bytesRead, "buf-b64": buffer.subarray(0, bytesRead).toString("base64"), eof: bytesRead === 0 };
  }
}

function refused(command: string, why: string): VmletError {
  return new VmletError({ code: "AGENT_REFUSED", domain: "fake", command }, why);
}
