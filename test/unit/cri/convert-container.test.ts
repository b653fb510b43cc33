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

test("a user, a group and more groups are whom the commands run as; root alone is nobody special", () => {
  const groups = { supplementalGroups: [5n, 6n] };
  expect(specOf({ runAsUser: { value: 1001n }, runAsGroup: { value: 2n }, ...groups }).runAs).toEqual({
    user: "1001",
    gid: 2,
    groups: [5, 6],
  });
  expect(specOf({ runAsUsername: "nobody" }).runAs).toEqual({ user: "nobody", groups: [] });
  expect(specOf(groups).runAs).toEqual({ user: "0", groups: [5, 6] });
  expect(specOf({ runAsUser: { value: 0n }, runAsGroup: { value: 0n } })).not.toHaveProperty("runAs");
  expect(specOf({})).not.toHaveProperty("runAs");
});

test.each<[string, Security]>([
  ["run_as_group", { runAsGroup: { value: 1n } }],
  ["run_as_user", { runAsUser: { value: -1n } }],
  ["run_as_user", { runAsUser: { value: 1n << 32n } }],
  ["run_as_username", { runAsUsername: "a; reboot" }],
  ["supplemental_groups[1]", { supplementalGroups: [1n, -2n] }],
])("%s is refused by name when it cannot be", (field, security) => {
  expect(() => specOf(security)).toThrow(`config.linux.security_context.${field}: `);
});
