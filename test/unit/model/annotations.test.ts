import { expect, test } from "vitest";
import { parseAnnotations } from "../../../src/model/annotations.ts";

const parse = (name: string, value: string) => parseAnnotations({ [`vmlet.dev/${name}`]: value, other: "x" });
const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO/+";

test("a pod without annotations of ours gets the linux template, root for exec, no user-data and no keys", () => {
  expect(parseAnnotations({ "example.org/x": "y" })).toEqual({
    userData: "",
    sshKeys: [],
    template: "linux",
    execUser: "root",
    execWay: "auto",
    notices: [],
  });
});

test("user-data is kept to the byte", () => {
  const text = "#!/bin/sh\r\n\techo ]]> '\u{1f600}'\n";
  expect(parse("user-data", text).userData).toBe(text);
});

test("each line is one key; blank lines and comments are none", () => {
  const lines = [
    `${KEY} me@host`,
    "",
    "  # work",
    `${KEY}==`,
    `from="10.0.0.0/8",command="echo hi" ${KEY} Zoë's`,
    "ecdsa-sha2-nistp256 AAAA",
    "sk-ssh-ed25519@openssh.com AAAA x",
  ];
  expect(parse("ssh-keys", lines.join("\r\n")).sshKeys).toHaveLength(5);
});

test.each([
  "AAAA",
  "ssh-rsa",
  "ssh-rsa A_A",
  `${KEY} a\u007fb`,
  `${KEY} a\u0085b`,
  `${KEY} \u0000`,
  "-----BEGIN PRIVATE KEY-----",
])("what is not an OpenSSH public key is refused, naming the annotation: %j", (line) =>
  expect(() => parse("ssh-keys", line)).toThrow('annotations["vmlet.dev/ssh-keys"]'),
);

test.each(["../etc", "a/b", "A", " linux"])("a template named %j is refused", (name) => {
  expect(() => parse("template", name)).toThrow('annotations["vmlet.dev/template"]');
});

test("exec is for the user and by the way that the pod names, and for no others", () => {
  expect(parse("exec-user", "app_1.x-y").execUser).toBe("app_1.x-y");
  for (const bad of ["-x", "a b", "1a", "a\n", "$(x)", "a/b", "é", "a".repeat(32)]) {
    expect(() => parse("exec-user", bad)).toThrow('annotations["vmlet.dev/exec-user"]');
  }
  expect(["auto", "ssh", "agent"].map((way) => parse("exec-way", way).execWay)).toEqual(["auto", "ssh", "agent"]);
  expect(() => parse("exec-way", "telnet")).toThrow('annotations["vmlet.dev/exec-way"]');
});

test("a root size is a Kubernetes quantity in whole sectors", () => {
  expect(parse("root-size", "20Gi").rootSizeBytes).toBe(20 * 2 ** 30);
  expect(parse("root-size", "1001").rootSizeBytes).toBe(1024);
  expect(parse("root-size", "64Ti").rootSizeBytes).toBe(2 ** 46);
  for (const bad of ["0", "-1Gi", "big", "1Gi ", "65Ti", "7Pi", "8Ei"]) {
    expect(() => parse("root-size", bad)).toThrow('annotations["vmlet.dev/root-size"]');
  }
});

test("user-data that no file can hold is refused", () => {
  expect(() => parse("user-data", "a\0b")).toThrow("user-data");
  expect(() => parse("user-data", "x".repeat(300 << 10))).toThrow("user-data");
});

test("an annotation of ours that this version does not know is noticed by its name", () => {
  const { notices } = parse("vcpu-count", "2");
  expect(notices).toHaveLength(1);
  expect(notices[0]).toContain("vmlet.dev/vcpu-count");
});

test("keys without end are refused at once: all pods wait while one pod's keys are read", () => {
  const endless = "ssh-a A ".repeat(100_000);
  expect(() => parse("ssh-keys", `${endless}\u0007`)).toThrow(/ssh-keys"\]: key 1 is longer than 8192 characters/);
  expect(() => parse("ssh-keys", `${KEY}\n`.repeat(65))).toThrow(/ssh-keys"\]: 65 keys, at most 64/);
});
