// Answers that are no protobuf: they are their caller's to judge, and teach the router nothing.

import { afterEach, beforeEach, expect, test } from "vitest";
import { ListPodSandboxRequest, RunPodSandboxRequest } from "../../../src/gen/runtime.ts";
import { Site } from "./site.ts";

let site: Site;
beforeEach(async () => {
  site = await Site.open();
});
afterEach(async () => await site[Symbol.asyncDispose]());

const MACHINE = RunPodSandboxRequest.fromPartial({
  config: { metadata: { name: "one", uid: "1", namespace: "default" } },
  runtimeHandler: "vmlet",
});

test.each([
  ["a filter", { filter: { id: "nobody" } }],
  ["none", {}],
])("a list with %s that cannot be read passes, and what was known stays", async (_what, request) => {
  const { call } = site.client();
  const { podSandboxId } = await call("RunPodSandbox", MACHINE);
  const broken = Buffer.from("0a020aff", "hex");
  site.machines.answers.set("ListPodSandbox", () => broken);
  const bytes = ListPodSandboxRequest.encode(ListPodSandboxRequest.fromPartial(request)).finish();
  expect(await site.bytesOf("ListPodSandbox", Buffer.from(bytes))).toEqual(broken);
  await site.machines.kill();
  expect((await call("ListPodSandbox")).items).toMatchObject([{ id: podSandboxId }]);
});

test("the answer to a change that cannot be read passes", async () => {
  const broken = Buffer.from("0aff", "hex");
  site.machines.answers.set("RunPodSandbox", () => broken);
  const bytes = Buffer.from(RunPodSandboxRequest.encode(MACHINE).finish());
  expect(await site.bytesOf("RunPodSandbox", bytes)).toEqual(broken);
});
