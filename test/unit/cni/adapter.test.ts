import { open, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Run, run } from "../../../src/lib/spawn.ts";
import { networkContract } from "../../contract/network.contract.ts";
import { newRequest, RESULT, ScriptPlugins } from "./script-plugins.ts";

const soon = (): AbortSignal => AbortSignal.timeout(30_000);
const records = (plugins: ScriptPlugins): Promise<string[]> => readdir(join(plugins.folderPath, "cache"));

networkContract("CNI with a script for a plugin", async () => {
  const plugins = await ScriptPlugins.create();
  const counting = `N=$(cat ${plugins.folderPath}/count 2>/dev/null || echo 1); echo $((N + 1)) > ${plugins.folderPath}/count
[ $CNI_COMMAND != ADD ] || echo '{"interfaces":[{"name":"eth0","mac":"02:00:00:00:00:0'$N'","sandbox":"x"}],"ips":[{"address":"10.1.2.'$N'/24"}]}'`;
  await plugins.plugin("counting", counting);
  await plugins.chain("counting");
  return {
    network: plugins.network(),
    newRequest: async () => newRequest(),
    loseNetns: async () => {},
    [Symbol.asyncDispose]: () => plugins[Symbol.asyncDispose](),
  };
});

test("a pod with ports without end is detached as it was attached", async () => {
  await using plugins = await ScriptPlugins.create();
  await plugins.good("first");
  await plugins.chain("first");
  const ports = Array.from({ length: 20_000 }, (_, index) => index + 1);
  const request = {
    ...newRequest(),
    portMappings: ports.map((port) => ({ protocol: "tcp" as const, containerPort: port, hostPort: port, hostIp: "" })),
  };
  await plugins.network().attach(request, soon());
  await plugins.chain("second"); // what the node's configuration says by then
  await plugins.network().detach(request, soon());
  expect(await plugins.calls()).toEqual(["ADD first", "DEL first"]);
});

describe("a chain", () => {
  test("is added in order, each plugin with the result of the one before, and deleted in reverse with the last", async () => {
    await using plugins = await ScriptPlugins.create();
    await plugins.good("first");
    await plugins.good("second", { ...RESULT, dns: { nameservers: ["10.0.0.1"] } });
    await plugins.chain("first", "second");
    const [network, request] = [plugins.network(), newRequest()];
    const attachment = await network.attach(request, soon());
    await network.check(request, soon());
    await network.detach(request, soon());
    expect(attachment).toEqual({
      network: "test",
      interfaceName: "eth0",
      mac: "02:00:00:00:00:07",
      mtu: 1442,
      addresses: [{ address: "10.1.2.3", prefixLength: 24, gateway: "10.1.2.1", family: 4 }],
      routes: [{ destination: "0.0.0.0/0", gateway: "10.1.2.1" }],
    });
    const order = ["ADD first", "ADD second", "CHECK first", "CHECK second", "DEL second", "DEL first"];
    expect(await plugins.calls()).toEqual(order);
    expect((await plugins.stdin("first", "ADD"))["prevResult"]).toBeUndefined();
    expect(await plugins.stdin("second", "ADD")).toMatchObject({
      name: "test",
      cniVersion: "1.0.0",
      prevResult: RESULT,
    });
    expect(await plugins.stdin("first", "DEL")).toMatchObject({ prevResult: { dns: { nameservers: ["10.0.0.1"] } } });
    expect(await plugins.env("first", "ADD")).toEqual(
      expect.arrayContaining([
        `CNI_CONTAINERID=${request.podId}`,
        "CNI_NETNS=/run/netns/not-there",
        "CNI_IFNAME=eth0",
        `CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=${request.podId};K8S_POD_UID=7a1d`,
        `CNI_PATH=${plugins.folderPath}/nothing:${plugins.folderPath}/bin`,
      ]),
    );
    expect(await plugins.env("first", "DEL")).toContain("CNI_NETNS="); // it is gone: the plugin is told so
  });

  test("gives no prevResult to DEL before 0.4.0, and is not checked", async () => {
    await using plugins = await ScriptPlugins.create();
    await plugins.good("old", { ...RESULT, cniVersion: "0.3.1" });
    await plugins.config({ cniVersion: "0.3.1", name: "test", type: "old" }, "10-old.conf");
    const [network, request] = [plugins.network(), newRequest()];
    await network.attach(request, soon());
    await network.check(request, soon());
    await network.detach(request, soon());
    expect(await plugins.calls()).toEqual(["ADD old", "DEL old"]);
    expect((await plugins.stdin("old", "DEL"))["prevResult"]).toBeUndefined();
  });

  test("is not checked when its configuration says so", async () => {
    await using plugins = await ScriptPlugins.create();
    await plugins.good("shy");
    await plugins.config({ cniVersion: "1.0.0", name: "test", disableCheck: true, plugins: [{ type: "shy" }] });
    const [network, request] = [plugins.network(), newRequest()];
    await network.attach(request, soon());
    await network.check(request, soon());
    expect(await plugins.calls()).toEqual(["ADD shy"]);
  });

  test("gets capabilities that it declares, and no others", async () => {
    await using plugins = await ScriptPlugins.create();
    await plugins.good("plain");
    await plugins.good("ports");
    const ports = { type: "ports", capabilities: { portMappings: true, dns: true, mac: true } };
    await plugins.config({ cniVersion: "1.0.0", name: "test", plugins: [{ type: "plain" }, ports] });
    const mapping = { protocol: "tcp", containerPort: 80, hostPort: 8080, hostIp: "127.0.0.1" } as const;
    const request = newRequest({
      portMappings: [mapping, { ...mapping, hostPort: 0 }],
      dns: { servers: ["10.0.0.10"], searches: ["svc"], options: [] },
    });
    await plugins.network().attach(request, soon());
    expect((await plugins.stdin("plain", "ADD"))["runtimeConfig"]).toBeUndefined();
    const given = await plugins.stdin("ports", "ADD");
    expect(given["runtimeConfig"]).toEqual({
      portMappings: [{ protocol: "tcp", containerPort: 80, hostPort: 8080, hostIP: "127.0.0.1" }],
      dns: { servers: ["10.0.0.10"], searches: ["svc"], options: [] },
    });
    expect(given["capabilities"]).toBeUndefined();
  });

  test("is deleted with the configuration and arguments that it was added with", async () => {
    await using plugins = await ScriptPlugins.create();
    await plugins.good("first");
    await plugins.config({ cniVersion: "1.0.0", name: "test", plugins: [{ type: "first", colour: "red" }] });
    const request = newRequest();
    await plugins.network().attach(request, soon());
    await plugins.config({ cniVersion: "1.0.0", name: "other", plugins: [{ type: "second" }] });
    await plugins.network().detach({ ...request, pod: { ...request.pod, name: "renamed" } }, soon());
    expect(await plugins.calls()).toEqual(["ADD first", "DEL first"]);
    expect(await plugins.stdin("first", "DEL")).toMatchObject({ name: "test", colour: "red" });
    expect((await plugins.env("first", "DEL")).join()).toContain("K8S_POD_NAME=web");
  });
});

describe("a plugin that fails leaves nothing attached, and the error says which and why", () => {
  const failures: [string, string, RegExp, number][] = [
    [
      "with a CNI error",
      `echo '{"code":11,"msg":"no more","details":"pool is empty"}'; exit 1`,
      /code 11: no more: pool is empty/,
      11,
    ],
    ["with words only", "echo 'cannot reach etcd' >&2; exit 3", /exit code 3 and no CNI error: cannot reach etcd/, 0],
    ["by a crash", "kill -SEGV $$", /signal SIGSEGV/, 0],
    ["by garbage", "echo hello", /not a CNI result/, 0],
    ["by an unknown version", `echo '{"cniVersion":"9.9.9","ips":[]}'`, /cniVersion/, 0],
    ["by an address that is none", `echo '{"ips":[{"address":"10.0.0.999/24"}]}'`, /ips.0.address/, 0],
    ["by no address", `echo '{"ips":[]}'`, /no IP address/, 0],
    ["by too many words", "head -c 2000000 /dev/zero", /printed more than/, 0],
    ["by hanging, with a child", "sleep 60 & wait", /ran past 1500 ms/, 0],
    ["by nothing, and a daemon that holds its output", "setsid sleep 10 & exit 0", /not a CNI result/, 0],
  ];
  test.each(failures)("%s", { timeout: 30_000 }, async (_, body, message, cniCode) => {
    await using plugins = await ScriptPlugins.create();
    await plugins.good("first");
    await plugins.plugin("bad", `[ $CNI_COMMAND = ADD ] || exit 0\n${body}`);
    await plugins.chain("first", "bad");
    const attach = plugins
      .network({ pluginLimitMs: message.source.includes("ran past") ? 1500 : 20_000 })
      .attach(newRequest(), soon());
    await expect(attach).rejects.toMatchObject({
      failure: { code: "NETWORK_FAILED", plugin: "bad", cniCode },
      message: expect.stringMatching(message),
    });
    expect(await plugins.calls()).toEqual(["ADD first", "ADD bad", "DEL bad", "DEL first"]);
    expect(await records(plugins)).toEqual([]);
  });

  test("by not being installed: also in the status", async () => {
    await using plugins = await ScriptPlugins.create();
    await plugins.chain("nowhere");
    const network = plugins.network();
    await expect(network.attach(newRequest(), soon())).rejects.toThrow(/nowhere: no such program in .*bin; install it/);
    expect(await network.status()).toMatchObject({ isReady: false, why: expect.stringContaining("nowhere") });
  });
});

describe("what cannot be undone at once", () => {
  test("stays on disk until a later detach succeeds", async () => {
    await using plugins = await ScriptPlugins.create();
    await plugins.plugin("stubborn", "exit 1");
    await plugins.chain("stubborn");
    const [network, request] = [plugins.network(), newRequest()];
    await expect(network.attach(request, soon())).rejects.toThrow(/ADD ended with exit code 1/);
    expect(plugins.logged).toEqual(["warn CNI ADD failed and could not be undone"]);
    expect(await records(plugins)).toEqual([`${request.podId}.json`]);
    await expect(network.detach(request, soon())).rejects.toThrow(/DEL ended with exit code 1/);
    await plugins.good("stubborn");
    await network.detach(request, soon());
    expect(await records(plugins)).toEqual([]);
  });

  test("a crash in the middle of ADD: the next attach deletes first", async () => {
    await using plugins = await ScriptPlugins.create();
    await plugins.good("first");
    await plugins.chain("first");
    const request = newRequest();
    await plugins.network().attach(request, soon());
    const path = join(plugins.folderPath, "cache", `${request.podId}.json`);
    const { result: _, attachment: __, ...record } = JSON.parse(await readFile(path, "utf8"));
    await writeFile(path, JSON.stringify({ ...record, at: "intended" }));
    await plugins.network().attach(request, soon());
    expect(await plugins.calls()).toEqual(["ADD first", "DEL first", "ADD first"]);
  });

  test("a broken record: detach goes by the present configuration and says so", async () => {
    await using plugins = await ScriptPlugins.create();
    await plugins.good("first");
    await plugins.chain("first");
    const request = newRequest();
    await plugins.network().attach(request, soon());
    await writeFile(join(plugins.folderPath, "cache", `${request.podId}.json`), "{");
    await plugins.network().detach(request, soon());
    expect(await plugins.calls()).toEqual(["ADD first", "DEL first"]);
    expect(plugins.logged).toHaveLength(1);
    expect(await records(plugins)).toEqual([]);
  });
});

test("aborting in the middle kills the plugin and detaches the pod", async () => {
  await using plugins = await ScriptPlugins.create();
  await plugins.plugin("slow", `[ $CNI_COMMAND = DEL ] || sleep 60`);
  await plugins.chain("slow");
  const caller = new AbortController();
  const attach = plugins.network().attach(newRequest(), caller.signal);
  const reason = new Error("the caller went away");
  await expect.poll(() => plugins.calls(), { timeout: 5000 }).toEqual(["ADD slow"]);
  caller.abort(reason);
  await expect(attach).rejects.toBe(reason);
  expect(await plugins.calls()).toEqual(["ADD slow", "DEL slow"]);
  expect(await records(plugins)).toEqual([]);
});

test("a plugin that is being replaced on disk is tried again", async () => {
  await using plugins = await ScriptPlugins.create();
  await plugins.good("fresh");
  await plugins.chain("fresh");
  const writer = await open(join(plugins.folderPath, "bin/fresh"), "r+");
  const refusals: string[] = [];
  const spying: Run = async (file, ...rest) => {
    try {
      return await run(file, ...rest);
    } catch (error) {
      refusals.push(String(error));
      await writer.close();
      throw error;
    }
  };
  await plugins.network({ run: spying }).attach(newRequest(), soon());
  expect(refusals).toEqual([expect.stringContaining("ETXTBSY")]);
});

test("names that would read as other CNI arguments are refused by field, before anything runs", async () => {
  await using plugins = await ScriptPlugins.create();
  await plugins.good("first");
  await plugins.chain("first");
  const pod = { name: "web;K8S_POD_NAME=victim", namespace: "default", uid: "1" };
  const attach = plugins.network().attach(newRequest({ pod }), soon());
  await expect(attach).rejects.toMatchObject({ failure: { code: "SPEC_INVALID", field: "metadata.name" } });
  expect(await plugins.calls()).toEqual([]);
});

test("a chain with a plugin that is not installed leaves nothing to detach", async () => {
  await using plugins = await ScriptPlugins.create();
  await plugins.good("first");
  await plugins.chain("nowhere", "first");
  const network = plugins.network();
  const request = newRequest();
  await expect(network.attach(request, soon())).rejects.toThrow(/nowhere: no such program/);
  await network.detach(request, soon());
  expect(await plugins.calls()).toEqual([]);
});
