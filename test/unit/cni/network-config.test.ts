import { expect, test } from "vitest";
import { loadNetworkConfig, parseNetworkConfig } from "../../../src/cni/network-config.ts";
import { ScriptPlugins } from "./script-plugins.ts";

const LIST = { cniVersion: "1.0.0", name: "a", plugins: [{ type: "bridge" }] };

test("the first file by name counts, whatever its kind, and other files do not", async () => {
  await using plugins = await ScriptPlugins.create();
  await plugins.config({ ...LIST, name: "late" }, "20-late.conflist");
  await plugins.config({ cniVersion: "0.3.1", name: "early", type: "bridge", mtu: 1400 }, "10-early.conf");
  await plugins.config("not for us", "00-readme.txt");
  expect(await loadNetworkConfig(`${plugins.folderPath}/net.d`)).toEqual({
    name: "early",
    cniVersion: "0.3.1",
    disableCheck: false,
    plugins: [{ cniVersion: "0.3.1", name: "early", type: "bridge", mtu: 1400 }],
  });
});

test.each([
  ["no file", undefined, /no CNI configuration in .*net\.d/],
  ["not JSON", "{", /10-test\.conflist: .*JSON/],
  ["no version", { ...LIST, cniVersion: undefined }, /cniVersion: missing; known: 0\.3\.0/],
  ["a version from the future", { ...LIST, cniVersion: "2.0.0" }, /cniVersion: 2\.0\.0/],
  ["no name", { ...LIST, name: undefined }, /name/],
  ["a name that is a path", { ...LIST, name: "../x" }, /name: must be/],
  ["no plugin", { ...LIST, plugins: [] }, /plugins/],
  [
    "a type that is a path",
    { ...LIST, plugins: [{ type: "../../bin/sh" }] },
    /plugins\.0\.type: must be a plain file name/,
  ],
  ["a file too big", `{"a": "${"x".repeat(1 << 20)}"}`, /bytes, at most/],
])("%s: not configured, naming the file and the field", async (_, content, message) => {
  await using plugins = await ScriptPlugins.create();
  if (content !== undefined) await plugins.config(content);
  const load = loadNetworkConfig(`${plugins.folderPath}/net.d`);
  await expect(load).rejects.toMatchObject({
    failure: { code: "NETWORK_NOT_CONFIGURED" },
    message: expect.stringMatching(message),
  });
  expect(await plugins.network().status()).toMatchObject({ isReady: false });
});

test("a broken first file is not passed over for the next", async () => {
  await using plugins = await ScriptPlugins.create();
  await plugins.config("{", "10-broken.conflist");
  await plugins.config(LIST, "20-good.conflist");
  await expect(loadNetworkConfig(`${plugins.folderPath}/net.d`)).rejects.toThrow(/10-broken/);
});

test("a folder that is not there is a node without a network", async () => {
  await expect(loadNetworkConfig("/nowhere/net.d")).rejects.toThrow(/no CNI configuration/);
});

test("of several offered versions the newest known is spoken", () => {
  const versions = { cniVersion: "0.4.0", cniVersions: ["0.4.0", "1.1.0", "7.0.0"] };
  expect(parseNetworkConfig({ ...LIST, ...versions }).cniVersion).toBe("1.1.0");
});

test("disableCheck may be spelled as text", () => {
  expect(parseNetworkConfig({ ...LIST, disableCheck: "true" }).disableCheck).toBe(true);
});
