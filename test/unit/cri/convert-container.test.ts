import { expect, test } from "vitest";
import { machineSpecOf } from "../../../src/cri/convert-container.ts";
import { ContainerConfig } from "../../../src/gen/runtime.ts";
import { podSpec } from "../engine/world.ts";

type Security = NonNullable<NonNullable<Parameters<typeof ContainerConfig.fromPartial>[0]["linux"]>["securityContext"]>;

const specOf = (securityContext: Security) =>
  machineSpecOf(
    ContainerConfig.fromPartial({ metadata: { name: "vm" }, image: { image: "x" }, linux: { securityContext } }),
    podSpec(),
  );

test("a group without a user is refused by name; with one it is not", () => {
  expect(() => specOf({ runAsGroup: { value: 1n } })).toThrow(/^config\.linux\.security_context\.run_as_group: /);
  expect(specOf({ runAsGroup: { value: 1n }, runAsUser: { value: 0n } }).name).toBe("vm");
  expect(specOf({ runAsGroup: { value: 1n }, runAsUsername: "nobody" }).name).toBe("vm");
});
