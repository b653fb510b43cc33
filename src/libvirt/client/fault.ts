// What can go wrong between us and libvirtd, with libvirt's own words kept.

export type Fault =
  /** libvirt answered the call with an error: its code, domain and level (virterror.h), and message. */
  | {
      readonly kind: "refused";
      readonly procedure: string;
      readonly code: number;
      readonly domain: number;
      readonly level: number;
    }
  /** No connection, or it died before the answer; whether the call was carried out is then unknown. */
  | { readonly kind: "gone"; readonly socketPath: string }
  /** A domain does not answer: this call passed its limit (`isFirst`), or an earlier one did. */
  | { readonly kind: "stuck"; readonly procedure: string; readonly domain: string; readonly isFirst: boolean }
  /** A call on no domain in particular passed its limit, or found no free slot within it. */
  | { readonly kind: "late"; readonly procedure: string; readonly limitMs: number }
  /** What came is not libvirt's protocol, or not within its limits. */
  | { readonly kind: "garbled" }
  /** What we were asked to send does not fit the protocol. */
  | { readonly kind: "unsendable" };

/** The one error of the client. */
export class LibvirtFault<F extends Fault = Fault> extends Error {
  override readonly name = "LibvirtFault";
  readonly fault: F;

  constructor(fault: F, message: string, options?: ErrorOptions) {
    super(message, options);
    this.fault = fault;
  }
}

export function garbled(message: string): LibvirtFault {
  return new LibvirtFault({ kind: "garbled" }, `libvirt protocol: ${message}`);
}

export function gone(socketPath: string, why: string, options?: ErrorOptions): LibvirtFault {
  return new LibvirtFault({ kind: "gone", socketPath }, `libvirtd on ${socketPath}: ${why}`, options);
}
