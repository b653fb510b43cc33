import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { renderChartSchema } from "../../tools/chart-schema.ts";

const read = (path: string): string => readFileSync(path, "utf8");

test("charts/vmlet/values.schema.json is what the configuration's schema says", () => {
  expect(renderChartSchema() === read("charts/vmlet/values.schema.json"), "stale: run npm run docs").toBe(true);
});

test("every value of the chart is in its schema, and the other way round", () => {
  const schema = JSON.parse(read("charts/vmlet/values.schema.json"));
  const values = Object.keys(parse(read("charts/vmlet/values.yaml")));
  expect(Object.keys(schema.properties).toSorted()).toEqual([...values, "global"].toSorted());
});

test("settings that the chart fixes are not among its values, and their neighbours are", () => {
  const { config } = JSON.parse(read("charts/vmlet/values.schema.json")).properties;
  const { router } = config.properties;
  for (const { additionalProperties } of [config, router]) expect(additionalProperties).toBe(false);
  for (const fixed of ["socketPath", "runFolderPath"]) expect(config.properties).not.toHaveProperty(fixed);
  for (const fixed of ["socketPath", "stateFolderPath"]) expect(router.properties).not.toHaveProperty(fixed);
  expect(config.properties).toHaveProperty("stateFolderPath");
  expect(router.properties).toHaveProperty("containersSocketPath");
});

test("the dashboard asks for metrics that there are", () => {
  const dashboard = z
    .object({ panels: z.array(z.object({ targets: z.array(z.object({ expr: z.string() })) })).min(5) })
    .parse(JSON.parse(read("charts/vmlet/files/dashboard.json")));
  const known = new Map(
    [...read("docs/metrics.md").matchAll(/^\| `(\w+)` \| (\w+) \| ([^|]*) \|/gm)].map(
      ([, name = "", type = "", labels = ""]) => [name, { type, labels }],
    ),
  );
  for (const { expr } of dashboard.panels.flatMap(({ targets }) => targets)) {
    const asked = [...expr.matchAll(/((?:vmlet|process)_\w+)\{/g)].map(([, name = ""]) => name);
    expect(asked.length, expr).toBeGreaterThan(0);
    // Every exporter has those: unless it is said whose, they are the sum of all that Prometheus knows.
    if (/process_/.test(expr)) expect(expr).toMatch(/ and on \(instance, job\) vmlet_(router_)?build_info\{/);
    for (const name of asked) {
      const base = known.get(name) ?? known.get(name.replace(/_(bucket|count|sum)$/, ""));
      expect(base, name).toBeDefined();
      expect(base?.type === "histogram", name).toBe(/_(bucket|count|sum)$/.test(name));
    }
  }
});

test("the two ways of building the image have one Node and one Debian", () => {
  const dockerfile = read("packaging/image/Dockerfile");
  const { dependencies } = JSON.parse(read("package.json"));
  const [, suite = "none"] = /^suite=(\w+)$/m.exec(read("packaging/image/build")) ?? [];
  expect(dockerfile).toContain(`/node:${dependencies.node}-${suite}-slim\n`);
  expect(dockerfile).toContain(`/debian:${suite}-slim\n`);
});

test("chart and program have one version", () => {
  const { version } = JSON.parse(read("package.json"));
  expect(parse(read("charts/vmlet/Chart.yaml"))).toMatchObject({ version, appVersion: version });
});
