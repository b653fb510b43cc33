// One attach: a client at a machine's serial console. Any number of them see the same and type on the same line.

import type { Readable } from "node:stream";
import { INPUT_LINE } from "../model/input-line.ts";
import type { AttachStream } from "../ports/streaming.ts";
import type { ConsoleInput, ConsoleInputs } from "./console-input.ts";
import { behindLine, copyConsole } from "./console-output.ts";
import { type Knock, openCommand } from "./handshake.ts";
import type { DaemonCalls } from "./protocol.ts";
import type { CommandSession, Outcome, SessionOptions } from "./session.ts";

export interface AttachParts {
  readonly consoleInputs: ConsoleInputs;
  readonly daemon: DaemonCalls;
  readonly options: SessionOptions;
}

/** Ctrl-]: as at `virsh console`. A terminal's other keys are the guest's. */
const DETACH_KEY = 0x1d;
/** Ctrl-D: the end of what a terminal in its usual mode gives to read. */
const END_KEY = "\u0004";
const NEWLINE = 10;

/** Resolves when it is over: the machine ended, the client left by the key, or went away. */
export async function serveAttach(knock: Knock, stream: AttachStream, parts: AttachParts): Promise<void> {
  const session = await openCommand(knock, stream.wanted, parts.options);
  if (session === undefined) return;
  const outcome = await attach(session, stream, parts).then(
    (): Outcome => ({ exitCode: 0 }),
    (error: unknown): Outcome => ({ error }),
  );
  await session.finish(outcome);
}

async function attach(session: CommandSession, stream: AttachStream, parts: AttachParts): Promise<void> {
  const { machineId, wanted, consoleFilePath: path, consoleSocketPath, pipes } = stream;
  const { stdin, stdout } = session.streams;
  const left = new AbortController();
  const signal = AbortSignal.any([session.gone, left.signal]);
  const over = new AbortController();
  const ended = over.signal;
  void parts.daemon.untilEnded({ machineId }, signal).then(
    () => over.abort(),
    () => {}, // the client went first
  );
  const input = stdin === undefined ? undefined : await parts.consoleInputs.open(machineId, consoleSocketPath);
  // A command that reads pipes is not there before its guest has booted, and the boot is nothing of its output.
  const offset = pipes === undefined ? undefined : await behindLine({ path, ended }, INPUT_LINE, signal);
  const outputs =
    stdout === undefined
      ? until(ended, signal)
      : copyConsole({ path, to: stdout, ended, ...(offset === undefined ? {} : { offset }) }, signal);
  if (stdin !== undefined && input !== undefined) {
    const how = { canDetach: wanted.tty, saysEnd: pipes?.isOnce ?? false };
    // When the input ends by itself, what is printed is still of interest.
    void typeIn(stdin, input, how, signal).then(
      (end) => end === "detached" && left.abort(),
      () => {}, // the client is gone, or the machine is
    );
  }
  try {
    await outputs;
  } catch (error) {
    if (!left.signal.aborted) throw error;
  }
}

async function typeIn(
  stdin: Readable,
  input: ConsoleInput,
  { canDetach, saysEnd }: { canDetach: boolean; saysEnd: boolean },
  signal: AbortSignal,
): Promise<"detached" | "ended"> {
  let last = NEWLINE;
  for await (const chunk of stdin as AsyncIterable<Buffer>) {
    const keyAt = canDetach ? chunk.indexOf(DETACH_KEY) : -1;
    if (keyAt !== 0) await input.write(keyAt === -1 ? chunk : chunk.subarray(0, keyAt), signal);
    if (keyAt !== -1) return "detached";
    last = chunk.at(-1) ?? last;
  }
  // In the middle of a line the first one only hands over what there is of it.
  if (saysEnd) await input.write(Buffer.from(last === NEWLINE ? END_KEY : END_KEY.repeat(2)), signal);
  return "ended";
}

async function until(ended: AbortSignal, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  for (const either of [ended, signal]) {
    if (either.aborted) resolve();
    either.addEventListener("abort", () => resolve(), { once: true });
  }
  await promise;
}
