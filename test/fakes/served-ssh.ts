// A guest that serves ssh, and our side of it: for tests of one with the other.

import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { SshExec } from "../../src/guest/exec/ssh-exec.ts";
import { LINK_DEFAULTS, type LinkOptions } from "../../src/guest/exec/ssh-link.ts";
import { SshGuest, type SshGuestOptions } from "./ssh-guest.ts";

export const soon = (): AbortSignal => AbortSignal.timeout(25_000);
export const QUICK = {
  ...LINK_DEFAULTS,
  silenceMs: 300,
  handshakeLimitMs: 2_000,
  reachLimitMs: 10_000,
  pauses: { firstMs: 5, maxMs: 20 },
};
/** For guests that will never let us in. */
export const IMPATIENT = { ...QUICK, handshakeLimitMs: 200, reachLimitMs: 1_000 };

export async function served(options: SshGuestOptions = {}, link: LinkOptions = QUICK) {
  const guest = await SshGuest.start(options);
  const exec = new SshExec(link);
  return {
    guest,
    exec,
    async run(argv: string[]): Promise<{ exitCode: number; stdout: string }> {
      const stdout = new PassThrough();
      const said = text(stdout);
      const exitCode = await exec.run(guest.target, { argv, isTty: false }, { stdout }, soon());
      return { exitCode, stdout: await said };
    },
    async [Symbol.asyncDispose](): Promise<void> {
      exec[Symbol.dispose]();
      await guest[Symbol.asyncDispose]();
    },
  };
}
