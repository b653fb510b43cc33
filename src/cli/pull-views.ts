// What is shown of a pull while it goes on, and at its end: four ways.

import cliProgress from "cli-progress";
import { type Image, PullPhase, type PullProgress } from "../gen/vmlet.ts";
import { printable } from "../lib/printable.ts";
import { bytesText } from "./format.ts";
import { type Io, json, type Out } from "./io.ts";
import { phaseText, progressText, shareOf } from "./progress-text.ts";

/** Progress goes to stderr, the result to stdout, so that a script reads the result alone. */
export interface PullView extends Disposable {
  progress(progress: PullProgress): void;
  done(image: Image): void;
  failed(failure: { readonly message: string; readonly code: string | undefined }): void;
  /** Told to stop. */
  left(): void;
}

const LEFT_TEXT = "no longer waiting; the download ends unless somebody else waits for it\n";

const SILENT = { progress: () => {}, failed: () => {}, left: () => {}, [Symbol.dispose]: () => {} };
const LINE_EVERY_MS = 5_000;
/** What stands beside the bar, at its longest. */
const BESIDE_CHARS = 58;

export function viewOf(
  reference: string,
  { quiet, asJson }: { readonly quiet: boolean; readonly asJson: boolean },
  io: Io,
): PullView {
  if (asJson) return jsonView(io.stdout);
  const name = printable(reference);
  const done = (image: Image): void =>
    void io.stdout.write(quiet ? `${printable(image.digest)}\n` : doneText(name, image));
  if (quiet) return { ...SILENT, done };
  return io.stderr.isTTY === true ? barView(name, done, io.stderr) : lineView(name, done, io.stderr);
}

function doneText(name: string, { digest, format, sizeBytes, virtualSizeBytes }: Image): string {
  const sizes = `${bytesText(sizeBytes)} on disk, ${bytesText(virtualSizeBytes)} for the guest`;
  return `${name}: ${printable(digest)} (${printable(format)}, ${sizes})\n`;
}

/** One object a line. */
function jsonView(stdout: Out): PullView {
  return {
    ...SILENT,
    progress: ({ phase, ...facts }) => void stdout.write(json({ type: "progress", ...facts, phase: phaseText(phase) })),
    done: (image) => void stdout.write(json({ type: "image", ...image })),
    failed: ({ code, message }) => void stdout.write(json({ type: "error", code, message })),
  };
}

/** Seldom, and at each change of phase. */
function lineView(name: string, done: PullView["done"], stderr: Out): PullView {
  let last: { readonly phase: PullPhase; readonly atMs: number } | undefined;
  return {
    ...SILENT,
    progress: (progress) => {
      const nowMs = performance.now();
      if (last?.phase === progress.phase && nowMs - last.atMs < LINE_EVERY_MS) return;
      last = { phase: progress.phase, atMs: nowMs };
      stderr.write(`${name}: ${progressText(progress)}\n`);
    },
    done,
    left: () => void stderr.write(LEFT_TEXT),
  };
}

/** On a terminal: the name, and a bar that moves below it. */
function barView(name: string, done: PullView["done"], stderr: Out): PullView {
  const bar = new cliProgress.SingleBar({
    stream: stderr,
    gracefulExit: false, // signals are ours
    barsize: Math.max(10, Math.min(40, (stderr.columns ?? 80) - BESIDE_CHARS)),
    barCompleteChar: "=",
    barIncompleteChar: " ",
    format: (options, _params, { progress }: { progress: PullProgress }) => barText(progress, options),
  });
  let isBegun = false;
  let last: PullProgress | undefined;
  return {
    progress: (progress) => {
      last = progress;
      if (!isBegun) {
        stderr.write(`${name}\n`);
        bar.start(1, 0, { progress });
        isBegun = true;
      } else bar.update(shareOf(progress) ?? 0, { progress });
    },
    done: (image) => {
      if (last !== undefined) {
        const { totalBytes = last.receivedBytes } = last;
        const whole = { ...last, receivedBytes: totalBytes, totalBytes, phase: PullPhase.PULL_PHASE_CHECKING };
        bar.update(1, { progress: whole });
      }
      bar.stop();
      done(image);
    },
    failed: () => bar.stop(),
    left: () => {
      bar.stop();
      stderr.write(LEFT_TEXT);
    },
    [Symbol.dispose]: () => bar.stop(), // stopped already: no change
  };
}

function barText(progress: PullProgress, options: cliProgress.Options): string {
  const share = shareOf(progress);
  const text = progressText(progress);
  return share === undefined ? text : `[${cliProgress.Format.BarFormat(share, options)}] ${text}`;
}
