import { expect, test } from "vitest";
import { type CniOptions, cniOptionsSchema } from "../../../src/cni/options.ts";
import { parseConfig } from "../../../src/config/load.ts";
import type { Config } from "../../../src/config/schema.ts";
import { CONSOLE_DEFAULTS, type ConsoleOptions } from "../../../src/console/options.ts";
import type { EngineOptions } from "../../../src/engine/parts.ts";
import { type ImageOptions, imageOptionsSchema } from "../../../src/images/options.ts";
import { type KernelOptions, kernelOptionsSchema } from "../../../src/kernel/options.ts";
import { CLIENT_DEFAULTS, type ClientOptions } from "../../../src/libvirt/client/client.ts";

// A section of the config is its adapter's options without the folders, which daemon.ts puts below the state and run
// folders. The types below do not compile, and the tests fail, when one of the two changes alone.

const config = parseConfig("", "c.yaml", []);
type Fits<Section extends Options, Options> = Section;

test("the section cni is the adapter's options", () => {
  type Adapter = Omit<CniOptions, "cacheFolderPath">;
  const section: Fits<Config["cni"], Adapter> = config.cni;
  const { cacheFolderPath: _, ...options } = cniOptionsSchema.parse({});
  expect(section).toEqual(options);
});

test("the section kernel is the adapter's options", () => {
  type Adapter = Omit<KernelOptions, "dhcpFolderPath">;
  const section: Fits<Config["kernel"], Adapter> = config.kernel;
  const { dhcpFolderPath: _, ...options } = kernelOptionsSchema.parse({});
  expect(section).toEqual(options);
});

test("the section images is the adapter's options, its profiles included", () => {
  type Adapter = Omit<ImageOptions, "rootPath">;
  const section: Fits<Config["images"], Adapter> = config.images;
  const { rootPath: _, ...options } = imageOptionsSchema.parse({});
  expect(section).toEqual(options);

  const images = { profiles: { p: {} }, translations: [{ name: "a", url: "https://h/a" }] };
  const given = parseConfig(JSON.stringify({ images }), "c.yaml", []).images;
  const { profiles, translations } = imageOptionsSchema.parse(images);
  expect(given).toMatchObject({ profiles, translations });
});

test("the limits of libvirt calls are the client's", () => {
  const section: Fits<Config["libvirt"]["limitMs"], ClientOptions["limitMs"]> = config.libvirt.limitMs;
  expect(section).toEqual(CLIENT_DEFAULTS.limitMs);
});

test("the section machine has what the engine needs to size one", () => {
  type Sizes = Pick<EngineOptions, "defaultMemoryBytes" | "overheadBytes" | "minMemoryBytes">;
  const section: Fits<Config["machine"], Sizes> = config.machine;
  expect(Object.values(section).every((bytes) => bytes > 0)).toBe(true);
});

test("the section console is a part of the adapter's options, with its defaults", () => {
  const section: Fits<Config["console"], Partial<ConsoleOptions>> = config.console;
  expect(CONSOLE_DEFAULTS).toMatchObject(section);
});
