import {
  CgroupDriver,
  type RuntimeConfigRequest,
  type RuntimeConfigResponse,
  type UpdateRuntimeConfigRequest,
  type UpdateRuntimeConfigResponse,
} from "../gen/runtime.ts";
import type { Logger } from "../ports/logger.ts";
import type { Unary } from "./handler.ts";

export const runtimeConfig =
  (cgroupDriver: "systemd" | "cgroupfs"): Unary<RuntimeConfigRequest, RuntimeConfigResponse> =>
  () => ({ linux: { cgroupDriver: cgroupDriver === "systemd" ? CgroupDriver.SYSTEMD : CgroupDriver.CGROUPFS } });

/** The kubelet tells the node's pod CIDR; CNI plugins have it from their own configuration. */
export const updateRuntimeConfig =
  (log: Logger): Unary<UpdateRuntimeConfigRequest, UpdateRuntimeConfigResponse> =>
  ({ runtimeConfig: config }) => {
    log.info("node's pod CIDR told", { podCidr: config?.networkConfig?.podCidr });
    return {};
  };
