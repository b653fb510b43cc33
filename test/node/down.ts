// make node-down: removes the dev node's pods, then the node. Ends with status 1 if something is left, and says what.

import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { succeeds } from "./command.ts";
import { answers, startDaemon, stopDaemon } from "./daemon.ts";
import { devNode } from "./dev-node.ts";
import { stopOurLibvirtd } from "./libvirtd.ts";
import { stopByPidFile } from "./process.ts";
import { destroyDomains, findLeftovers, removePods } from "./teardown.ts";

const signal = AbortSignal.timeout(300_000);
const { layout, imageServerPidPath } = devNode();

if (!existsSync(layout.runFolderPath) && !existsSync(layout.stateFolderPath)) {
  console.log("node-down: there is no node");
} else {
  try {
    if (!(await answers(layout, signal))) await startDaemon(layout, signal); // only it knows how to undo its pods
    console.log(`node-down: ${await removePods(layout, signal)} pods removed`);
  } catch (error) {
    console.log(`node-down: ${error instanceof Error ? error.message : String(error)}`);
  }
  await stopDaemon(layout, signal);
  console.log("node-down: daemon stopped");
  await stopByPidFile(imageServerPidPath, layout.imageFolderPath, signal);
  const left = await findLeftovers(layout, signal);
  for (const line of left) console.log(`node-down: LEFT BEHIND: ${line}`);
  if (left.length > 0) process.exitCode = 1;
  await destroyDomains(layout, signal);
  await succeeds(["/usr/sbin/ip", "link", "delete", layout.bridgeName], signal);
  await rm(layout.runFolderPath, { recursive: true, force: true });
  await rm(layout.stateFolderPath, { recursive: true, force: true });
  console.log("node-down: network and folders removed");
}
console.log(`node-down: ${await stopOurLibvirtd(signal)}`);
