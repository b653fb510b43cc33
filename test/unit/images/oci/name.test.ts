import { expect, test } from "vitest";
import { ociTargetOf, registryHostOf } from "../../../../src/images/oci/name.ts";
import { parseReference } from "../../../../src/model/image-reference.ts";

const digest = `sha256:${"0".repeat(64)}`;
const target = (text: string) => ociTargetOf(parseReference(text), ["quay.io/containerdisks/", "docker.io/"]);

test.each([
  ["vmlet.dev/oci/quay.io/a/b:1", { registry: "quay.io", repository: "a/b", manifest: { tag: "1" } }],
  ["vmlet.dev/oci/host__5000/a", { registry: "host:5000", repository: "a", manifest: { tag: "latest" } }],
  [`vmlet.dev/oci/host/a:1@${digest}`, { registry: "host", repository: "a", manifest: { digest } }],
  [
    "vmlet.dev/oci/docker.io/debian",
    { registry: "docker.io", repository: "library/debian", manifest: { tag: "latest" } },
  ],
  [
    "quay.io/containerdisks/fedora:40",
    { registry: "quay.io", repository: "containerdisks/fedora", manifest: { tag: "40" } },
  ],
  ["debian:12", { registry: "docker.io", repository: "library/debian", manifest: { tag: "12" } }],
  ["quay.io/containerdisksx/fedora", undefined],
  ["vmlet.dev/https/host/a", undefined],
])("%s", (text, expected) => {
  expect(target(text)).toEqual(expected);
});

test.each(["vmlet.dev/oci/host", "vmlet.dev/oci/0x7f.1/a", "vmlet.dev/oci/host__99999/a", "vmlet.dev/oci/a__b/c"])(
  "%s names no registry and repository",
  (text) => {
    expect(() => target(text)).toThrow("host__5000");
  },
);

test.each([
  ["https://index.docker.io/v1/", "docker.io"],
  ["registry-1.docker.io", "docker.io"],
  ["https://Quay.io", "quay.io"],
  ["http://host:5000/v2/", "host:5000"],
  ["evil-docker.io", "evil-docker.io"],
])("credentials for %s are those of %s", (address, host) => {
  expect(registryHostOf(address)).toBe(host);
});
