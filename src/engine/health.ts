// Whether the hypervisor answers, asked with a short limit, so that Status never hangs with it.

import type { HypervisorInfo } from "../ports/hypervisor.ts";
import type { Parts } from "./parts.ts";

/** The kubelet asks every 5 s and forgives a late answer for 30 s. */
const PROBE_LIMIT_MS = 2_000;

export type Health =
  | { readonly isReady: true; readonly info: HypervisorInfo }
  | { readonly isReady: false; readonly why: string };

export async function hypervisorHealth(
  { hypervisor }: Pick<Parts, "hypervisor">,
  signal: AbortSignal,
): Promise<Health> {
  try {
    const info = await hypervisor.probe(AbortSignal.any([signal, AbortSignal.timeout(PROBE_LIMIT_MS)]));
    return { isReady: true, info };
  } catch (error) {
    signal.throwIfAborted();
    const late = error instanceof DOMException && error.name === "TimeoutError";
    return { isReady: false, why: late ? `libvirtd did not answer within ${PROBE_LIMIT_MS} ms` : String(error) };
  }
}
