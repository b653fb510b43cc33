// One command on an SSH connection: its streams, its terminal, its end.

import type { Readable } from "node:stream";
import type { ClientChannel } from "ssh2";
import { untilAborted } from "../../lib/keyed-lock.ts";
import { undoSignal } from "../../lib/undo.ts";
import type { GuestStreams, TerminalSize, TerminalSizes } from "../../ports/guest-exec.ts";
import { commandLine, KILL_SESSION } from "./command.ts";
import { SessionMark } from "./session-mark.ts";
import { Sink } from "./sink.ts";
import type { SshConnection, Started, TerminalRequest } from "./ssh-connection.ts";

/** A command that was just started tells its session soon, or is none of ours. */
const MARK_LIMIT_MS = 3_000;
const KILL_LIMIT_MS = 5_000;

export interface Terminal {
  readonly sizes: TerminalSizes;
  /** What the guest was asked for. */
  readonly asked: TerminalRequest;
}

export class SshSession implements Disposable {
  readonly #connection: SshConnection;
  readonly #channel: ClientChannel;
  readonly #exitCode: () => number | undefined;
  readonly #hasTerminal: boolean;
  readonly #mark = new SessionMark();
  readonly #closing = new AbortController();

  constructor(connection: SshConnection, { channel, exitCode }: Started, terminal: Terminal | undefined) {
    this.#connection = connection;
    this.#channel = channel;
    this.#exitCode = exitCode;
    this.#hasTerminal = terminal !== undefined;
    if (terminal !== undefined) this.#follow(terminal);
  }

  /**
   * Resolves to the exit code when the outputs have taken everything; undefined: the guest did not say.
   * @throws the reason of the connection's end
   */
  async run({ stdin, stdout, stderr }: GuestStreams, signal: AbortSignal): Promise<number | undefined> {
    const [out, err] = [new Sink(stdout), new Sink(stderr)];
    const over = AbortSignal.any([signal, this.#connection.ended, this.#closing.signal]);
    const outputs = this.#copy(out, err, over);
    if (stdin === undefined) this.#channel.end();
    else void this.#feed(stdin, over);
    await untilAborted(outputs, over);
    await Promise.all([out.end(over), err.end(over)]);
    return this.#exitCode();
  }

  /** Ends the command with all of its session, wherever it hangs; never throws. */
  async kill(): Promise<void> {
    const signal = AbortSignal.any([undoSignal(KILL_LIMIT_MS), this.#connection.ended]);
    try {
      const known = AbortSignal.any([signal, AbortSignal.timeout(MARK_LIMIT_MS)]);
      const session = await untilAborted(this.#mark.session, known);
      if (session === undefined) return;
      const { channel } = await this.#connection.exec(commandLine(KILL_SESSION, [session]), undefined, signal);
      const { promise: done, resolve } = Promise.withResolvers<void>();
      channel.on("close", () => resolve()).resume();
      channel.stderr.resume();
      channel.end();
      await untilAborted(done, signal);
    } catch {
      // The guest does not answer any more, or the command has told no session: then it never began.
    }
  }

  [Symbol.dispose](): void {
    this.#closing.abort();
    this.#connection.leave(this.#channel);
  }

  #follow({ sizes, asked }: Terminal): void {
    const tell = ({ rows, columns }: TerminalSize): void => this.#channel.setWindow(rows, columns, 0, 0);
    sizes.listen(tell);
    const { latest } = sizes; // perhaps newer than what was asked for
    if (latest !== undefined && (latest.rows !== asked.rows || latest.columns !== asked.cols)) tell(latest);
  }

  /** Resolves when the channel is closed and all that came by it was offered. */
  async #copy(out: Sink, err: Sink, over: AbortSignal): Promise<void> {
    const channel = this.#channel;
    let blocked = 0;
    // Both or none: they share one window, which ssh2 opens again when either is read.
    const flow = (): void => {
      for (const each of [channel, channel.stderr]) void (blocked > 0 ? each.pause() : each.resume());
    };
    const give = (sink: Sink, chunk: Buffer): void => {
      if (chunk.length === 0 || sink.offer(chunk)) return;
      blocked += 1;
      flow();
      sink.drained(over).then(
        () => {
          blocked -= 1;
          flow();
        },
        () => {}, // it is over
      );
    };
    const ends = [
      this.#ended(channel, (chunk) => give(out, chunk), { isMarked: this.#hasTerminal }),
      this.#ended(channel.stderr, (chunk) => give(err, chunk), { isMarked: !this.#hasTerminal }),
    ];
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    channel.once("close", () => resolve());
    await Promise.all([closed, ...ends]);
  }

  async #ended(from: Readable, take: (chunk: Buffer) => void, { isMarked }: { isMarked: boolean }): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    from.on("data", (chunk: Buffer) => take(isMarked ? this.#mark.strip(chunk) : chunk));
    from.once("end", () => {
      if (isMarked) take(this.#mark.end());
      resolve();
    });
    await promise;
  }

  /** Never rejects. Leaves off when the command is over, whether or not its input is. */
  async #feed(stdin: Readable, over: AbortSignal): Promise<void> {
    const channel = this.#channel;
    // A terminal echoes: what is typed before the mark was said would stand before it.
    if (this.#hasTerminal) await untilAborted(this.#mark.session, over).catch(() => {});
    if (over.aborted) return;
    const onData = (chunk: Buffer): void => {
      stdin.pause();
      this.#write(chunk, over).then(
        () => stdin.resume(),
        () => {}, // it is over
      );
    };
    const onEnd = (): void => void channel.end();
    stdin.on("data", onData).once("end", onEnd).once("close", onEnd).on("error", onEnd);
    if (stdin.readableEnded || stdin.destroyed) onEnd();
    const leave = (): void => {
      stdin.off("data", onData).off("end", onEnd).off("close", onEnd);
      stdin.pause();
    };
    over.addEventListener("abort", leave, { once: true });
  }

  /** Resolves when the guest's ssh server has room for more. */
  async #write(chunk: Buffer, over: AbortSignal): Promise<void> {
    const { promise: sent, resolve } = Promise.withResolvers<void>();
    this.#channel.write(chunk, () => resolve()); // ssh2 never calls back on a channel that is closed
    await untilAborted(sent, over);
    await this.#connection.room(over);
  }
}
