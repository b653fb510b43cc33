// iproute2 in a pod's netns: arguments and batch lines in, JSON or an error out.

import type { Run } from "../lib/spawn.ts";
import { VmletError } from "../model/failure.ts";

export interface Iproute {
  ip(args: readonly string[], signal: AbortSignal): Promise<void>;
  /** All lines in one process; ends at the first that fails. What is asked for comes as JSON, a line for each. */
  ipBatch(lines: readonly string[], signal: AbortSignal): Promise<string>;
  /** As `ipBatch`. */
  tcBatch(lines: readonly string[], signal: AbortSignal): Promise<string>;
}

/**
 * Enters by nsenter and not by `ip -n`: that one takes names only, and makes a mount namespace each time.
 * Undefined `netnsPath`: the host's. Every call throws TOOL_FAILED with the program's own words.
 */
export function iprouteIn(netnsPath: string | undefined, run: Run): Iproute {
  const call = async (argv: readonly string[], stdin: string, signal: AbortSignal): Promise<string> => {
    const [program = "", ...args] = netnsPath === undefined ? argv : ["nsenter", `--net=${netnsPath}`, "--", ...argv];
    const { exitCode, stdout, stderr } = await run(program, args, { stdin }, signal);
    if (exitCode === 0) return stdout.toString("utf8");
    const what = [...argv, ...(stdin === "" ? [] : [`<<${JSON.stringify(stdin)}`])].join(" ");
    throw new VmletError(
      { code: "TOOL_FAILED", tool: argv[0] ?? "", exitCode },
      `${what} in ${netnsPath ?? "the host's netns"}: exit code ${exitCode}: ${stderr.trim().slice(0, 500)}`,
    );
  };
  const batch = async (argv: readonly string[], lines: readonly string[], signal: AbortSignal): Promise<string> =>
    await call([...argv, "-batch", "-"], `${lines.join("\n")}\n`, signal);
  return {
    ip: async (args, signal) => void (await call(["ip", ...args], "", signal)),
    ipBatch: (lines, signal) => batch(["ip", "-j", "-d"], lines, signal),
    tcBatch: (lines, signal) => batch(["tc", "-j"], lines, signal),
  };
}
