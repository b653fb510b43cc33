import { expect, test } from "vitest";
import { terminalIo } from "../../../src/cli/io.ts";
import { createProgram } from "../../../src/cli/program.ts";
import { type ConfigSource, parseConfig } from "../../../src/config/load.ts";

async function sourceOf(...argv: string[]): Promise<ConfigSource> {
  let seen: ConfigSource | undefined;
  const serve = async (source: ConfigSource): Promise<void> => {
    seen = source;
  };
  await createProgram("0", { serve }, terminalIo()).parseAsync(["serve", ...argv], { from: "user" });
  if (seen === undefined) throw new Error("serve was not called");
  return seen;
}

test("without flags nothing is overridden", async () => {
  expect(await sourceOf()).toEqual({ overrides: [] });
});

test("a flag sets the setting that it is named after, as the kind that the schema wants", async () => {
  const { configPath, overrides } = await sourceOf(
    "--config=/c.yaml",
    "--libvirt-tcg-cache-mib=64",
    "--images-allow-http=true",
    "--machine-default-memory-bytes=1Gi",
    "--log-level=debug",
  );
  expect(configPath).toBe("/c.yaml");
  const config = parseConfig("", "/c.yaml", overrides);
  expect(config.libvirt.tcgCacheMiB).toBe(64);
  expect(config.images.allowHttp).toBe(true);
  expect(config.machine.defaultMemoryBytes).toBe(2 ** 30);
  expect(config.logLevel).toBe("debug");
});
