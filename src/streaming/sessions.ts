// What the streaming process does for the daemon: gives out a URL, and serves whoever comes with it.

import type { GuestExec } from "../ports/guest-exec.ts";
import type { Logger } from "../ports/logger.ts";
import type { ForwardStream } from "../ports/streaming.ts";
import { serveAttach } from "./attach.ts";
import type { ConsoleInputs } from "./console-input.ts";
import { serveExec } from "./exec.ts";
import { type Knock, openForward } from "./handshake.ts";
import { forward } from "./port-forward.ts";
import type { DaemonCalls, StreamingCalls } from "./protocol.ts";
import type { SessionKind, StreamingServer } from "./server.ts";
import type { SessionOptions } from "./session.ts";

export interface SessionParts {
  readonly server: StreamingServer;
  readonly guestExec: GuestExec;
  readonly consoleInputs: ConsoleInputs;
  readonly daemon: DaemonCalls;
  readonly options: SessionOptions;
  readonly log: Logger;
}

export function sessionCalls(parts: SessionParts): Omit<StreamingCalls, "start" | "capture"> {
  const urlFor = async (kind: SessionKind, facts: object, serve: (knock: Knock) => Promise<void>): Promise<string> =>
    parts.server.urlFor({
      kind,
      open: async (request, socket, head) => {
        const startedAtMs = performance.now();
        parts.log.debug("session opened", { kind, ...facts });
        await serve({ request, socket, head });
        parts.log.debug("session ended", { kind, ...facts, tookMs: Math.round(performance.now() - startedAtMs) });
      },
    });
  return {
    exec: (stream) =>
      urlFor("exec", { machine: stream.target.machineId }, async (knock) => serveExec(knock, stream, parts)),
    attach: (stream) =>
      urlFor("attach", { machine: stream.machineId }, async (knock) => serveAttach(knock, stream, parts)),
    portForward: (stream) =>
      urlFor("portforward", { pod: stream.podId }, async (knock) => serveForward(knock, stream, parts)),
  };
}

async function serveForward(knock: Knock, stream: ForwardStream, { daemon, options }: SessionParts): Promise<void> {
  const under = new Set<Promise<void>>();
  const over = new AbortController();
  const session = await openForward(
    knock,
    stream.ports,
    (pair) => {
      const work = forward(pair, stream, over.signal).finally(() => under.delete(work));
      under.add(work);
    },
    options,
  );
  if (session === undefined) return;
  session.gone.addEventListener("abort", () => over.abort(session.gone.reason), { once: true });
  await daemon.untilEnded({ podId: stream.podId }, session.gone).catch(() => {}); // the client went first
  session.close();
  over.abort();
  await Promise.all(under);
}
