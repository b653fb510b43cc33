// CNI plugins that fail, hang or talk nonsense: the pod does not come up, the kubelet hears whose fault it is, and
// everything that the chain had made is gone.

import { chmod, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { ListPodSandboxRequest, StatusRequest } from "../../../src/gen/runtime.ts";
import { poll } from "../../node/poll.ts";
import { removePods } from "../../node/teardown.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { refusalOf, traces } from "./refusals.ts";
import { podConfigOf } from "./vm-pod.ts";

const suite = AbortSignal.timeout(300_000);
/** The good plugins have no more than those that hang: a busy machine may hold them up for seconds. */
const PLUGIN_LIMIT_MS = 8_000;
const folderPath = `/run/vmlet-plugins-${process.pid}`;
const callsPath = join(folderPath, "calls");
let node: TestNode;
let good = "";
let before: string[] = [];

beforeAll(async () => {
  await mkdir(folderPath);
  const cni = { binFolderPaths: [folderPath, "/opt/cni/bin", "/usr/lib/cni"], pluginLimitMs: PLUGIN_LIMIT_MS };
  node = await startTestNode({ config: { cni } }, suite);
  good = await readFile(configPath(), "utf8");
  await run("warm-up").then(remove); // makes the bridge and the folders that stay
});
afterAll(async () => {
  await node[Symbol.asyncDispose]();
  await rm(folderPath, { recursive: true });
});
beforeEach(async () => {
  await writeFile(configPath(), good);
  for (const path of [callsPath, join(folderPath, "broken")]) await rm(path, { force: true });
  await removePods(node.layout, suite); // of tests that failed
  before = await traces(node, suite);
});

const configPath = (): string => join(node.layout.cniFolderPath, "10-vmlet.conflist");

async function run(name: string): Promise<string> {
  const request = { config: podConfigOf(node, name), runtimeHandler: "vmlet" };
  return (await node.cri.runtime.runPodSandbox(request, suite)).podSandboxId;
}

async function remove(podSandboxId: string): Promise<void> {
  await node.cri.runtime.stopPodSandbox({ podSandboxId }, suite);
  await node.cri.runtime.removePodSandbox({ podSandboxId }, suite);
}

/** Puts a plugin behind the real ones: it notes its calls, then does `body`; its DEL succeeds unless `body` ends it. */
async function addPlugin(body: string): Promise<void> {
  const path = join(folderPath, "last");
  const lines = ["#!/bin/sh", `echo "$CNI_COMMAND $CNI_NETNS" >> ${callsPath}`, body, '[ "$CNI_COMMAND" = DEL ]', ""];
  await writeFile(path, lines.join("\n"));
  await chmod(path, 0o755);
  const list = JSON.parse(good) as { plugins: object[] };
  await writeFile(configPath(), JSON.stringify({ ...list, plugins: [...list.plugins, { type: "last" }] }));
}

const calls = async (): Promise<string[]> => (await readFile(callsPath, "utf8")).trim().split("\n");
const onAdd = (command: string): string => `if [ "$CNI_COMMAND" = ADD ]; then ${command}; fi`;
const listed = async (): Promise<readonly unknown[]> =>
  (await node.cri.runtime.listPodSandbox(ListPodSandboxRequest.fromPartial({}), suite)).items;

test.each([
  [
    "fails in its own words",
    `echo '{"code": 11, "msg": "no more ports", "details": "ask again"}'; exit 1`,
    /plugin last: ADD failed with code 11: no more ports: ask again/,
  ],
  ["fails without a word", "exit 3", /last: ADD ended with exit code 3 and no CNI error: it printed nothing/],
  ["is killed", "kill -9 $$", /last: ADD ended with signal SIGKILL/],
  ["prints garbage", "echo '<html>502</html>'; exit 0", /last: ADD printed what is not a CNI result/],
  ["prints nothing", "exit 0", /last: ADD printed what is not a CNI result/],
  ["prints for ever", "exec yes", /last: ADD (printed more than 1048576 bytes|ran past 8000 ms)/],
  [
    "gives an address that is none",
    `echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.1/24; reboot"}]}'; exit 0`,
    /last: .*ips\.0\.address: must be an address/,
  ],
  ["gives no address", `echo '{"cniVersion": "1.0.0"}'; exit 0`, /last: ADD gave eth0 no IP address/],
  [
    "gives a MAC that is another line for a tool",
    `printf '{"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "x", "mac": "02:00:00:00:00:01\\\\nlink delete lo"}]}'; exit 0`,
    /last: .*must be a MAC address/,
  ],
  ["hangs", "exec sleep 1000", /last: ADD ran past 8000 ms and was killed/],
  ["leaves a child that holds its pipes", "sleep 1000 & sleep 1000", /last: ADD ran past 8000 ms and was killed/],
  [
    "floods its error output",
    "head -c 5000000 /dev/zero | tr '\\0' 'e' >&2; exit 1",
    /last: ADD ended with exit code 1 and no CNI error: e+$/,
  ],
])("a plugin that %s is named, and what the others did is undone", async (_what, command, details) => {
  await addPlugin(onAdd(command));
  expect(await refusalOf(run("broken"))).toEqual({ code: status.INTERNAL, details: expect.stringMatching(details) });
  const [add = "", del] = await calls();
  const netnsPath = add.slice("ADD ".length);
  expect(netnsPath).toMatch(/^\/run\/netns\/vmlet-[0-9a-f]{12}$/);
  expect(del).toBe(`DEL ${netnsPath}`);
  await expect(stat(netnsPath)).rejects.toMatchObject({ code: "ENOENT" });
  expect(await listed()).toEqual([]);
  expect(await traces(node, suite)).toEqual(before);
});

test("a plugin whose DEL fails keeps the pod listed until a later Stop succeeds", async () => {
  await addPlugin(`if [ -e ${folderPath}/broken ]; then exit 1; fi\n${onAdd("cat > /dev/null; exit 1")}`);
  await writeFile(join(folderPath, "broken"), "");
  expect((await refusalOf(run("stuck"))).code).toBe(status.INTERNAL);
  const [{ id } = { id: "" }] = (await node.cri.runtime.listPodSandbox(ListPodSandboxRequest.fromPartial({}), suite))
    .items;
  expect((await refusalOf(node.cri.runtime.stopPodSandbox({ podSandboxId: id }, suite))).details).toMatch(/last: DEL/);
  await rm(join(folderPath, "broken"));
  await remove(id);
  expect(await listed()).toEqual([]);
  expect(await traces(node, suite)).toEqual(before);
});

test.each([
  ["is not JSON", "{", /CNI configuration .*10-vmlet\.conflist: /],
  [
    "names a plugin by a path",
    { cniVersion: "1.0.0", name: "x", plugins: [{ type: "../../bin/sh" }] },
    /plugins\.0\.type: must be a plain file name/,
  ],
  [
    "is of a version that is not known",
    { cniVersion: "9.0.0", name: "x", plugins: [] },
    /cniVersion: 9\.0\.0; known: /,
  ],
])("a network configuration that %s is UNAVAILABLE by its file, and Status says it too", async (_what, config, why) => {
  await writeFile(configPath(), typeof config === "string" ? config : JSON.stringify(config));
  expect(await refusalOf(run("unready"))).toEqual({ code: status.UNAVAILABLE, details: expect.stringMatching(why) });
  expect(await traces(node, suite)).toEqual(before);
  const { status: node_ } = await node.cri.runtime.status(StatusRequest.fromPartial({}), suite);
  const network = node_?.conditions.find(({ type }) => type === "NetworkReady");
  expect(network).toMatchObject({ status: false, message: expect.stringMatching(why) });
});

test("a plugin that is not installed, and no configuration at all, are said as such", async () => {
  await writeFile(configPath(), JSON.stringify({ cniVersion: "1.0.0", name: "x", plugins: [{ type: "calico-x" }] }));
  expect((await refusalOf(run("absent"))).details).toMatch(/calico-x: no such program in .*; install it/);
  await rm(configPath());
  const refusal = await refusalOf(run("unready"));
  expect(refusal).toEqual({ code: status.UNAVAILABLE, details: expect.stringMatching(/no CNI configuration in /) });
  expect(await traces(node, suite)).toEqual(before.filter((path) => path !== configPath()));
});

test("a caller that goes away while a plugin hangs leaves nothing, and the next try is not held up", async () => {
  await addPlugin(onAdd("exec sleep 1000"));
  const gone = new AbortController();
  const request = { config: podConfigOf(node, "gone"), runtimeHandler: "vmlet" };
  const call = node.cri.runtime.runPodSandbox(request, gone.signal).catch((error: unknown) => error);
  await poll(async () => ((await calls()).length > 0 ? true : undefined), { what: "ADD", limitMs: 60_000 }, suite);
  gone.abort();
  await call;
  await poll(
    async () => ((await traces(node, suite)).join() === before.join() ? true : undefined),
    { what: "clean node", limitMs: 60_000 },
    suite,
  );
  await writeFile(configPath(), good);
  await remove((await node.cri.runtime.runPodSandbox(request, suite)).podSandboxId);
  expect(await traces(node, suite)).toEqual(before);
});
