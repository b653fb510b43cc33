// make node-up: brings the dev node up, or finds it up. Each line says what is there and where to look.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { answers, startDaemon } from "./daemon.ts";
import { devNode } from "./dev-node.ts";
import { imageNameOf } from "./image-server.ts";
import { REPO_PATH } from "./layout.ts";
import { ensureLibvirtd } from "./libvirtd.ts";
import { writeNodeFiles } from "./node-files.ts";
import { pidOf, startInBackground } from "./process.ts";

const signal = AbortSignal.timeout(180_000);
process.on("uncaughtException", (error) => {
  console.error(`node-up: ${error.message}\nnode-up: what is there already is removed by: make node-down`);
  process.exit(1);
});
const { options, layout, imageServerPidPath } = devNode();

say("libvirtd", await ensureLibvirtd(signal));
await writeNodeFiles(options, layout);
say(
  "network",
  `${layout.networkName}, ${options.subnet}.0/24 on bridge ${layout.bridgeName} (${layout.cniFolderPath})`,
);

if ((await pidOf(imageServerPidPath, layout.imageFolderPath)) === undefined) {
  const server = join(REPO_PATH, "test/node/image-server.ts");
  await startInBackground([process.execPath, server, layout.imageFolderPath, String(options.imagePort)], {
    pidPath: imageServerPidPath,
    logPath: join(layout.runFolderPath, "image-server.log"),
  });
}
say("images", `http://127.0.0.1:${options.imagePort}/ serves ${layout.imageFolderPath}`);

const was = await answers(layout, signal);
if (!was) await startDaemon(layout, signal);
say("daemon", `${was ? "answers already" : "answers"} on ${layout.socketPath} (log: ${layout.daemonLogPath})`);

const crictl = join(REPO_PATH, ".cache/bin/crictl");
console.log(`
Look around:
  alias crictl='${existsSync(crictl) ? crictl : "crictl"} --config ${layout.crictlConfigPath}'
  crictl pods; crictl ps; crictl images
  crictl pull ${imageNameOf(options.imagePort, "tiny.qcow2")}
  virsh list --all
End it with: make node-down`);

function say(what: string, text: string): void {
  console.log(`node-up: ${what.padEnd(9)} ${text}`);
}
