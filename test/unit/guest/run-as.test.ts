import { spawnSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { runAsScript } from "../../../src/guest/run-as.ts";
import type { RunAs } from "../../../src/model/machine.ts";

const isRoot = process.getuid?.() === 0;
const why = isRoot ? "as root" : "skipped: only root can become somebody else";

function sh(runAs: RunAs, ...argv: string[]): { status: number | null; stdout: string; stderr: string } {
  const args = ["-c", runAsScript(runAs), "run-as", ...argv];
  const { status, stdout, stderr } = spawnSync("/bin/sh", args, { env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" } });
  return { status, stdout: stdout.toString(), stderr: stderr.toString() };
}

describe.skipIf(!isRoot)(`run-as (${why})`, () => {
  test("a number without a name has the groups that are asked for, and no others", () => {
    expect(sh({ user: "54321", gid: 12, groups: [13, 14] }, "sh", "-c", 'id -u; id -G; echo "$HOME"').stdout).toBe(
      "54321\n12 13 14\n/\n",
    );
  });

  test("a name has its own number, group and home", () => {
    const script = 'id -un; id -gn; echo "$HOME"; printf "%s|" "$@"';
    expect(sh({ user: "daemon", groups: [] }, "sh", "-c", script, "x", "a b", "$c").stdout).toBe(
      "daemon\ndaemon\n/usr/sbin\na b|$c|",
    );
  });

  test("the exit code is the command's", () => {
    expect(sh({ user: "54321", groups: [] }, "sh", "-c", "exit 7").status).toBe(7);
  });
});

test("a name that the guest does not know is said, and nothing is run", () => {
  const { status, stdout, stderr } = sh({ user: "nobody-of-that-name", groups: [] }, "echo", "ran");
  expect([status, stdout, stderr]).toEqual([126, "", "vmlet: this guest has no user nobody-of-that-name\n"]);
});
