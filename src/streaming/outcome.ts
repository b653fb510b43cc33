// How an exec or attach ended, in the words of the error channel.

import type { Outcome } from "./session.ts";

/** From version 4 on a metav1.Status in JSON, always; before it, text, and nothing when all went well. */
export function encodeOutcome(outcome: Outcome, { isStatus }: { isStatus: boolean }): string {
  if ("error" in outcome) {
    const text = `error executing command in container: ${messageOf(outcome.error)}`;
    return isStatus ? JSON.stringify(internalError(text)) : text;
  }
  if (outcome.exitCode === 0) return isStatus ? JSON.stringify({ metadata: {}, status: "Success" }) : "";
  const text = `command terminated with non-zero exit code: exit status ${outcome.exitCode}`;
  return isStatus ? JSON.stringify(nonZeroExit(outcome.exitCode, text)) : text;
}

/** kubectl and crictl take the exit code from the cause. */
function nonZeroExit(exitCode: number, message: string): object {
  return {
    metadata: {},
    status: "Failure",
    message,
    reason: "NonZeroExitCode",
    details: { causes: [{ reason: "ExitCode", message: String(exitCode) }] },
  };
}

function internalError(text: string): object {
  return {
    metadata: {},
    status: "Failure",
    message: `Internal error occurred: ${text}`,
    reason: "InternalError",
    details: { causes: [{ message: text }] },
    code: 500,
  };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
