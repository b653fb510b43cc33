// One command line, with what it printed.

import { Readable, Writable } from "node:stream";
import { addCommands } from "../../../src/cli/commands.ts";
import type { Io } from "../../../src/cli/io.ts";
import { createProgram } from "../../../src/cli/program.ts";

export interface Ran {
  readonly stdout: string;
  readonly stderr: string;
  /** What the command rejected with; undefined: it succeeded. */
  readonly error: unknown;
}

export interface RunOptions {
  readonly stdin?: string;
  /** Both outputs are a terminal of that width. */
  readonly columns?: number;
  readonly signal?: AbortSignal;
}

class Kept extends Writable {
  text = "";
  readonly isTTY: boolean;
  readonly columns: number | undefined;

  constructor(columns: number | undefined) {
    super({ decodeStrings: false });
    this.isTTY = columns !== undefined;
    this.columns = columns;
  }

  override _write(chunk: unknown, _encoding: string, done: () => void): void {
    this.text += String(chunk);
    done();
  }
}

export async function runCli(argv: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const [stdout, stderr] = [new Kept(options.columns), new Kept(options.columns)];
  const signal = options.signal ?? AbortSignal.timeout(20_000);
  const io = { stdin: Readable.from([Buffer.from(options.stdin ?? "")]), stdout, stderr, signal } as unknown as Io;
  const nothing = async (): Promise<void> => {};
  const program = createProgram("1.2.3", { serve: nothing, router: nothing });
  addCommands(program, "1.2.3", io);
  const error = await program.parseAsync(argv, { from: "user" }).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return { stdout: stdout.text, stderr: stderr.text, error };
}
