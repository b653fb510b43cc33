// One exec: a client's streams joined to a command in the guest.

import type { GuestExec } from "../ports/guest-exec.ts";
import type { ExecStream } from "../ports/streaming.ts";
import { type Knock, openCommand } from "./handshake.ts";
import type { SessionOptions } from "./session.ts";

export interface ExecParts {
  readonly guestExec: GuestExec;
  readonly options: SessionOptions;
}

/** Resolves when it is over; a client that goes away ends the command. */
export async function serveExec(
  knock: Knock,
  { target, argv, wanted }: ExecStream,
  { guestExec, options }: ExecParts,
): Promise<void> {
  const session = await openCommand(knock, wanted, options);
  if (session === undefined) return;
  const outcome = await guestExec.run(target, { argv, isTty: wanted.tty }, session.streams, session.gone).then(
    (exitCode) => ({ exitCode }),
    (error: unknown) => ({ error }),
  );
  await session.finish(outcome);
}
