import { expect, test } from "vitest";
import { createProgram } from "../../../src/cli/program.ts";
import { type ConfigSource, parseConfig } from "../../../src/config/load.ts";

const sourceOf = async (...argv: string[]): Promise<ConfigSource> => await sourceOfVerb("serve", ...argv);

async function sourceOfVerb(verb: "serve" | "router", ...argv: string[]): Promise<ConfigSource> {
  let seen: ConfigSource | undefined;
  const note = async (source: ConfigSource): Promise<void> => {
    seen = source;
  };
  const other = async (): Promise<void> => {
    throw new Error(`not ${verb}`);
  };
  const verbs = { serve: other, router: other, [verb]: note };
  await createProgram("0", verbs).parseAsync([verb, ...argv], { from: "user" });
  if (seen === undefined) throw new Error(`${verb} was not called`);
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

test("the router has its own settings as flags, and where vmlet is", async () => {
  const flags = ["--router-socket-path=/run/r.sock", "--router-answer-within-ms=50", "--socket-path=/run/v.sock"];
  const config = parseConfig("", "/c.yaml", (await sourceOfVerb("router", ...flags)).overrides);
  expect(config.router).toMatchObject({ socketPath: "/run/r.sock", answerWithinMs: 50 });
  expect(config.socketPath).toBe("/run/v.sock");
});
