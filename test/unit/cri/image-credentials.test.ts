import { expect, test } from "vitest";
import { credentialsOf } from "../../../src/cri/convert-image.ts";

const nothing = { username: "", password: "", auth: "", serverAddress: "", identityToken: "", registryToken: "" };
const base64 = (text: string) => Buffer.from(text).toString("base64");

test.each([
  ["nothing at all", undefined, undefined],
  ["empty fields", nothing, undefined],
  ["a server and nothing for it", { ...nothing, serverAddress: "quay.io" }, undefined],
  ["user and password", { ...nothing, username: "me", password: "x" }, { username: "me", password: "x" }],
  ["auth, with a colon in the password", { ...nothing, auth: base64("me:x:y") }, { username: "me", password: "x:y" }],
  ["auth, padded with NULs", { ...nothing, auth: base64("me:x\0\0") }, { username: "me", password: "x" }],
  [
    "auth beside a user, who counts",
    { ...nothing, username: "a", auth: base64("b:c") },
    { username: "a", password: "" },
  ],
  ["auth that is none", { ...nothing, auth: base64("no colon") }, undefined],
  ["an identity token", { ...nothing, identityToken: "t" }, { identityToken: "t" }],
  [
    "a registry token and its server",
    { ...nothing, registryToken: "t", serverAddress: "https://quay.io" },
    { registryToken: "t", serverAddress: "https://quay.io" },
  ],
])("the kubelet's credentials: %s", (_what, auth, expected) => {
  expect(credentialsOf(auth)).toEqual(expected);
});
