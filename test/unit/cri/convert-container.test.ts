import { expect, test } from "vitest";
import { containerOf, containerStatusOf, machineSpecOf } from "../../../src/cri/convert-container.ts";
import { ContainerConfig } from "../../../src/gen/runtime.ts";
import type { ImageDigest, MachineId, PodId } from "../../../src/model/ids.ts";
import { podSpec } from "../engine/world.ts";

type Security = NonNullable<NonNullable<Parameters<typeof ContainerConfig.fromPartial>[0]["linux"]>["securityContext"]>;

const specOf = (securityContext: Security) =>
  machineSpecOf(
    ContainerConfig.fromPartial({ metadata: { name: "vm" }, image: { image: "x" }, linux: { securityContext } }),
    podSpec(),
  );

test.each<[string, Parameters<typeof ContainerConfig.fromPartial>[0]]>([
  ["config.command[1]: has a NUL", { command: ["sh", "a\0b"] }],
  ["config.args[0]: has a NUL", { command: ["sh"], args: ["a\0b"] }],
  ["config.working_dir: has a NUL", { workingDir: "/\0" }],
  ['config.envs[1].value: of "B" has a NUL', { envs: [{ key: "A" }, { key: "B", value: Buffer.from("\0") }] }],
  ["config.log_path: ", { logPath: "x".repeat(4096) }],
  ["config.image.image: 5000 characters, at most 4096", { image: { image: "x".repeat(5000) } }],
  [
    "config.image.user_specified_image: 5000 characters",
    { image: { image: "x", userSpecifiedImage: "x".repeat(5000) } },
  ],
])("what cannot be is refused before anything is made: %s", (message, over) => {
  // A user makes the command longer by a word: the field is named as the caller spelled it.
  const linux = { securityContext: { runAsUser: { value: 7n } } };
  const config = ContainerConfig.fromPartial({ metadata: { name: "vm" }, image: { image: "x" }, linux, ...over });
  expect(() => machineSpecOf(config, podSpec())).toThrow(message);
});

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

const image = { image: "quay.io/vms/data:1" };
test.each<[string, Parameters<typeof ContainerConfig.fromPartial>[0]]>([
  ["config.devices[0]", { devices: [{ containerPath: "/dev/xvda", hostPath: "/dev/loop7", permissions: "mrw" }] }],
  ["config.CDI_devices[0]", { CDIDevices: [{ name: "vendor.com/gpu=0" }] }],
  [
    "config.mounts[1].image",
    {
      mounts: [
        { hostPath: "/a", containerPath: "/a" },
        { containerPath: "/data", image },
      ],
    },
  ],
])("%s, which no VM gets, is refused and not left out", (field, asked) => {
  const config = ContainerConfig.fromPartial({ metadata: { name: "vm" }, image: { image: "x" }, ...asked });
  expect(() => machineSpecOf(config, podSpec())).toThrow(`${field}: `);
});

test("a container that was created from an image's id has the image's name in its status, and the id in lists, as crictl wants it", () => {
  const imageDigest = `sha256:${"a".repeat(64)}` as ImageDigest;
  const image = { image: imageDigest, userSpecifiedImage: "quay.io/containerdisks/fedora:40" };
  const spec = machineSpecOf(ContainerConfig.fromPartial({ metadata: { name: "vm" }, image }), podSpec());
  const ids = { machineId: "1".repeat(64) as MachineId, podId: "2".repeat(64) as PodId };
  const facts = { ...ids, spec, imageDigest, createdAtMs: 1, domainName: "vm", notices: [] };
  const record = { facts, state: { at: "created" } } as const;
  expect(containerStatusOf(record, undefined)).toMatchObject({
    image: { image: image.userSpecifiedImage },
    imageRef: imageDigest,
    imageId: imageDigest,
  });
  expect(containerOf(record)).toMatchObject({ image: { image: imageDigest }, imageId: imageDigest });
});
