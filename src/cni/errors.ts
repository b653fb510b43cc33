// What went wrong in CNI, in our words.

import { errorCodeOf } from "../lib/error-code.ts";
import { VmletError } from "../model/failure.ts";

/** `cniCode` 0: the plugin gave none, because it hung, crashed, is missing or printed garbage. */
export function pluginFailed(plugin: string, message: string, cniCode = 0, options?: ErrorOptions): VmletError {
  return new VmletError({ code: "NETWORK_FAILED", plugin, cniCode }, `CNI plugin ${plugin}: ${message}`, options);
}

export function notConfigured(folderPath: string, message: string): VmletError {
  return new VmletError({ code: "NETWORK_NOT_CONFIGURED", folderPath }, message);
}

/** True for a system error of that code: `ENOENT`, `ETXTBSY`. */
export function isSystemError(error: unknown, code: string): boolean {
  return errorCodeOf(error) === code;
}
