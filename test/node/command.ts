// Runs system tools for tests: their output, or an error that says what they said.

import { run } from "../../src/lib/spawn.ts";

/** What it printed. Rejects when it fails. */
export async function output(argv: readonly [string, ...string[]], signal: AbortSignal): Promise<string> {
  const [file, ...args] = argv;
  const done = await run(file, args, { maxOutputBytes: 8 << 20 }, signal);
  if (done.exitCode === 0) return done.stdout.toString("utf8");
  throw new Error(`${argv.join(" ")}: exit ${done.exitCode ?? done.signalName}: ${done.stderr.trim()}`);
}

/** Whether it ended with 0. */
export async function succeeds(argv: readonly [string, ...string[]], signal: AbortSignal): Promise<boolean> {
  const [file, ...args] = argv;
  return (await run(file, args, {}, signal)).exitCode === 0;
}
