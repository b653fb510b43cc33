// What a benchmark says: rows of ours beside the raw operation of the same run, as a table and as JSON.

import { mkdir, writeFile } from "node:fs/promises";
import { cpus, totalmem } from "node:os";
import { dirname } from "node:path";
import { output } from "../test/node/command.ts";

/**
 * `value`, `p99` and the baseline's are in `unit`; `ratio` is value over baselineValue. A row without a baseline is a
 * figure that stands by itself.
 */
export interface Row {
  readonly name: string;
  readonly unit: "ms" | "MiB" | "MB/s" | "% of a core";
  /** The median. */
  readonly value: number;
  readonly p99?: number;
  /** What was done by hand in turn with ours. */
  readonly baseline?: string;
  readonly baselineValue?: number;
  readonly baselineP99?: number;
  readonly ratio?: number;
  /** Not to be passed by the ratio, or by the figure where there is none; null: `why` says why there is none. */
  readonly target: number | null;
  readonly met: boolean | null;
  readonly why?: string;
  /** How many of each side. */
  readonly runs: number;
}

type Target = number | { readonly none: string };

export interface Measured {
  readonly name: string;
  readonly baseline: string;
  readonly oursMs: readonly number[];
  readonly baselineMs: readonly number[];
  /** Enough runs for a 99th percentile to mean something. */
  readonly hasTail?: true;
  /** The ratio is that of the 99th percentiles. */
  readonly isJudgedByTail?: true;
  readonly target: Target;
}

export interface Figure {
  readonly name: string;
  readonly unit: Row["unit"];
  readonly values: readonly number[];
  readonly hasTail?: true;
  readonly target: Target;
}

export function rowOf({ name, baseline, oursMs, baselineMs, hasTail, isJudgedByTail, target }: Measured): Row {
  const value = quantile(oursMs, 0.5);
  const baselineValue = quantile(baselineMs, 0.5);
  const judgedAt = isJudgedByTail ? 0.99 : 0.5;
  const ratio = round(quantile(oursMs, judgedAt) / quantile(baselineMs, judgedAt));
  return {
    name,
    unit: "ms",
    value: round(value),
    ...(hasTail ? { p99: round(quantile(oursMs, 0.99)) } : {}),
    baseline,
    baselineValue: round(baselineValue),
    ...(hasTail ? { baselineP99: round(quantile(baselineMs, 0.99)) } : {}),
    ratio,
    ...judged(ratio, target),
    runs: Math.min(oursMs.length, baselineMs.length),
  };
}

/** For what has nothing to stand beside: memory, a delay. */
export function figureOf({ name, unit, values, hasTail, target }: Figure): Row {
  const value = round(quantile(values, 0.5));
  const tail = hasTail ? { p99: round(quantile(values, 0.99)) } : {};
  return { name, unit, value, ...tail, ...judged(value, target), runs: values.length };
}

function judged(value: number, target: Target): Pick<Row, "target" | "met" | "why"> {
  if (typeof target === "number") return { target, met: value <= target };
  return { target: null, met: null, why: target.none };
}

/** Each value is one that was measured: no interpolation. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const found = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))];
  if (found === undefined) throw new Error("a quantile of nothing");
  return found;
}

export function printTable(rows: readonly Row[]): void {
  const header = ["what", "", "unit", "p99", "by hand", "p99", "ratio", "target", "", "by hand is"];
  const cells = rows.map((row) => [
    row.name,
    text(row.value),
    row.unit,
    text(row.p99),
    text(row.baselineValue),
    text(row.baselineP99),
    text(row.ratio),
    row.target === null ? "-" : row.target.toFixed(2),
    row.met === null ? "" : row.met ? "met" : "MISSED",
    row.baseline ?? "",
  ]);
  const widths = header.map((title, column) =>
    Math.max(title.length, ...cells.map((line) => line[column]?.length ?? 0)),
  );
  const isText = (column: number): boolean => column === 0 || column === 2 || column >= 8;
  for (const line of [header, ...cells]) {
    const padded = line.map((cell, column) =>
      isText(column) ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
    );
    console.log(padded.join("  ").trimEnd());
  }
  for (const { name, why } of rows) if (why !== undefined) console.log(`${name}: no target: ${why}`);
}

/** @returns the file's path. */
export async function writeResults(repoPath: string, rows: readonly Row[], signal: AbortSignal): Promise<string> {
  const path = `${repoPath}/bench/results/latest.json`;
  const git = async (...args: string[]): Promise<string> =>
    (await output(["git", "-C", repoPath, ...args], signal).catch(() => "")).trim();
  const results = {
    commit: (await git("rev-parse", "HEAD")) || "unknown",
    hasLocalChanges: (await git("status", "--porcelain")) !== "",
    date: new Date().toISOString(),
    machine: {
      cpu: cpus()[0]?.model ?? "unknown",
      cpus: cpus().length,
      memoryMiB: Math.round(totalmem() / 2 ** 20),
      kernel: (await output(["/usr/bin/uname", "-r"], signal)).trim(),
      node: process.version,
    },
    rows,
  };
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `${JSON.stringify(results, null, 2)}\n`);
  return path;
}

const text = (value: number | undefined): string => (value === undefined ? "" : value.toFixed(2));
const round = (value: number): number => Math.round(value * 100) / 100;
