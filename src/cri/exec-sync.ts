import type { Engine } from "../engine/engine.ts";
import type { ExecSyncRequest, ExecSyncResponse } from "../gen/runtime.ts";
import { findMachineId } from "./find.ts";
import type { Unary } from "./handler.ts";

/** Timers have 31 bits of milliseconds; who says more means no limit. */
const MAX_TIMEOUT_SECONDS = 7 * 24 * 3600;

/** No timeout or a negative one: no limit. The kubelet takes DEADLINE_EXCEEDED for a probe that took too long. */
export const execSync =
  (engine: Engine): Unary<ExecSyncRequest, ExecSyncResponse> =>
  async ({ containerId, cmd, timeout }, signal) => {
    const seconds = Number(timeout);
    const isLimited = seconds > 0 && seconds <= MAX_TIMEOUT_SECONDS;
    const command = { argv: cmd, ...(isLimited ? { limitMs: seconds * 1000 } : {}) };
    const { exitCode, stdout, stderr } = await engine.execSync(findMachineId(engine, containerId), command, signal);
    return { exitCode, stdout: Buffer.from(stdout), stderr: Buffer.from(stderr) };
  };
