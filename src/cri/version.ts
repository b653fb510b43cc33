import type { VersionRequest, VersionResponse } from "../gen/runtime.ts";
import { vmletVersion } from "../lib/version.ts";
import type { Unary } from "./handler.ts";

/** The kubelet hangs up when `version` is not 0.1.0. */
export const version = (): Unary<VersionRequest, VersionResponse> => {
  const runtimeVersion = vmletVersion();
  return () => ({ version: "0.1.0", runtimeName: "vmlet", runtimeVersion, runtimeApiVersion: "v1" });
};
