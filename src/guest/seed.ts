// The seed: a NoCloud image, with the same facts as plain files for guests without cloud-init. docs/guest-contract.md.

import { chmod, mkdir, rename, rm, statfs, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { stringify } from "yaml";
import { errorCodeOf } from "../lib/error-code.ts";
import type { Run } from "../lib/spawn.ts";
import { VmletError } from "../model/failure.ts";
import { RUN_AS_PATH } from "../model/run-as.ts";
import type { Seed, SeedRequest } from "../ports/seed.ts";
import { ensureExecKeys } from "./exec/keys.ts";
import { SSH_UNIT, SSH_UNIT_NAME, type SshFile, sshFiles } from "./exec/serve.ts";
import { readInitReportFile } from "./init-report.ts";
import { networkConfig, networkVariables } from "./network.ts";
import { runAsScript } from "./run-as.ts";
import { runWorkloadScript, setupScript, VENDOR_DATA, WORKLOAD_UNIT, workloadScript } from "./scripts.ts";
import { environmentFile } from "./shell.ts";

export interface SeedParts {
  readonly run: Run;
  /** Path of genisoimage, or of a program that takes its arguments. */
  readonly isoTool: string;
}

/** Path on the seed to content. */
export type SeedContents = ReadonlyMap<string, string | Uint8Array>;

/** More than the image's own structures take: what is free must hold the content twice, and this. */
const IMAGE_OVERHEAD_BYTES = 512 * 1024;

export function createSeed({ run, isoTool }: SeedParts): Seed {
  return {
    async build(request, signal) {
      const { ssh } = request;
      const files = ssh === undefined ? [] : sshFiles(await ensureExecKeys(ssh.keyFolderPath), ssh.user);
      const contents = seedContents(request, files);
      const stagePath = `${request.seedPath}.stage`;
      const imagePath = `${request.seedPath}.tmp`;
      try {
        await rm(stagePath, { recursive: true, force: true });
        await writeContents(stagePath, contents, signal);
        await writeFile(imagePath, "", { mode: 0o600 }); // the tool keeps the mode: nobody else ever reads it
        await chmod(imagePath, 0o600);
        const args = ["-quiet", "-V", "cidata", "-R", "-J", "-no-pad", "-input-charset", "utf-8"];
        const { exitCode, stderr } = await run(isoTool, [...args, "-o", imagePath, stagePath], {}, signal);
        if (exitCode !== 0) throw failed(isoTool, exitCode, stderr);
        await rename(imagePath, request.seedPath);
      } catch (error) {
        await rm(imagePath, { force: true });
        signal.throwIfAborted();
        throw await explained(error, request.seedPath, contents);
      } finally {
        await rm(stagePath, { recursive: true, force: true });
      }
    },
    async readInitReport(initReportPath) {
      return (await readInitReportFile(initReportPath))?.exitCode;
    },
  };
}

/**
 * Everything on the seed.
 * @param ssh What lets us in by ssh; empty: nothing does.
 * @throws SPEC_INVALID naming the field that no guest can be given
 */
export function seedContents(request: SeedRequest, ssh: readonly SshFile[] = []): SeedContents {
  const { machineId, hostname, sshKeys, env, argv, workingDir, input, runAs, files, sysctls } = request;
  const hasWorkload = argv.length > 0;
  const contents = new Map<string, string | Uint8Array>([
    ["meta-data", yaml({ "instance-id": `vmlet-${machineId}`, "local-hostname": hostname, "public-keys": sshKeys })],
    ["network-config", yaml(networkConfig(request))],
    ["user-data", request.userData],
    ["vendor-data", VENDOR_DATA],
    ["vmlet/network", networkVariables(request)],
    ["vmlet/environment", environmentFile(env)],
    ["vmlet/authorized_keys", sshKeys.map((key) => `${key}\n`).join("")],
    ["vmlet/setup", setupScript(files, { hasWorkload, hasRunAs: runAs !== undefined, ssh, sysctls })],
  ]);
  for (const { name, content } of ssh) contents.set(`vmlet/ssh/${name}`, content);
  if (ssh.length > 0) contents.set(`vmlet/${SSH_UNIT_NAME}`, SSH_UNIT);
  if (runAs !== undefined) contents.set("vmlet/run-as", runAsScript(runAs));
  if (hasWorkload) {
    contents.set("vmlet/workload", workloadScript(runAs === undefined ? argv : [RUN_AS_PATH, ...argv], workingDir));
    contents.set("vmlet/run-workload", runWorkloadScript(input));
    contents.set("vmlet/vmlet-workload.service", WORKLOAD_UNIT);
  }
  for (const [index, { content }] of files.entries()) contents.set(`vmlet/files/${index}`, content);
  return contents;
}

/** Every string quoted: guests read YAML 1.1, where a MAC address of digits is a number. */
function yaml(value: object): string {
  return stringify(value, { version: "1.1", defaultStringType: "QUOTE_DOUBLE", defaultKeyType: "PLAIN", lineWidth: 0 });
}

async function writeContents(folderPath: string, contents: SeedContents, signal: AbortSignal): Promise<void> {
  await mkdir(folderPath, { mode: 0o700 });
  for (const [name, content] of contents) {
    signal.throwIfAborted();
    const path = join(folderPath, name);
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    await writeFile(path, content, { mode: 0o600 });
  }
}

async function explained(error: unknown, seedPath: string, contents: SeedContents): Promise<unknown> {
  const isFull = errorCodeOf(error) === "ENOSPC";
  const isToolFailure = error instanceof VmletError && error.failure.code === "TOOL_FAILED";
  if (!isFull && !isToolFailure) return error;
  const { bavail, bsize } = await statfs(dirname(seedPath));
  const freeBytes = bavail * bsize;
  const contentBytes = [...contents.values()].reduce((sum, each) => sum + Buffer.byteLength(each), 0);
  const neededBytes = 2 * contentBytes + IMAGE_OVERHEAD_BYTES;
  if (!isFull && freeBytes >= neededBytes) return error;
  const message = `no room for the seed ${seedPath}: it needs ${neededBytes} bytes, ${freeBytes} are free; free some`;
  return new VmletError({ code: "DISK_FULL", path: seedPath, neededBytes, freeBytes }, message, { cause: error });
}

function failed(tool: string, exitCode: number | null, stderr: string): VmletError {
  const said = stderr.trim().slice(-500);
  return new VmletError({ code: "TOOL_FAILED", tool, exitCode }, `${tool} ended with ${exitCode}: ${said}`);
}
