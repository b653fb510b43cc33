import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { loadConfig, parseConfig } from "../../../src/config/load.ts";
import { redact } from "../../../src/config/redact.ts";
import { failsWith } from "../../../src/model/failure.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "vmlet-config-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function refusal(
  text: string,
  overrides: Parameters<typeof parseConfig>[2] = [],
): { field: string; message: string; path: string } {
  try {
    parseConfig(text, "c.yaml", overrides);
  } catch (error) {
    if (failsWith(error, "CONFIG_INVALID")) return { ...error.failure, message: error.message };
    throw error;
  }
  throw new Error(`accepted: ${text}`);
}

test("an empty file gives the defaults", () => {
  const config = parseConfig("# nothing\n", "c.yaml", []);
  expect(config.socketPath).toBe("/run/vmlet/vmlet.sock");
  expect(config.machine.defaultMemoryBytes).toBe(512 * 1024 * 1024);
  expect(config.libvirt.templateFolderPath).toBe(join(process.cwd(), "domain-templates"));
});

test("flags beat the file, the file beats the defaults", () => {
  const override = { flag: "--libvirt-virtualization", path: ["libvirt", "virtualization"], value: "kvm" };
  const text = "logLevel: debug\nlibvirt: {virtualization: emulated, tcgCacheMiB: 64}\n";
  const config = parseConfig(text, "c.yaml", [override]);
  expect(config.logLevel).toBe("debug");
  expect(config.libvirt).toMatchObject({ virtualization: "kvm", tcgCacheMiB: 64 });
});

test("an unknown key is an error that names its path and the known ones", () => {
  const { field, message } = refusal("libvirt:\n  sockPath: /x\n");
  expect(field).toBe("libvirt.sockPath");
  expect(message).toMatch(/^c\.yaml: libvirt\.sockPath: is not a setting; known here: socketPath, /);
});

test.each([
  ["machine: {defaultMemoryBytes: 512MB}", "machine.defaultMemoryBytes", "quantity such as 512Mi"],
  ["machine: {defaultMemoryBytes: 1Mi}", "machine.minMemoryBytes", "must not be above"],
  ["socketPath: vmlet.sock", "socketPath", "absolute path"],
  ["logLevel: loud", "logLevel", "debug"],
  ["cni: {pluginLimitMs: 0}", "cni.pluginLimitMs", ">=1"],
  ["cni: [1]", "cni", "expected object"],
  ["images: {signatures: {rules: [{keyPaths: [/k]}]}}", "images.signatures.rules[0]", "either `name` or `prefix`"],
  ["images: {signatures: {rules: [{prefix: ''}]}}", "images.signatures.rules[0]", "needs `keyPaths` for `verify`"],
  [
    "images: {signatures: {rules: [{prefix: '', action: accept, keyPaths: [/k]}]}}",
    "images.signatures.rules[0]",
    "and for nothing else",
  ],
  ["images: {signatures: {rules: [{prefix: quay.io}]}}", "images.signatures.rules[0].prefix", "end with a slash"],
  ["images: {signatures: {rules: [{prefix: vmlet.dev/oci/a/}]}}", "images.signatures.rules[0].prefix", "without vmlet"],
  ["images: {signatures: {rules: [{prefix: Quay.io/}]}}", "images.signatures.rules[0].prefix", "lower case"],
  ["images: {translations: [{url: 'https://a/b'}]}", "images.translations[0]", "either `name` or `regexp`"],
  [
    "images: {translations: [{regexp: '(', url: 'https://a/b'}]}",
    "images.translations[0].regexp",
    "regular expression",
  ],
  ["images: {translations: [{name: a, url: 'ftp://a/b'}]}", "images.translations[0].url", "https://"],
  ["images: {translations: [{name: a, url: 'https://u:p@a/b'}]}", "images.translations[0].url", "no user name"],
  [
    "images: {translations: [{name: a, url: 'https://a', profile: p}]}",
    "images.translations[0].profile",
    "images.profiles",
  ],
  ["images: {profiles: {p: {clientKeyPath: /k}}}", "images.profiles.p", "clientCertPath"],
])("%s is refused, naming the field and the reason", (text, field, reason) => {
  const found = refusal(text);
  expect(found.field).toBe(field);
  expect(found.message).toContain(`c.yaml: ${field}: `);
  expect(found.message).toContain(reason);
});

test("a wrong flag is named instead of the file", () => {
  const { path, message } = refusal("", [{ flag: "--socket-path", path: ["socketPath"], value: "x" }]);
  expect(path).toBe("--socket-path");
  expect(message).toMatch(/^--socket-path: socketPath: must be an absolute path/);
});

test.each(["a: [", "a: 1\na: 2", "just text", "- 1", "a: &a [*a, *a]"])("%j is refused as a file", (text) => {
  expect(refusal(text).message).toMatch(/^c\.yaml: /);
});

test("aliases cannot blow up the file", () => {
  const lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"];
  for (let i = 1; i < 9; i++)
    lines.push(
      `a${i}: &a${i} [${Array(10)
        .fill(`*a${i - 1}`)
        .join(", ")}]`,
    );
  expect(refusal(lines.join("\n")).message).toContain("not YAML that we take");
});

test("a key called __proto__ is an unknown key and changes nothing", () => {
  refusal("__proto__: {polluted: true}\n");
  expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
});

test("a file that was asked for must exist; the default one need not", async () => {
  const configPath = join(folder, "none.yaml");
  await expect(loadConfig({ configPath, overrides: [] })).rejects.toThrow(/none\.yaml: cannot be read: ENOENT/);
  writeFileSync(configPath, "logLevel: warn\n");
  expect((await loadConfig({ configPath, overrides: [] })).logLevel).toBe("warn");
});

test("a huge file is refused unread", async () => {
  const configPath = join(folder, "huge.yaml");
  writeFileSync(configPath, "#".repeat((1 << 20) + 1));
  await expect(loadConfig({ configPath, overrides: [] })).rejects.toThrow(/make it shorter/);
});

test("the result is frozen to the last level", () => {
  const config = parseConfig("images: {pinned: [a]}", "c.yaml", []);
  expect(Object.isFrozen(config.images.pinned)).toBe(true);
  expect(Object.isFrozen(config.libvirt)).toBe(true);
});

test("redacted, addresses keep their place and lose their secrets", () => {
  const text = `
images:
  translations: [{name: a, url: "https://h/x?sig=s3cret&b=s3cret"}]
  profiles: {p: {proxyUrl: "http://user:s3cret@proxy:3128"}}
`;
  const shown = JSON.stringify(redact(parseConfig(text, "c.yaml", [])));
  expect(shown).not.toContain("s3cret");
  expect(shown).toContain("proxy:3128");
  expect(shown).toContain("https://h/x?sig=REDACTED");
});

test.each([
  ["127.0.0.1:10280", { host: "127.0.0.1", port: 10_280 }],
  ["[::1]:0", { host: "::1", port: 0 }],
  ["off", "off"],
])("metrics.listen takes %s", (text, listen) => {
  expect(parseConfig(JSON.stringify({ metrics: { listen: text } }), "c.yaml", []).metrics.listen).toEqual(listen);
});

test.each(["", "10280", ":10280", "localhost:1", "::1:1", "[127.0.0.1]:1", "127.0.0.1:65536", "127.0.0.1:-1", "on"])(
  'metrics.listen refuses "%s"',
  (text) => {
    const parse = () => parseConfig(JSON.stringify({ metrics: { listen: text } }), "c.yaml", []);
    expect(parse).toThrow("c.yaml: metrics.listen: must be `off`, `<ip>:<port>` or `[<ipv6>]:<port>`");
  },
);
