// The client's faults as failures of the program; libvirt's own words stay in the message and the cause.

import { VmletError } from "../model/failure.ts";
import { LibvirtFault } from "./client/fault.ts";

/** VIR_ERR_*, virterror.h */
export const LIBVIRT_ERROR = {
  internalError: 1,
  invalidArgument: 8,
  xmlError: 27,
  systemError: 38,
  noDomain: 42,
  operationInvalid: 55,
  configUnsupported: 67,
  argumentUnsupported: 74,
  agentUnresponsive: 86,
  xmlInvalidSchema: 92,
} as const;

/** VIR_FROM_RPC */
const RPC_DOMAIN = 7;
/** VIR_ERR_RPC */
const RPC_CODE = 39;

/** True when libvirt answered with one of these codes. */
export function isRefused(error: unknown, ...codes: readonly number[]): boolean {
  return error instanceof LibvirtFault && error.fault.kind === "refused" && codes.includes(error.fault.code);
}

/** True when the domain's QEMU does not answer libvirt. */
export function isStuck(error: unknown): boolean {
  return error instanceof LibvirtFault && error.fault.kind === "stuck";
}

/** What to throw instead of `error`; anything that is not the client's is thrown on as it is. */
export function translated(error: unknown): unknown {
  return error instanceof LibvirtFault ? failureOf(error) : error;
}

function failureOf(error: LibvirtFault): VmletError {
  const { fault, message } = error;
  const options = { cause: error };
  switch (fault.kind) {
    case "gone":
      return new VmletError({ code: "HYPERVISOR_GONE", socketPath: fault.socketPath }, message, options);
    case "stuck": {
      const { domain, procedure } = fault;
      return new VmletError({ code: "HYPERVISOR_STUCK", domain, procedure }, message, options);
    }
    case "late":
      return new VmletError({ code: "TIMED_OUT", doing: fault.procedure, limitMs: fault.limitMs }, message, options);
    case "refused": {
      const { procedure, code: libvirtCode, domain: libvirtDomain } = fault;
      return new VmletError(
        { code: "HYPERVISOR_FAILED", procedure, libvirtCode, libvirtDomain },
        `libvirt refused ${procedure}: ${message}`,
        options,
      );
    }
    case "garbled":
    case "unsendable": {
      const origin = { procedure: "rpc", libvirtCode: RPC_CODE, libvirtDomain: RPC_DOMAIN };
      return new VmletError({ code: "HYPERVISOR_FAILED", ...origin }, message, options);
    }
  }
}
