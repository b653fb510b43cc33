// `vmlet router` of a test, in front of a node and a containerd.

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { type CriClient, connectCri } from "./cri-client.ts";
import { type NodeLayout, REPO_PATH } from "./layout.ts";
import { poll } from "./poll.ts";
import { pidOf, startInBackground, stopByPidFile } from "./process.ts";

export interface Router extends AsyncDisposable {
  readonly socketPath: string;
  /** For `crictl --config`. */
  readonly crictlConfigPath: string;
  readonly cri: CriClient;
  pid(): Promise<number>;
  start(signal: AbortSignal): Promise<void>;
}

export async function startRouterProcess(
  layout: NodeLayout,
  options: { readonly containersSocketPath: string; readonly imagePrefixes?: readonly string[] },
  signal: AbortSignal,
): Promise<Router> {
  const at = (name: string): string => join(layout.runFolderPath, name);
  const socketPath = at("router.sock");
  const configPath = at("router.yaml");
  const crictlConfigPath = at("router-crictl.yaml");
  const background = { pidPath: at("router.pid"), logPath: at("router.log") };
  const router = {
    socketPath,
    ...options,
    stateFolderPath: join(layout.stateFolderPath, "router"),
    metrics: { listen: "127.0.0.1:0" },
  };
  await writeFile(configPath, stringify({ socketPath: layout.socketPath, router }));
  const endpoint = `unix://${socketPath}`;
  await writeFile(
    crictlConfigPath,
    stringify({ "runtime-endpoint": endpoint, "image-endpoint": endpoint, timeout: 120 }),
  );
  const cri = connectCri(socketPath);
  const own = {
    socketPath,
    crictlConfigPath,
    cri,
    pid: async (): Promise<number> => {
      const pid = await pidOf(background.pidPath, configPath);
      if (pid === undefined) throw new Error("the router does not run");
      return pid;
    },
    start: async (starting: AbortSignal): Promise<void> => {
      await startInBackground([join(REPO_PATH, "bin/vmlet"), "router", "--config", configPath], background);
      const ask = async (): Promise<unknown> => await cri.runtime.version({ version: "v1" }, starting);
      await poll(
        ask,
        { what: `an answer of the router (${background.logPath})`, limitMs: 60_000, everyMs: 20 },
        starting,
      );
    },
  };
  await own.start(signal);
  return {
    ...own,
    [Symbol.asyncDispose]: async () => {
      cri[Symbol.dispose]();
      await stopByPidFile(background.pidPath, configPath, AbortSignal.timeout(30_000));
    },
  };
}
