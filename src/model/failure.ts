// Everything that can go wrong, as one closed set. The gRPC status of each is in cri/grpc-status.ts.

export type Failure =
  | { readonly code: "SPEC_INVALID"; readonly field: string }
  | { readonly code: "POD_NOT_FOUND"; readonly podId: string }
  | { readonly code: "MACHINE_NOT_FOUND"; readonly machineId: string }
  | { readonly code: "IMAGE_NOT_FOUND"; readonly image: string }
  | { readonly code: "PULL_NOT_FOUND"; readonly pullId: string }
  | { readonly code: "IMAGE_REFERENCE_INVALID"; readonly image: string }
  | { readonly code: "IMAGE_REFUSED"; readonly image: string; readonly finding: string }
  | { readonly code: "IMAGE_DIGEST_MISMATCH"; readonly image: string; readonly wanted: string; readonly found: string }
  | { readonly code: "IMAGE_UNTRUSTED"; readonly image: string }
  | { readonly code: "IMAGE_SOURCE_REFUSED"; readonly url: string; readonly status: number }
  | { readonly code: "IMAGE_SOURCE_UNAVAILABLE"; readonly url: string }
  | { readonly code: "NAME_TAKEN"; readonly name: string; readonly holder: string }
  | { readonly code: "WRONG_STATE"; readonly subject: string; readonly state: string }
  | { readonly code: "DISK_FULL"; readonly path: string; readonly neededBytes: number; readonly freeBytes: number }
  | { readonly code: "NETWORK_FAILED"; readonly plugin: string; readonly cniCode: number }
  | { readonly code: "NETWORK_NOT_CONFIGURED"; readonly folderPath: string }
  | { readonly code: "HYPERVISOR_GONE"; readonly socketPath: string }
  | {
      readonly code: "HYPERVISOR_FAILED";
      readonly procedure: string;
      readonly libvirtCode: number;
      readonly libvirtDomain: number;
    }
  | { readonly code: "HYPERVISOR_STUCK"; readonly domain: string; readonly procedure: string }
  | { readonly code: "DOMAIN_NOT_FOUND"; readonly domain: string }
  | { readonly code: "GUEST_LOST"; readonly machineId: string }
  | { readonly code: "AGENT_ABSENT"; readonly domain: string }
  | { readonly code: "AGENT_REFUSED"; readonly domain: string; readonly command: string }
  | { readonly code: "TEMPLATE_INVALID"; readonly path: string }
  | { readonly code: "CONFIG_INVALID"; readonly path: string; readonly field: string }
  | { readonly code: "TOOL_FAILED"; readonly tool: string; readonly exitCode: number | null }
  | { readonly code: "RECORD_BROKEN"; readonly path: string }
  | { readonly code: "TIMED_OUT"; readonly doing: string; readonly limitMs: number }
  | { readonly code: "SUBSCRIBER_TOO_SLOW"; readonly limit: number }
  | { readonly code: "STREAMING_GONE" }
  | { readonly code: "STREAMING_BUSY"; readonly limit: number }
  | { readonly code: "NOT_IMPLEMENTED"; readonly rpc: string };

/**
 * The one error of this program. `failure` is for code, `message` for people (what, which, why, what next),
 * `cause` for logs. A thrown Error that is not a VmletError is a bug.
 */
export class VmletError<F extends Failure = Failure> extends Error {
  override readonly name = "VmletError";
  readonly failure: F;

  constructor(failure: F, message: string, options?: ErrorOptions) {
    super(message, options);
    this.failure = failure;
  }
}

/** True when `error` is a VmletError with that code. */
export function failsWith<C extends Failure["code"]>(
  error: unknown,
  code: C,
): error is VmletError<Extract<Failure, { code: C }>> {
  return error instanceof VmletError && error.failure.code === code;
}

/** Bad input: names the field as the caller spells it, and the remedy. */
export function invalid(field: string, message: string, options?: ErrorOptions): VmletError {
  return new VmletError({ code: "SPEC_INVALID", field }, `${field}: ${message}`, options);
}
