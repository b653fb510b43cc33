import { spawnSync } from "node:child_process";
import fc from "fast-check";
import { expect, test } from "vitest";
import { environmentFile, shellQuote } from "../../../src/guest/shell.ts";
import { environmentNotices } from "../../../src/model/environment.ts";
import { envVar } from "../../fakes/seed-requests.ts";

function sh(script: string | Buffer): Buffer {
  const { stdout, stderr, status } = spawnSync("/bin/sh", ["-eu", "-s"], { input: script });
  if (status !== 0) throw new Error(stderr.toString());
  return stdout;
}

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 50 }).map((value) => Buffer.from(value.filter((byte) => byte !== 0))),
  fc
    .constantFrom("'", "\n", "a'b\nc'", "$(touch /tmp/x)", "`id`", '"$HOME"', "\\'", "é\u{1f600}", "-n", "")
    .map((text) => Buffer.from(text)),
);

test("a real sh that reads the environment file has every value byte for byte, newlines and quotes included", () => {
  fc.assert(
    fc.property(fc.array(bytes, { minLength: 1, maxLength: 4 }), (values) => {
      const file = environmentFile(values.map((value, index) => envVar(`V${index}`, value)));
      const names = values.map((_, index) => `printf '%s\\000' "$V${index}"`).join("\n");
      const wanted = Buffer.concat(values.flatMap((value) => [value, Buffer.from([0])]));
      expect(sh(Buffer.concat([file, Buffer.from(names)])).equals(wanted)).toBe(true);
    }),
    { numRuns: 60 },
  );
});

test("a quoted word is one word of sh, whatever is in it", () => {
  expect(sh(`printf '[%s]' ${shellQuote("a b'; exit 3; '")} x`).toString()).toBe("[a b'; exit 3; '][x]");
});

test("variables that no shell can hold are left out, each with a notice, and the others stay", () => {
  const env = [envVar("my-name", "1"), envVar("X=1;id", "2"), envVar("UID", "3"), envVar("", "4"), envVar("OK_1", "5")];
  expect(environmentFile(env).toString()).toBe("OK_1='5'\n");
  const notices = environmentNotices(env);
  expect(notices).toHaveLength(4);
  expect(notices[0]).toContain('"my-name"');
});

test.each(["OPTIND", "BASHOPTS", "PPID", "LINENO", "RANDOM", "HISTSIZE", "IFS"])(
  "no variable of a shell's own ends a shell: %s",
  (name) => {
    const file = environmentFile([envVar(name, "abc"), envVar("LAST", "here")]).toString();
    expect(sh(`set -a\n${file}printf %s "$LAST"`).toString()).toBe("here");
  },
);

test("a value with a NUL is refused, naming the variable", () => {
  expect(() => environmentFile([envVar("A", "x\0y")])).toThrow("env[A]");
});
