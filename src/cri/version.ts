import { readFileSync } from "node:fs";
import { z } from "zod";
import type { VersionRequest, VersionResponse } from "../gen/runtime.ts";
import type { Unary } from "./handler.ts";

const packageJson = z.object({ version: z.string() });

/** vmlet's own version, from package.json. */
const vmletVersion = (): string =>
  packageJson.parse(JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"))).version;

/** The kubelet hangs up when `version` is not 0.1.0. */
export const version = (): Unary<VersionRequest, VersionResponse> => {
  const runtimeVersion = vmletVersion();
  return () => ({ version: "0.1.0", runtimeName: "vmlet", runtimeVersion, runtimeApiVersion: "v1" });
};
