// Where a machine's console is and where its log goes.

import type { ConsoleLogRequest } from "../ports/console-log.ts";
import type { MachineRecord } from "../ports/pod-store.ts";
import type { Parts } from "./parts.ts";

export function consoleLogRequestOf(
  { store }: Pick<Parts, "store">,
  { facts: { machineId, podId, spec } }: MachineRecord,
): ConsoleLogRequest {
  const { consoleFilePath, consolePositionPath: positionPath, initReportPath } = store.pathsOf(podId, machineId);
  return { machineId, consoleFilePath, positionPath, initReportPath, logPath: spec.logPath };
}
