import { expect, test } from "vitest";
import { type Fault, LibvirtFault } from "../../../src/libvirt/client/fault.ts";
import { isRefused, translated } from "../../../src/libvirt/errors.ts";
import type { Failure } from "../../../src/model/failure.ts";

const refused: Fault = { kind: "refused", procedure: "DOMAIN_RESUME", code: 55, domain: 10, level: 2 };

test.each<[Fault, Failure]>([
  [refused, { code: "HYPERVISOR_FAILED", procedure: "DOMAIN_RESUME", libvirtCode: 55, libvirtDomain: 10 }],
  [
    { kind: "gone", socketPath: "/s" },
    { code: "HYPERVISOR_GONE", socketPath: "/s" },
  ],
  [
    { kind: "stuck", procedure: "DOMAIN_RESUME", domain: "vm", isFirst: true },
    { code: "HYPERVISOR_STUCK", domain: "vm", procedure: "DOMAIN_RESUME" },
  ],
  [
    { kind: "late", procedure: "LIST", limitMs: 5 },
    { code: "TIMED_OUT", doing: "LIST", limitMs: 5 },
  ],
  [{ kind: "garbled" }, { code: "HYPERVISOR_FAILED", procedure: "rpc", libvirtCode: 39, libvirtDomain: 7 }],
  [{ kind: "unsendable" }, { code: "HYPERVISOR_FAILED", procedure: "rpc", libvirtCode: 39, libvirtDomain: 7 }],
])("%o becomes %o, with libvirt's message and the fault as its cause", (fault, failure) => {
  const original = new LibvirtFault(fault, "domain is not running");
  const error = translated(original);
  expect(error).toMatchObject({ name: "VmletError", failure, cause: original });
  expect(String(error)).toContain("domain is not running");
});

test("what is not the client's is thrown on as it is", () => {
  const reason = new Error("the caller went away");
  expect(translated(reason)).toBe(reason);
});

test("a refusal is known by its code", () => {
  const error = new LibvirtFault(refused, "domain is not running");
  expect(isRefused(error, 42, 55)).toBe(true);
  expect(isRefused(error, 42)).toBe(false);
  expect(isRefused(new LibvirtFault({ kind: "garbled" }, ""), 55)).toBe(false);
});
