import { expect, test } from "vitest";
import { podSpecOf } from "../../../src/cri/convert-pod.ts";
import { PodSandboxConfig } from "../../../src/gen/runtime.ts";

const specOf = (name: string, hostname = "") =>
  podSpecOf(
    PodSandboxConfig.fromPartial({ metadata: { name, uid: "uid", namespace: "default", attempt: 0 }, hostname }),
    "",
  );

test.each([
  ["web-0", "web-0"],
  ["web.example", "web.example"],
  [`${"a".repeat(62)}-${"b".repeat(20)}`, "a".repeat(62)],
  ["PodSandbox_1", "PodSandbox-1"],
  ["a..b", "vm"],
  ["---", "vm"],
])("a pod %j that names no host is called %s in its guest", (name, hostname) => {
  expect(specOf(name).hostname).toBe(hostname);
});

test("a host name that is named must be one", () => {
  expect(specOf("web", "other").hostname).toBe("other");
  expect(() => specOf("web", "not a host")).toThrow(/^config\.hostname: /);
});
