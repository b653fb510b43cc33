// What we ask of the agent of one guest. It answers what it likes: everything is checked.

import { z } from "zod";
import { failsWith, VmletError } from "../../model/failure.ts";
import type { GuestTarget } from "../../ports/guest-exec.ts";
import type { Hypervisor } from "../../ports/hypervisor.ts";
import { closed, INSTALL_EITHER } from "./ways.ts";

export type AskAgent = Hypervisor["askAgent"];

export type AgentStatus =
  | { readonly isOver: false }
  | { readonly isOver: true; readonly exitCode: number; readonly out: Buffer; readonly err: Buffer };

const base64 = z.string().transform((text) => Buffer.from(text, "base64"));
const STARTED = z.object({ pid: z.int() });
const STATUS = z.object({
  exited: z.boolean(),
  exitcode: z.int().min(0).max(255).optional(),
  signal: z.int().min(1).max(64).optional(),
  "out-data": base64.optional(),
  "err-data": base64.optional(),
});
const OPENED = z.int();
const PIECE = z.object({ "buf-b64": base64 });

export class Agent {
  readonly #ask: AskAgent;
  readonly #target: GuestTarget;

  constructor(ask: AskAgent, target: GuestTarget) {
    this.#ask = ask;
    this.#target = target;
  }

  /** Starts a script of sh and resolves to its pid. @throws WRONG_STATE when the agent cannot be a way into the guest */
  async start(script: string, args: readonly string[], signal: AbortSignal): Promise<number> {
    const arg = ["-c", script, "vmlet", ...args];
    try {
      return (await this.#get(STARTED, "guest-exec", { path: "/bin/sh", arg, "capture-output": true }, signal)).pid;
    } catch (error) {
      if (!failsWith(error, "AGENT_ABSENT") && !failsWith(error, "AGENT_REFUSED")) throw error;
      throw closed(this.#target, `${error.message}; ${INSTALL_EITHER}`, error);
    }
  }

  /** The agent forgets the script with the answer that says that it is over. */
  async status(pid: number, signal: AbortSignal): Promise<AgentStatus> {
    const status = await this.#get(STATUS, "guest-exec-status", { pid }, signal);
    if (!status.exited) return { isOver: false };
    const nothing = Buffer.alloc(0);
    return {
      isOver: true,
      exitCode: status.exitcode ?? 128 + (status.signal ?? 0),
      out: status["out-data"] ?? nothing,
      err: status["err-data"] ?? nothing,
    };
  }

  /** A handle; undefined when there is no such file. */
  async open(path: string, signal: AbortSignal): Promise<number | undefined> {
    try {
      return await this.#get(OPENED, "guest-file-open", { path, mode: "r" }, signal);
    } catch (error) {
      if (failsWith(error, "AGENT_REFUSED")) return undefined;
      throw error;
    }
  }

  /** What is there by now, at most `count` bytes; empty at the file's end. */
  async read(handle: number, count: number, signal: AbortSignal): Promise<Buffer> {
    const { "buf-b64": content } = await this.#get(PIECE, "guest-file-read", { handle, count }, signal);
    return content.subarray(0, count);
  }

  async close(handle: number, signal: AbortSignal): Promise<void> {
    await this.#get(z.unknown(), "guest-file-close", { handle }, signal);
  }

  async #get<T>(
    schema: z.ZodType<T>,
    command: string,
    args: Readonly<Record<string, unknown>>,
    signal: AbortSignal,
  ): Promise<T> {
    const { machineId } = this.#target;
    const result = schema.safeParse(await this.#ask(machineId, { execute: command, arguments: args }, signal));
    if (result.success) return result.data;
    const why = z.prettifyError(result.error);
    const message = `container ${machineId}: what its guest agent answers to ${command} is no answer: ${why}`;
    throw new VmletError({ code: "AGENT_REFUSED", domain: machineId, command }, message);
  }
}
