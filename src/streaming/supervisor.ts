// Streaming: a process of our own, so that what flows between clients and guests never keeps CRI waiting. When it ends,
// streams end and nothing else: it is started again, and calls meanwhile wait a little.

import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { backoff, sleepMs } from "../lib/backoff.ts";
import { untilAborted } from "../lib/keyed-lock.ts";
import { SYSTEM_PATH } from "../lib/spawn.ts";
import type { Guests } from "../ports/guest-exec.ts";
import type { Logger } from "../ports/logger.ts";
import type { Streaming } from "../ports/streaming.ts";
import { Peer, streamingGone } from "./ipc.ts";
import type { DaemonCalls, StartOptions, StreamingCalls } from "./protocol.ts";

export interface SupervisorParts {
  readonly log: Logger;
  /** The Node that runs it. */
  readonly nodePath: string;
}

/** The daemon's end of the streaming process, which has the ways into guests, too. */
export interface SupervisedStreaming extends Streaming, Guests, AsyncDisposable {
  /** Whom the streaming process may ask; until then its sessions wait. */
  answer(calls: DaemonCalls): void;
  /** The process that serves now. */
  readonly pid: number | undefined;
}

const PROGRAM_PATH = join(import.meta.dirname, "../streaming-process.ts");
/** Bytes that pass through leave garbage beside V8's heap, which it collects when the young part of its heap is full. */
const NODE_FLAGS = [
  "--max-old-space-size=256",
  "--max-semi-space-size=1",
  "--no-memory-reducer",
  "--no-wasm-dynamic-tiering", // bin/vmlet says why
];
const RESTARTS = { firstMs: 100, maxMs: 30_000 };
/** One that served this long did not fail to start. */
const PROVEN_MS = 10_000;
/** How long a call waits for a process that is being started. */
const WAIT_MS = 5_000;
const START_LIMIT_MS = 30_000;
const STOP_LIMIT_MS = 2_000;

/** Returns at once; the process is started in the background, again and again if it must be. */
export function superviseStreaming(options: StartOptions, parts: SupervisorParts): SupervisedStreaming {
  return new Supervisor(options, parts);
}

class Supervisor implements SupervisedStreaming {
  readonly #options: StartOptions;
  readonly #parts: SupervisorParts;
  readonly #ending = new AbortController();
  readonly #answers = Promise.withResolvers<DaemonCalls>();
  readonly #running: Promise<void>;
  /** Settled with the peer when one serves; replaced when it is gone. */
  #serving = Promise.withResolvers<Peer<StreamingCalls>>();
  #child: ChildProcess | undefined;

  constructor(options: StartOptions, parts: SupervisorParts) {
    this.#options = options;
    this.#parts = parts;
    this.#running = this.#keepRunning();
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  answer(calls: DaemonCalls): void {
    this.#answers.resolve(calls);
  }

  exec: Streaming["exec"] = async (stream, signal) => await this.#ask("exec", stream, signal);
  capture: Guests["capture"] = async (target, command, signal) =>
    await this.#ask("capture", { target, command }, signal);
  attach: Streaming["attach"] = async (stream, signal) => await this.#ask("attach", stream, signal);
  portForward: Streaming["portForward"] = async (stream, signal) => await this.#ask("portForward", stream, signal);

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort();
    await this.#running;
  }

  async #ask<Name extends keyof StreamingCalls>(
    name: Name,
    request: Parameters<StreamingCalls[Name]>[0],
    signal: AbortSignal,
  ): Promise<Awaited<ReturnType<StreamingCalls[Name]>>> {
    const limit = AbortSignal.timeout(WAIT_MS);
    let peer: Peer<StreamingCalls>;
    try {
      peer = await untilAborted(this.#serving.promise, AbortSignal.any([signal, limit, this.#ending.signal]));
    } catch {
      signal.throwIfAborted();
      throw streamingGone();
    }
    return await peer.ask(name, request, signal);
  }

  async #keepRunning(): Promise<void> {
    const { log } = this.#parts;
    let pauses = backoff(RESTARTS);
    while (!this.#ending.signal.aborted) {
      const startedAtMs = performance.now();
      await this.#runOnce();
      if (this.#ending.signal.aborted) return;
      if (performance.now() - startedAtMs > PROVEN_MS) pauses = backoff(RESTARTS);
      const pauseMs = pauses.next().value;
      log.warn("streaming process ended; its streams are gone", { startsAgainInMs: Math.round(pauseMs) });
      await sleepMs(pauseMs, this.#ending.signal).catch(() => {});
    }
  }

  /** From a start to its end; never rejects. */
  async #runOnce(): Promise<void> {
    const { log, nodePath } = this.#parts;
    const { NODE_COMPILE_CACHE: cache } = process.env;
    const child = spawn(nodePath, [...NODE_FLAGS, PROGRAM_PATH], {
      stdio: ["ignore", "ignore", "inherit", "ipc"],
      serialization: "advanced",
      cwd: "/",
      env: { PATH: SYSTEM_PATH, LC_ALL: "C.UTF-8", ...(cache === undefined ? {} : { NODE_COMPILE_CACHE: cache }) },
    });
    this.#child = child;
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    child.once("exit", (exitCode, signalName) => {
      log.debug("streaming process exited", { pid: child.pid, exitCode, signalName });
      resolve();
    });
    child.once("error", (error) => {
      log.error("streaming process could not be started", { error });
      resolve();
    });
    const peer = new Peer<StreamingCalls>(child, {
      askAgent: async (request, signal) =>
        (await untilAborted(this.#answers.promise, signal)).askAgent(request, signal),
      untilEnded: async (subject, signal) =>
        (await untilAborted(this.#answers.promise, signal)).untilEnded(subject, signal),
    });
    const stop = (): void => this.#stop(child);
    this.#ending.signal.addEventListener("abort", stop, { once: true });
    try {
      await peer.ask(
        "start",
        this.#options,
        AbortSignal.any([AbortSignal.timeout(START_LIMIT_MS), this.#ending.signal]),
      );
      log.info("streaming process serves", { pid: child.pid });
      this.#serving.resolve(peer);
    } catch (error) {
      if (!this.#ending.signal.aborted) log.error("streaming process does not serve", { pid: child.pid, error });
      stop();
    }
    await ended;
    this.#ending.signal.removeEventListener("abort", stop);
    this.#serving = Promise.withResolvers();
    this.#child = undefined;
  }

  /** It ends by itself when its channel closes; one that does not is killed. */
  #stop(child: ChildProcess): void {
    if (child.connected) child.disconnect();
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_LIMIT_MS);
    child.once("exit", () => clearTimeout(timer));
    if (child.exitCode !== null || child.signalCode !== null) clearTimeout(timer);
  }
}
