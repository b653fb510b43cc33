import { execFileSync, spawn } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

// bin/vmlet in a tree of its own whose "Node" prints what it was given.
let tree: string;
beforeEach(() => {
  tree = mkdtempSync(join(tmpdir(), "vmlet-launcher-"));
  mkdirSync(join(tree, "bin"));
  copyFileSync("bin/vmlet", join(tree, "bin/vmlet"));
});
afterEach(() => rmSync(tree, { recursive: true }));

function addProgram(path: string, script: string): void {
  mkdirSync(resolve(tree, path, ".."), { recursive: true });
  writeFileSync(join(tree, path), `#!/bin/sh\n${script}\n`);
  chmodSync(join(tree, path), 0o755);
}

function launch(args: readonly string[], env: Record<string, string> = {}): string {
  return execFileSync(join(tree, "bin/vmlet"), args, {
    encoding: "utf8",
    stdio: "pipe",
    env: { PATH: "/usr/bin:/bin", NODE_DISABLE_COMPILE_CACHE: "1", ...env },
  });
}

test("it runs the pinned Node with main.ts and the arguments as they were", () => {
  addProgram("node_modules/node/bin/node", 'for arg; do echo "<$arg>"; done');
  const heap = [
    "--max-semi-space-size=1",
    "--no-memory-reducer",
    "--expose-gc",
    "--heap-growing-percent=100",
    "--no-wasm-dynamic-tiering",
  ];
  const argv = [...heap, `${tree}/src/main.ts`, "serve", "a b", "", "*"];
  expect(launch(["serve", "a b", "", "*"])).toBe(argv.map((arg) => `<${arg}>\n`).join(""));
});

test("the router has a heap of its own, which may not grow much", () => {
  addProgram("node_modules/node/bin/node", 'echo "$@"');
  const heap = "--min-semi-space-size=4 --max-semi-space-size=4 --max-old-space-size=64 --no-wasm-dynamic-tiering";
  expect(launch(["router", "--log-level=debug"])).toBe(`${heap} ${tree}/src/main.ts router --log-level=debug\n`);
});

test("it finds its tree through a symlink", () => {
  addProgram("node_modules/node/bin/node", 'echo "$6"');
  symlinkSync("bin/vmlet", join(tree, "link"));
  expect(execFileSync(join(tree, "link"), { encoding: "utf8" })).toBe(`${tree}/src/main.ts\n`);
});

test("the process that was started becomes the daemon: same pid, signals reach it", async () => {
  addProgram("node_modules/node/bin/node", `trap 'exit 7' TERM; echo $$; while :; do sleep 0.05; done`);
  const child = spawn(join(tree, "bin/vmlet"), { stdio: ["ignore", "pipe", "inherit"] });
  const printed = await new Promise((resolvePid) =>
    child.stdout.once("data", (data) => resolvePid(String(data).trim())),
  );
  expect(printed).toBe(String(child.pid));
  child.kill("SIGTERM");
  expect(await new Promise((resolveCode) => child.once("exit", resolveCode))).toBe(7);
});

test("without the pinned Node it takes one from PATH that is new enough, and says what to do about an old one", () => {
  addProgram("path/node", 'if [ "$1" = --version ]; then echo v24.12.0; else echo ran; fi');
  expect(launch([], { PATH: `${tree}/path:/usr/bin:/bin` })).toBe("ran\n");
  addProgram("path/node", "echo v24.11.1");
  expect(() => launch([], { PATH: `${tree}/path:/usr/bin:/bin` })).toThrow(/v24\.11\.1, 24\.12 or newer.*npm ci/);
});

test("the compile cache is a folder that only its owner may enter, and is not used when it cannot be", () => {
  addProgram("node_modules/node/bin/node", 'echo "${NODE_COMPILE_CACHE:-none}"');
  addProgram("path/id", "echo 1000"); // as if not root: the cache is then below HOME
  const env = { PATH: `${tree}/path:/usr/bin:/bin`, HOME: tree, NODE_DISABLE_COMPILE_CACHE: "" };
  const cache = join(tree, ".cache/vmlet");
  expect(launch([], env)).toBe(`${cache}\n`);
  expect(statSync(cache).mode & 0o777).toBe(0o700);

  rmSync(cache, { recursive: true });
  symlinkSync(tmpdir(), cache);
  expect(launch([], env)).toBe("none\n");
});

test("the router's sources are compiled by a process before it, where they are newer than what was compiled", () => {
  addProgram("node_modules/node/bin/node", 'echo "compile=${VMLET_COMPILE:-} $6 $7"');
  addProgram("path/id", "echo 1000");
  mkdirSync(join(tree, "src"));
  writeFileSync(join(tree, "src/main.ts"), "");
  const env = { PATH: `${tree}/path:/usr/bin:/bin`, HOME: tree, NODE_DISABLE_COMPILE_CACHE: "" };
  const [before, itself] = ["compile=1 router \n", "compile= router --log-level=debug\n"];
  const start = (): string => launch(["router", "--log-level=debug"], env);
  expect(start()).toBe(before + itself);
  expect(start()).toBe(itself);
  const change = (text: string): void => {
    writeFileSync(join(tree, "src/main.ts"), text);
    utimesSync(join(tree, ".cache/vmlet/router"), 0, 0); // the clock of files may not have moved since
  };
  change("// changed");
  expect(start()).toBe(before + itself);
  addProgram("node_modules/node/bin/node", 'echo "compile=${VMLET_COMPILE:-} $6 $7"; [ -z "${VMLET_COMPILE:-}" ]');
  change("// broken");
  expect(start()).toBe(before + itself); // it is for the router itself to say what is wrong
});
