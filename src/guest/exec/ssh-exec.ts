// Commands by ssh: terminals, input, resizes, any amount of output, many at once on one connection a guest.

import { VmletError } from "../../model/failure.ts";
import type { MachineId } from "../../model/ids.ts";
import type { GuestExec, GuestTarget, TerminalSizes } from "../../ports/guest-exec.ts";
import { commandLine, ENTER_AND_EXEC, LOAD_ENVIRONMENT, limited } from "./command.ts";
import { MARK_SCRIPT } from "./session-mark.ts";
import { isUnsent, type SshConnection, type Started, type TerminalRequest } from "./ssh-connection.ts";
import { LINK_DEFAULTS, type LinkOptions, SshLink } from "./ssh-link.ts";
import { SshSession, type Terminal } from "./ssh-session.ts";
import { closed, reasonOf } from "./ways.ts";

const RUN_SCRIPT = [MARK_SCRIPT, LOAD_ENVIRONMENT, ENTER_AND_EXEC].join("\n");
/** What containers get. */
const TERM = "xterm";
const USUAL_SIZE = { columns: 80, rows: 24 };
/** Of a client that tells none. */
const UNSIZED: TerminalSizes = { latest: undefined, listen: () => {} };
/** A connection may be lost at the moment that it is used; three in a row are no accident. */
const START_TRIES = 3;

export class SshExec implements GuestExec, Disposable {
  readonly #options: LinkOptions;
  readonly #links = new Map<MachineId, SshLink>();

  constructor(options: LinkOptions = LINK_DEFAULTS) {
    this.#options = options;
  }

  run: GuestExec["run"] = async (target, { argv, isTty, limitMs }, streams, asked) => {
    asked.throwIfAborted();
    const line = commandLine(RUN_SCRIPT, [target.workingDir ?? "/", ...argv]);
    const sizes = isTty ? (streams.sizes ?? UNSIZED) : undefined;
    const { connection, started, terminal } = await this.#start(target, line, sizes, asked);
    const signal = limited(asked, limitMs);
    using session = new SshSession(connection, started, terminal);
    try {
      const exitCode = await session.run(streams, signal);
      if (exitCode !== undefined) return exitCode;
    } catch (error) {
      if (signal.aborted) await session.kill();
      signal.throwIfAborted();
      throw lost(target, error);
    }
    throw lost(target, new Error("the guest did not say how it ended"));
  };

  [Symbol.dispose](): void {
    for (const link of this.#links.values()) link[Symbol.dispose]();
    this.#links.clear();
  }

  async #start(
    target: GuestTarget,
    line: string,
    sizes: TerminalSizes | undefined,
    signal: AbortSignal,
  ): Promise<{ connection: SshConnection; started: Started; terminal: Terminal | undefined }> {
    for (let left = START_TRIES; ; left -= 1) {
      const connection = await this.#linkOf(target).connect(signal);
      try {
        const terminal = sizes && { sizes, asked: terminalOf(sizes) };
        return { connection, started: await connection.exec(line, terminal?.asked, signal), terminal };
      } catch (error) {
        signal.throwIfAborted();
        if (!connection.ended.aborted)
          throw closed(target, `its ssh server gives no session: ${reasonOf(error)}`, error);
        if (!isUnsent(error) || left <= 1) throw lost(target, error);
      }
    }
  }

  #linkOf(target: GuestTarget): SshLink {
    const known = this.#links.get(target.machineId);
    if (known !== undefined) return known;
    for (const [machineId, { isIdle }] of this.#links) if (isIdle) this.#links.delete(machineId);
    const link = new SshLink(target, this.#options);
    this.#links.set(target.machineId, link);
    return link;
  }
}

function terminalOf({ latest: { columns: cols, rows } = USUAL_SIZE }: TerminalSizes): TerminalRequest {
  return { term: TERM, cols, rows };
}

function lost({ machineId }: GuestTarget, cause: unknown): VmletError {
  const message = `container ${machineId}: the command's end is not known, the connection to its guest was lost: ${reasonOf(cause)}`;
  return new VmletError({ code: "GUEST_LOST", machineId }, message, { cause });
}
