// From what went wrong to what the kubelet is told: the only place that knows gRPC codes.

import { status } from "@grpc/grpc-js";
import { type Failure, VmletError } from "../model/failure.ts";

export interface RpcStatus {
  readonly code: status;
  /** For people, except the prefixes that the kubelet matches. */
  readonly details: string;
  /** Nobody foresaw it: the log wants its stack. */
  readonly isBug: boolean;
}

const CODE_OF = {
  SPEC_INVALID: status.INVALID_ARGUMENT,
  POD_NOT_FOUND: status.NOT_FOUND,
  MACHINE_NOT_FOUND: status.NOT_FOUND,
  IMAGE_NOT_FOUND: status.NOT_FOUND,
  PULL_NOT_FOUND: status.NOT_FOUND,
  IMAGE_REFERENCE_INVALID: status.INVALID_ARGUMENT,
  IMAGE_REFUSED: status.INVALID_ARGUMENT,
  IMAGE_DIGEST_MISMATCH: status.FAILED_PRECONDITION,
  IMAGE_UNTRUSTED: status.UNKNOWN, // the kubelet matches the message's prefix for UNKNOWN only
  IMAGE_SOURCE_REFUSED: status.FAILED_PRECONDITION, // refined by the HTTP status below
  IMAGE_SOURCE_UNAVAILABLE: status.UNKNOWN, // as IMAGE_UNTRUSTED
  NAME_TAKEN: status.ABORTED,
  WRONG_STATE: status.FAILED_PRECONDITION,
  DISK_FULL: status.RESOURCE_EXHAUSTED,
  NETWORK_FAILED: status.INTERNAL,
  NETWORK_NOT_CONFIGURED: status.UNAVAILABLE,
  HYPERVISOR_GONE: status.UNAVAILABLE,
  HYPERVISOR_FAILED: status.INTERNAL,
  HYPERVISOR_STUCK: status.UNAVAILABLE,
  DOMAIN_NOT_FOUND: status.FAILED_PRECONDITION,
  GUEST_LOST: status.UNAVAILABLE,
  AGENT_ABSENT: status.FAILED_PRECONDITION,
  AGENT_REFUSED: status.FAILED_PRECONDITION,
  TEMPLATE_INVALID: status.FAILED_PRECONDITION,
  CONFIG_INVALID: status.FAILED_PRECONDITION,
  TOOL_FAILED: status.INTERNAL,
  RECORD_BROKEN: status.INTERNAL,
  TIMED_OUT: status.DEADLINE_EXCEEDED,
  SUBSCRIBER_TOO_SLOW: status.RESOURCE_EXHAUSTED,
  STREAMING_GONE: status.UNAVAILABLE,
  STREAMING_BUSY: status.RESOURCE_EXHAUSTED, // the kubelet makes it a 429 with Retry-After
  NOT_IMPLEMENTED: status.UNIMPLEMENTED,
} as const satisfies Record<Failure["code"], status>;

/** gRPC sends the message as an HTTP/2 header: it must stay small. */
const MAX_DETAILS_CHARS = 4096;

/** What to answer for anything thrown. Says nothing of stacks; those are for the log. */
export function statusOf(error: unknown): RpcStatus {
  // An undo that failed hides what it undid for: `suppressed` is the first failure, `error` the undo's.
  if (error instanceof SuppressedError) return statusOf(error.suppressed);
  if (error instanceof VmletError)
    return { code: codeOf(error.failure), details: cut(prefixOf(error) + error.message), isBug: false };
  if (isNamed(error, "AbortError")) return { code: status.CANCELLED, details: "the caller went away", isBug: false };
  if (isNamed(error, "TimeoutError"))
    return { code: status.DEADLINE_EXCEEDED, details: "the time limit passed", isBug: false };
  return { code: status.INTERNAL, details: cut(error instanceof Error ? error.message : String(error)), isBug: true };
}

function codeOf(failure: Failure): status {
  if (failure.code !== "IMAGE_SOURCE_REFUSED") return CODE_OF[failure.code];
  if (failure.status === 404 || failure.status === 410) return status.NOT_FOUND;
  if (failure.status === 401 || failure.status === 403) return status.PERMISSION_DENIED;
  return CODE_OF.IMAGE_SOURCE_REFUSED;
}

/** kubelet: pkg/kubelet/images/image_manager.go compares with the texts of k8s.io/cri-api/pkg/errors. */
function prefixOf({ failure: { code } }: VmletError): string {
  if (code === "IMAGE_SOURCE_UNAVAILABLE") return "RegistryUnavailable: ";
  return code === "IMAGE_UNTRUSTED" ? "SignatureValidationFailed: " : "";
}

/** Both `AbortSignal`'s DOMException and Node's own errors carry it as their name. */
function isNamed(error: unknown, name: string): boolean {
  return error instanceof Error && error.name === name;
}

/** Well-formed, because gRPC percent-encodes it: half a surrogate pair would throw there, and the caller wait for ever. */
function cut(text: string): string {
  return (text.length <= MAX_DETAILS_CHARS ? text : `${text.slice(0, MAX_DETAILS_CHARS - 1)}…`).toWellFormed();
}
