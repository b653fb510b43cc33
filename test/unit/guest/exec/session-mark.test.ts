import { spawnSync } from "node:child_process";
import fc from "fast-check";
import { expect, test } from "vitest";
import { MARK_SCRIPT, SessionMark } from "../../../../src/guest/exec/session-mark.ts";

/** What comes out of it, piece by piece, and what session it told. */
async function through(pieces: readonly Buffer[]): Promise<{ output: Buffer; session: string | undefined }> {
  const mark = new SessionMark();
  const output = Buffer.concat([...pieces.map((piece) => mark.strip(piece)), mark.end()]);
  return { output, session: await mark.session };
}

const cut = (whole: Buffer, cuts: readonly number[]): Buffer[] => {
  const at = [0, ...cuts.map((each) => Math.min(each, whole.length)).toSorted((a, b) => a - b), whole.length];
  return at.slice(1).map((end, index) => whole.subarray(at[index], end));
};

const bytes = fc.uint8Array({ maxLength: 100 }).map((each) => Buffer.from(each));
const cuts = fc.array(fc.nat(120), { maxLength: 5 });

test("a mark is taken out of what follows, however it is cut, with either line end", async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(4_000_000), fc.constantFrom("\n", "\r\n"), bytes, cuts, async (sid, end, output, at) => {
      const whole = Buffer.concat([Buffer.from(`\u001evmlet ${sid}${end}`), output]);
      expect(await through(cut(whole, at))).toEqual({ output, session: String(sid) });
    }),
  );
});

test("output without a mark, and with half of one, is left as it is", async () => {
  const half = fc.constantFrom("\u001e", "\u001evmlet ", "\u001evmlet 12", "\u001evmlet x\n", "vmlet 1\n", "");
  await fc.assert(
    fc.asyncProperty(half, fc.string(), cuts, async (start, rest, at) => {
      fc.pre(!/^\d*\r?\n/.test(rest));
      const whole = Buffer.from(start + rest);
      expect(await through(cut(whole, at))).toEqual({ output: whole, session: undefined });
    }),
  );
});

test("the script that says it tells the session that it runs in", async () => {
  const { stderr } = spawnSync("/usr/bin/setsid", ["-w", "/bin/sh", "-c", `${MARK_SCRIPT}\nps -o sid= -p $$ >&2`]);
  const { output, session } = await through([stderr]);
  expect(output.toString().trim()).toBe(session);
});
