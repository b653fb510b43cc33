import { expect, test } from "vitest";
import { parseConfig } from "../../../src/config/load.ts";
import { checkNames, limitBacktracking, sourceOf } from "../../../src/images/translation.ts";
import { parseReference } from "../../../src/model/image-reference.ts";

const hex = "0123456789abcdef".repeat(4);
const other = "fedcba9876543210".repeat(4);

const rules = (translations: readonly unknown[]) =>
  parseConfig(JSON.stringify({ images: { translations, profiles: { lab: {} } } }), "test", []).images;

function find(text: string, translations: readonly unknown[]) {
  const source = sourceOf(parseReference(text), rules(translations));
  if (source.kind !== "http") throw new Error("a URL was expected");
  return source;
}

test("an exact name without a tag fits every tag, one with a tag only that", () => {
  const list = [
    { name: "debian:12", url: "https://h/Debian-12.qcow2" },
    { name: "debian", url: "https://h/Any.QCOW2" },
  ];
  expect(find("debian:12", list).url.href).toBe("https://h/Debian-12.qcow2");
  expect(find("docker.io/library/debian:13", list).url.href).toBe("https://h/Any.QCOW2");
});

test("a regular expression must fit the whole name, and gives its groups to the URL", () => {
  const list = [{ regexp: "images\\.example/(.*):v(\\d+)", url: "https://h/$1/V$2.qcow2" }];
  expect(find("images.example/a/b:v7", list).url.href).toBe("https://h/a/b/V7.qcow2");
  expect(() => find("evil.example/images.example/a:v7", list)).toThrow("no rule");
  expect(() => find("images.example/a:v7-more", list)).toThrow("no rule");
});

test("the first rule that fits is used, before the name's own meaning", () => {
  const list = [
    { regexp: "vmlet\\.dev/https/a\\.example/(.*)", url: "https://mirror/$1", profile: "lab" },
    { regexp: ".*", url: "https://last/" },
  ];
  expect(find("vmlet.dev/https/a.example/x.qcow2", list)).toMatchObject({
    url: new URL("https://mirror/x.qcow2"),
    profile: "lab",
  });
  expect(find("vmlet.dev/https/a.example/x.qcow2", []).url.href).toBe("https://a.example/x.qcow2");
});

test("a pin comes from the name or the rule, and they must not differ", () => {
  const list = [{ name: "debian", url: "https://h/d", sha256: hex }];
  expect(find("debian", list).pin).toBe(`sha256:${hex}`);
  expect(find(`debian@sha256:${hex}`, list).pin).toBe(`sha256:${hex}`);
  expect(() => find(`debian@sha256:${other}`, list)).toThrow(
    expect.objectContaining({ failure: expect.objectContaining({ code: "IMAGE_DIGEST_MISMATCH" }) }),
  );
});

test("a name that nothing maps is not found, and the message says what would", () => {
  expect(() => find("debian", [])).toThrow("vmlet.dev/https/<host>/<path>");
  expect(() => find("debian", [])).toThrow(
    expect.objectContaining({ failure: { code: "IMAGE_NOT_FOUND", image: "docker.io/library/debian:latest" } }),
  );
});

test.each([
  [{ name: "a", regexp: "a", url: "https://h/" }],
  [{ url: "https://h/" }],
  [{ name: "a", url: "ftp://h/" }],
  [{ name: "a", url: "https://user:secret@h/" }],
  [{ regexp: "(", url: "https://h/" }],
  [{ name: "a", url: "https://h/", profile: "unknown" }],
  [{ name: "a", url: "https://h/", sha256: "abc" }],
  [{ name: "a", url: "https://h/", extra: 1 }],
])("the rule %j is refused when the config is read", (rule) => {
  expect(() => rules([rule])).toThrow();
});

test("a rule's name and a pinned name must be names, and the failure names the setting", () => {
  const translations = [{ name: "Not A Name", url: "https://h/", profile: "default" }];
  expect(() => checkNames({ translations, pinned: [] })).toThrow("images.translations[0].name");
  expect(() => checkNames({ translations: [], pinned: ["ok", "Not ok"] })).toThrow("images.pinned[1]");
});

test("a name that a careless rule backtracks on for ever does not stop the daemon", () => {
  limitBacktracking();
  const name = `vmlet.dev/x/${"a".repeat(34)}`; // minutes, if it were not limited
  expect(() => find(name, [{ regexp: "vmlet.dev/x/(a+)+b", url: "https://h/$1" }])).toThrow(/no rule .* fits/);
});
