import { status } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { statusOf } from "../../../src/cri/grpc-status.ts";
import { invalid, VmletError } from "../../../src/model/failure.ts";

const refused = (httpStatus: number): VmletError =>
  new VmletError(
    { code: "IMAGE_SOURCE_REFUSED", url: "https://a/b", status: httpStatus },
    `https://a/b: ${httpStatus}`,
  );

test("a bad field is INVALID_ARGUMENT and names the field", () => {
  expect(statusOf(invalid("linux.resources", "is too small"))).toMatchObject({
    code: status.INVALID_ARGUMENT,
    details: "linux.resources: is too small",
  });
});

test("an unknown pod is NOT_FOUND, for the kubelet tests for it", () => {
  expect(statusOf(new VmletError({ code: "POD_NOT_FOUND", podId: "a" }, "pod a is unknown")).code).toBe(
    status.NOT_FOUND,
  );
});

test("an unreachable registry is UNKNOWN with the prefix that the kubelet matches", () => {
  const error = new VmletError({ code: "IMAGE_SOURCE_UNAVAILABLE", url: "https://a" }, "https://a: refused");
  expect(statusOf(error)).toMatchObject({ code: status.UNKNOWN, details: "RegistryUnavailable: https://a: refused" });
});

test("an image that is not signed as it should be is UNKNOWN with the prefix that the kubelet matches", () => {
  const error = new VmletError({ code: "IMAGE_UNTRUSTED", image: "a" }, "image a: nobody signed it");
  expect(statusOf(error)).toMatchObject({
    code: status.UNKNOWN,
    details: "SignatureValidationFailed: image a: nobody signed it",
  });
});

test("a source that answers 404, 403 or 500 is told apart", () => {
  expect(statusOf(refused(404)).code).toBe(status.NOT_FOUND);
  expect(statusOf(refused(403)).code).toBe(status.PERMISSION_DENIED);
  expect(statusOf(refused(500)).code).toBe(status.FAILED_PRECONDITION);
});

test("a caller that went away is CANCELLED, a limit that passed is DEADLINE_EXCEEDED", async () => {
  expect(statusOf(AbortSignal.abort().reason).code).toBe(status.CANCELLED);
  const timedOut = AbortSignal.timeout(0);
  await new Promise((resolve) => timedOut.addEventListener("abort", resolve));
  expect(statusOf(timedOut.reason).code).toBe(status.DEADLINE_EXCEEDED);
});

test("an undo that failed as well does not hide the first failure", () => {
  const first = invalid("metadata", "is missing");
  const inner = new SuppressedError(new Error("undo 1"), first);
  expect(statusOf(new SuppressedError(new Error("undo 2"), inner)).code).toBe(status.INVALID_ARGUMENT);
});

test("a bug is INTERNAL and does not show its stack", () => {
  const { code, details } = statusOf(new TypeError("x is not a function"));
  expect(code).toBe(status.INTERNAL);
  expect(details).toBe("x is not a function");
});

test("anything may be thrown, and a long message is cut", () => {
  expect(statusOf(undefined)).toMatchObject({ code: status.INTERNAL, details: "undefined" });
  expect(statusOf(new Error("x".repeat(100_000))).details.length).toBe(4096);
});

test("what is told can be percent-encoded, wherever the message was cut: gRPC would not answer at all otherwise", () => {
  for (const lead of ["", "x"])
    expect(encodeURI(statusOf(new Error(lead + "🙂".repeat(5000))).details)).toContain("%F0");
  expect(encodeURI(statusOf(new Error("\ud83d")).details)).toBe("%EF%BF%BD");
});
