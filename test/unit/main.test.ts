import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function vmlet(...args: string[]): Ended {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["src/main.ts", ...args], { encoding: "utf8" });
  return { code: status, stdout, stderr };
}

test("--version prints the version of package.json, and no warning", () => {
  const { version } = JSON.parse(readFileSync("package.json", "utf8"));
  expect(vmlet("--version")).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
});

test.each([
  [["serve", "--config", "/nonexistent/c.yaml"], "vmlet: /nonexistent/c.yaml: cannot be read: ENOENT"],
  [["serve", "--socket-path", "relative"], "vmlet: --socket-path: socketPath: must be an absolute path"],
  [["serve", "--no-such-flag"], "unknown option '--no-such-flag'"],
  [["no-such-verb"], "unknown command 'no-such-verb'"],
])("%j ends with 1 and says why", (args, why) => {
  const { code, stderr } = vmlet(...args);
  expect(code).toBe(1);
  expect(stderr).toContain(why);
});

/** A process that waits for its stop signal, then says so and lingers. */
async function waiting(): Promise<{ child: ChildProcess; hear: () => Promise<string> }> {
  const script = `
    import { stopSignal } from "./src/lib/stop-signal.ts";
    const signal = stopSignal((name) => console.log("stopping " + name));
    signal.addEventListener("abort", () => console.log("aborted"));
    setInterval(() => {}, 1000);
    console.log("ready");`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines = child.stdout.setEncoding("utf8").iterator({ destroyOnReturn: false });
  let text = "";
  const hear = async (): Promise<string> => {
    while (!text.includes("\n")) text += (await lines.next()).value;
    const line = text.slice(0, text.indexOf("\n"));
    text = text.slice(line.length + 1);
    return line;
  };
  expect(await hear()).toBe("ready");
  return { child, hear };
}

test("the first stop signal is a request, the second ends the process at once", async () => {
  const { child, hear } = await waiting();
  child.kill("SIGTERM");
  expect([await hear(), await hear()]).toEqual(["stopping SIGTERM", "aborted"]);
  expect(child.exitCode).toBeNull();
  child.kill("SIGINT");
  expect(await new Promise((resolve) => child.once("exit", resolve))).toBe(130);
});
