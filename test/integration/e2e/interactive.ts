// crictl as a person at a terminal has it: it runs, is typed to, and is looked at.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";
import { shellQuote } from "../../../src/guest/shell.ts";
import { REPO_PATH } from "../../node/layout.ts";
import { poll } from "../../node/poll.ts";
import type { TestNode } from "../../node/test-node.ts";

export interface Interactive extends AsyncDisposable {
  readonly pid: number;
  type(text: string): void;
  /** All that it printed so far, on both of its outputs. */
  shown(): string;
  /** Waits until it has printed that. */
  shows(text: string): Promise<void>;
  /** Waits for its end; resolves to its exit code. */
  ended(): Promise<number | null>;
}

const LIMIT_MS = 60_000;
const CRICTL_PATH = join(REPO_PATH, ".cache/bin/crictl");

export function startCrictl(node: TestNode, args: readonly string[]): Interactive {
  return start([CRICTL_PATH, "--config", node.layout.crictlConfigPath, ...args], args);
}

/** On a terminal of its own, which util-linux's script makes. */
export function startCrictlOnTerminal(node: TestNode, args: readonly string[]): Interactive {
  const line = [CRICTL_PATH, "--config", node.layout.crictlConfigPath, ...args].map(shellQuote).join(" ");
  return start(["/usr/bin/script", "-qec", line, "/dev/null"], args);
}

/** Of a port-forward to `0:<port>`: where it listens. */
export async function forwardedPort(forward: Interactive): Promise<number> {
  await forward.shows("Forwarding from 127.0.0.1:");
  return Number(/127\.0\.0\.1:(\d+)/.exec(forward.shown())?.[1]);
}

/** What a server on this machine says first. */
export async function greeting(port: number, signal: AbortSignal): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  try {
    const [said] = (await once(socket, "data", { signal })) as [Buffer];
    return said.toString("latin1");
  } finally {
    socket.destroy();
  }
}

function start([file = "", ...argv]: readonly string[], args: readonly string[]): Interactive {
  const child = spawn(file, argv, {
    env: { HOME: "/root", PATH: "/usr/bin:/bin" },
    stdio: ["pipe", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => (output += chunk.toString("latin1")));
  }
  child.stdin.on("error", () => {}); // it may end before it read what was typed
  const end = new Promise<number | null>((resolve) => child.once("close", (code) => resolve(code)));
  const limited = async <T>(what: string, ask: () => T | undefined): Promise<T> => {
    try {
      return await poll(async () => ask(), { what, limitMs: LIMIT_MS, everyMs: 50 }, AbortSignal.timeout(2 * LIMIT_MS));
    } catch (error) {
      const tail = JSON.stringify(output.slice(-400));
      throw new Error(`crictl ${args[0]}: ${what}: not within ${LIMIT_MS} ms; it printed ${tail}`, { cause: error });
    }
  };
  return {
    pid: child.pid ?? 0,
    type: (text) => void child.stdin.write(text),
    shown: () => output,
    shows: async (text) =>
      void (await limited(`printing ${JSON.stringify(text)}`, () => output.includes(text) || undefined)),
    ended: async () => {
      await limited("its end", () => child.exitCode !== null || child.signalCode !== null || undefined);
      return await end;
    },
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await end;
    },
  };
}
