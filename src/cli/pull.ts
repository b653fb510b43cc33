// vmlet pull: has an image on the node, and shows how it comes.

import type { Command } from "commander";
import { type CredentialOptions, readCredentials } from "./credentials.ts";
import { addDaemonOptions, connect, type DaemonOptions } from "./daemon-options.ts";
import { CliFailure } from "./failure.ts";
import type { Io } from "./io.ts";
import { viewOf } from "./pull-views.ts";

interface Options extends DaemonOptions, CredentialOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export function addPull(program: Command, io: Io): void {
  const command = program
    .command("pull")
    .description("Download an image, or join the download that is under way; prints its digest")
    .argument("<image>", "name as in a pod: vmlet.dev/https/host/path, a registry's name, …")
    .option("--creds-file <path>", "file with user:password for the registry; -: stdin")
    .option("--creds <user:password>", "the same for all on this machine to see; prefer --creds-file")
    .option("--json", "one JSON object a line: progress, then the image or the error")
    .option("-q, --quiet", "print the digest only");
  addDaemonOptions(command).action(async (image: string, options: Options) => await pull(image, options, io));
}

async function pull(image: string, options: Options, io: Io): Promise<void> {
  const { json = false, quiet = false } = options;
  using view = viewOf(image, { asJson: json, quiet }, io);
  try {
    const credentials = await readCredentials(options, io);
    using daemon = await connect(options, io.signal);
    for await (const { progress, image: pulled } of daemon.pull({ image, credentials }, io.signal)) {
      if (progress) view.progress(progress);
      if (pulled) view.done(pulled);
    }
  } catch (error) {
    if (error instanceof CliFailure) view.failed(error);
    else view.left();
    throw error;
  }
}
