// CNI plugins written as shell scripts in a temp folder, which note how they were called.

import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createNetwork } from "../../../src/cni/adapter.ts";
import { type Run, run } from "../../../src/lib/spawn.ts";
import { newPodId } from "../../../src/model/ids.ts";
import type { Logger } from "../../../src/ports/logger.ts";
import type { Network, NetworkRequest } from "../../../src/ports/network.ts";

export const RESULT = {
  cniVersion: "1.0.0",
  interfaces: [{ name: "eth0", mac: "02:00:00:00:00:07", sandbox: "/run/netns/x" }],
  ips: [{ address: "10.1.2.3/24", gateway: "10.1.2.1", interface: 0 }],
  routes: [{ dst: "0.0.0.0/0" }],
};

export class ScriptPlugins implements AsyncDisposable {
  readonly folderPath: string;
  readonly logged: string[] = [];

  static async create(): Promise<ScriptPlugins> {
    const plugins = new ScriptPlugins(await mkdtemp(join(tmpdir(), "vmlet-cni-")));
    for (const name of ["net.d", "bin"]) await mkdir(join(plugins.folderPath, name));
    return plugins;
  }

  private constructor(folderPath: string) {
    this.folderPath = folderPath;
  }

  /** A plugin that notes its call and then does `body`. */
  async plugin(name: string, body: string): Promise<void> {
    const note = [
      `echo "$CNI_COMMAND ${name}" >> ${this.folderPath}/calls`,
      `cat > ${this.folderPath}/stdin.${name}.$CNI_COMMAND`,
      `env > ${this.folderPath}/env.${name}.$CNI_COMMAND`,
    ];
    const path = join(this.folderPath, "bin", name);
    await writeFile(path, ["#!/bin/sh", ...note, body, ""].join("\n"));
    await chmod(path, 0o755);
  }

  /** A plugin that prints `result` on ADD and succeeds at everything else. */
  good(name: string, result: unknown = RESULT): Promise<void> {
    return this.plugin(name, `[ $CNI_COMMAND != ADD ] || cat <<'END'\n${JSON.stringify(result)}\nEND`);
  }

  async config(content: unknown, fileName = "10-test.conflist"): Promise<void> {
    const text = typeof content === "string" ? content : JSON.stringify(content);
    await writeFile(join(this.folderPath, "net.d", fileName), text);
  }

  chain(...types: string[]): Promise<void> {
    return this.config({ cniVersion: "1.0.0", name: "test", plugins: types.map((type) => ({ type })) });
  }

  network({ pluginLimitMs = 20_000, run: pluginRun = run }: { pluginLimitMs?: number; run?: Run } = {}): Network {
    const log: Logger = {
      error: (message) => this.logged.push(`error ${message}`),
      warn: (message) => this.logged.push(`warn ${message}`),
      info: () => {},
      debug: () => {},
      child: () => log,
    };
    return createNetwork(
      {
        configFolderPath: join(this.folderPath, "net.d"),
        binFolderPaths: [join(this.folderPath, "nothing"), join(this.folderPath, "bin")],
        cacheFolderPath: join(this.folderPath, "cache"),
        pluginLimitMs,
      },
      { run: withoutKernel(pluginRun), log },
    );
  }

  /** `ADD bridge`, `DEL bridge`, … in order. */
  async calls(): Promise<string[]> {
    const text = await readFile(join(this.folderPath, "calls"), "utf8").catch(() => "");
    return text.split("\n").filter(Boolean);
  }

  async stdin(name: string, command: string): Promise<Record<string, unknown>> {
    return JSON.parse(await readFile(join(this.folderPath, `stdin.${name}.${command}`), "utf8"));
  }

  async env(name: string, command: string): Promise<string[]> {
    const text = await readFile(join(this.folderPath, `env.${name}.${command}`), "utf8");
    return text.split("\n").filter((line) => line.startsWith("CNI_"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folderPath, { recursive: true });
  }
}

export function newRequest(extra: Partial<NetworkRequest> = {}): NetworkRequest {
  return {
    podId: newPodId(),
    netnsPath: "/run/netns/not-there",
    pod: { name: "web", namespace: "default", uid: "7a1d" },
    portMappings: [],
    dns: { servers: [], searches: [], options: [] },
    ...extra,
  };
}

/** Plugins run for real; what is asked of the kernel about eth0 gets a fixed answer. */
const withoutKernel =
  (pluginRun: Run): Run =>
  async (file, args, options, signal) => {
    if (file !== "nsenter") return await pluginRun(file, args, options, signal);
    const answer = args.includes("link") ? [{ ifname: "eth0", address: "02:00:00:00:00:99", mtu: 1442 }] : [];
    return {
      exitCode: 0,
      signalName: null,
      stdout: Buffer.from(JSON.stringify(answer)),
      stderr: "",
      truncated: false,
    };
  };
