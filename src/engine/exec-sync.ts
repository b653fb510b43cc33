// ExecSync: one command in the guest, to its end.

import type { MachineId } from "../model/ids.ts";
import type { GuestOutput } from "../ports/guest-exec.ts";
import { guestArgvOf, guestTargetOf } from "./guest-target.ts";
import type { Parts } from "./parts.ts";

/**
 * Abort, and the command's limit, kill it in the guest.
 * @throws MACHINE_NOT_FOUND SPEC_INVALID; WRONG_STATE for a machine that does not run or a guest without a way in;
 *   `TimeoutError` when the limit passed
 */
export async function execSync(
  parts: Parts,
  machineId: MachineId,
  command: { readonly argv: readonly string[]; readonly limitMs?: number },
  signal: AbortSignal,
): Promise<GuestOutput> {
  const argv = guestArgvOf(parts, machineId, command.argv);
  return await parts.guests.capture(guestTargetOf(parts, machineId), { ...command, argv }, signal);
}
