// Where a machine's console is and where its log goes.

import { dirname } from "node:path";
import type { ConsoleLogRequest } from "../ports/console-log.ts";
import type { MachineRecord } from "../ports/pod-store.ts";
import type { Parts } from "./parts.ts";

export function consoleLogRequestOf(
  { pods, store }: Pick<Parts, "pods" | "store">,
  { facts: { machineId, podId, spec } }: MachineRecord,
): ConsoleLogRequest {
  const { consoleFilePath, consolePositionPath: positionPath, initReportPath } = store.pathsOf(podId, machineId);
  const { logPath } = spec;
  const logFolderPath = pods.findPod(podId)?.facts.spec.logFolderPath || dirname(logPath); // its record may be broken
  return { machineId, consoleFilePath, positionPath, initReportPath, logPath, logFolderPath };
}
