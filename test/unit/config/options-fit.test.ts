import { expect, test } from "vitest";
import { type CniOptions, cniOptionsSchema } from "../../../src/cni/options.ts";
import { parseConfig } from "../../../src/config/load.ts";
import type { Config } from "../../../src/config/schema.ts";
import { type KernelOptions, kernelOptionsSchema } from "../../../src/kernel/options.ts";

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
