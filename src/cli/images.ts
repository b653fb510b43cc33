// vmlet images: what is on the node, and what is on its way there, whoever asked for it.

import type { Command } from "commander";
import type { Image, PullProgress } from "../gen/vmlet.ts";
import { printable } from "../lib/printable.ts";
import { addDaemonOptions, connect, type DaemonOptions } from "./daemon-options.ts";
import { agoText, bytesText, shortId, splitTag } from "./format.ts";
import { type Io, json } from "./io.ts";
import { amountText, leftText, phaseText, rateText } from "./progress-text.ts";
import { table } from "./table.ts";

interface Options extends DaemonOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
  /** commander's spelling of --no-trunc. */
  readonly trunc: boolean;
}

export function addImages(program: Command, io: Io): void {
  const command = program
    .command("images")
    .description("List images, and pulls under way with their progress")
    .option("--json", "one JSON object: images and pulls")
    .option("--no-trunc", "whole digests")
    .option("-q, --quiet", "print the images' digests only");
  addDaemonOptions(command).action(async (options: Options) => await images(options, io));
}

async function images(options: Options, { stdout, signal }: Io): Promise<void> {
  using daemon = await connect(options, signal);
  const [listed, pulls] = await Promise.all([daemon.listImages(signal), daemon.listPulls(signal)]);
  if (options.json === true) return void stdout.write(json({ images: listed, pulls: pulls.map(pullFacts) }, 2));
  const idOf = (digest: string): string => (options.trunc ? shortId(digest) : digest);
  if (options.quiet === true)
    return void stdout.write(listed.map(({ digest }) => `${printable(idOf(digest))}\n`).join(""));
  const nowMs = Date.now();
  const rows = listed.flatMap((image) => imageRows(image, idOf(image.digest), nowMs));
  const heads = ["IMAGE", "TAG", "IMAGE ID", "SIZE", "VIRTUAL SIZE", "PINNED", "PULLED"];
  stdout.write(table(heads, rows.toSorted(byName)));
  if (pulls.length === 0) return;
  const pullHeads = ["PULLING", "STATE", "RECEIVED", "RATE", "LEFT", "STARTED", "WAITING"];
  stdout.write(
    `\n${table(
      pullHeads,
      pulls.map((pull) => pullRow(pull, nowMs)),
    )}`,
  );
}

/** One for each name with a tag; an image that only a digest names has one row all the same. */
function imageRows(image: Image, id: string, nowMs: number): (readonly string[])[] {
  const names =
    image.repoTags.length > 0
      ? image.repoTags.map(splitTag)
      : [[image.repoDigests[0]?.split("@")[0] ?? "<none>", "<none>"] as const];
  const { sizeBytes, virtualSizeBytes, pinned, pulledAtMs } = image;
  const facts = [
    id,
    bytesText(sizeBytes),
    bytesText(virtualSizeBytes),
    pinned ? "yes" : "no",
    agoText(pulledAtMs, nowMs),
  ];
  return names.map((name) => [...name, ...facts]);
}

function pullRow(pull: PullProgress, nowMs: number): readonly string[] {
  return [
    pull.image,
    phaseText(pull.phase),
    amountText(pull),
    rateText(pull),
    leftText(pull),
    agoText(pull.startedAtMs, nowMs),
    pull.waiters.join(", "),
  ];
}

const pullFacts = ({ phase, ...facts }: PullProgress): unknown => ({ ...facts, phase: phaseText(phase) });

const byName = (one: readonly string[], other: readonly string[]): number =>
  one.join(" ").localeCompare(other.join(" "), "en");
