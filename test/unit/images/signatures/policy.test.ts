// Which rule a name falls under, however it is spelt, and which keys are taken.

import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseConfig } from "../../../../src/config/load.ts";
import { readSignaturePolicy } from "../../../../src/images/signatures/policy.ts";
import { parseReference } from "../../../../src/model/image-reference.ts";
import { ImageSigner } from "../../../fakes/image-signer.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmlet-keys-"));
});
afterAll(async () => rm(folder, { recursive: true, force: true }));

const policyOf = async (signatures: object) =>
  readSignaturePolicy(parseConfig(JSON.stringify({ images: { signatures } }), "test", []).images.signatures);

describe("a rule for one spelling holds for all", () => {
  test.each([
    ["quay.io/vms/", "quay.io/vms/debian"],
    ["quay.io/vms/", "quay.io/vms/debian:12"],
    ["quay.io/vms/", `quay.io/vms/debian@sha256:${"0".repeat(64)}`],
    ["quay.io/vms/", "quay.io:443/vms/debian"],
    ["quay.io/vms/", "QUAY.IO/vms/debian"],
    ["quay.io/vms/", "vmlet.dev/oci/quay.io/vms/debian"],
    ["quay.io/vms/", "vmlet.dev/oci/quay.io__443/vms/debian"],
    ["quay.io:443/vms/", "quay.io/vms/debian"],
    ["registry.example.org:5000/", "vmlet.dev/oci/registry.example.org__5000/a"],
    ["docker.io/", "debian"],
    ["docker.io/library/", "vmlet.dev/oci/docker.io/debian"],
    ["docker.io/", "vmlet.dev/oci/index.docker.io/debian"],
    ["docker.io/", "vmlet.dev/oci/registry-1.docker.io/library/debian"],
    ["docker.io/", "registry-1.docker.io:443/library/debian"],
    ["vmlet.dev/https/a.example/", "vmlet.dev/https/a.example/x"],
    ["vmlet.dev/https/a.example/", "vmlet.dev/https/a.example__443/x"],
    ["vmlet.dev/http/a.example/", "vmlet.dev/http/a.example__80/x"],
    ["", "anything/at/all"],
  ])("%s covers %s", async (prefix, name) => {
    const policy = await policyOf({ rules: [{ prefix, action: "reject" }] });
    expect(() => policy.demandOn(parseReference(name))).toThrow("images.signatures.rules[0] rejects");
    expect(policy.mayBeUsed(parseReference(name), "any key")).toBe(false);
  });

  test.each([
    ["quay.io/vms/", "quay.io/vms2/debian"],
    ["quay.io/", "quay.io.example.org/debian"],
    ["quay.io/", "vmlet.dev/https/quay.io/debian"],
    ["quay.io/", "quay.io:8443/debian"],
    ["vmlet.dev/https/a.example/", "vmlet.dev/https/a.example__8443/x"],
  ])("%s does not cover %s", async (prefix, name) => {
    const policy = await policyOf({ rules: [{ prefix, action: "reject" }] });
    expect(policy.demandOn(parseReference(name))).toBeUndefined();
  });

  test("a rule by name is for that name, with every tag", async () => {
    const policy = await policyOf({ rules: [{ name: "vmlet.dev/oci/quay.io/vms/debian", action: "reject" }] });
    for (const name of ["quay.io/vms/debian", "quay.io:443/vms/debian:12"]) {
      expect(() => policy.demandOn(parseReference(name))).toThrow("rejects");
    }
    expect(policy.demandOn(parseReference("quay.io/vms/debian2"))).toBeUndefined();
    expect(policy.demandOn(parseReference("quay.io/vms/debian/x"))).toBeUndefined();
  });
});

test("the first rule that fits is used, then the default", async () => {
  const keyPaths = [await new ImageSigner().writeKey(folder)];
  const rules = [
    { name: "quay.io/vms/free", action: "accept" },
    { prefix: "quay.io/vms/", keyPaths },
  ];
  const policy = await policyOf({ rules, default: "reject" });
  expect(policy.demandOn(parseReference("quay.io/vms/free:1"))).toBeUndefined();
  const demand = policy.demandOn(parseReference("quay.io/vms/other"));
  expect(demand?.field).toBe("images.signatures.rules[1]");
  expect(demand?.keys.map(({ id }) => id)).toEqual([expect.stringMatching(/^sha256:[0-9a-f]{64}$/)]);
  expect(() => policy.demandOn(parseReference("quay.io/other"))).toThrow("images.signatures.default rejects");
});

const pem = (key: KeyObject): string =>
  key.export({ type: key.type === "private" ? "pkcs8" : "spki", format: "pem" }).toString();

describe("a key that cannot be used is found out at the start", () => {
  const p256 = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  test.each([
    ["a private key", pem(p256.privateKey), "is a private key"],
    ["two keys", pem(p256.publicKey) + pem(p256.publicKey), "is not one public key in PEM"],
    ["no key", "hello", "is not one public key in PEM"],
    ["a certificate", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "is not one public key in PEM"],
    ["a broken key", pem(p256.publicKey).replace("MFkw", "AAAA"), "is not a public key that can be read"],
    ["P-384", pem(generateKeyPairSync("ec", { namedCurve: "secp384r1" }).publicKey), "of the curve secp384r1"],
    ["short RSA", pem(generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey), "an RSA key of 1024 bits"],
    ["X25519", pem(generateKeyPairSync("x25519").publicKey), "of the kind x25519"],
    ["a large file", " ".repeat(70_000), "is too large"],
  ])("%s", async (_what, text, why) => {
    const path = join(folder, "bad.pub");
    await writeFile(path, text);
    const reading = policyOf({ rules: [{ prefix: "", keyPaths: [path] }] });
    await expect(reading).rejects.toMatchObject({
      failure: { code: "CONFIG_INVALID", path, field: "images.signatures.rules[0].keyPaths[0]" },
    });
    await expect(reading).rejects.toThrow(why);
  });

  test("a file that is not there", async () => {
    const reading = policyOf({ rules: [{ prefix: "", keyPaths: ["/nowhere/key.pub"] }] });
    await expect(reading).rejects.toThrow("/nowhere/key.pub (images.signatures.rules[0].keyPaths[0]) cannot be read");
  });

  test.each(["quay.io/vms/debian:12", "quay.io/UPPER"])("a rule by the name %s", async (name) => {
    const field = "images.signatures.rules[0].name";
    await expect(policyOf({ rules: [{ name, action: "accept" }] })).rejects.toMatchObject({
      failure: { code: "CONFIG_INVALID", field },
    });
  });
});
