// What is to be known of specs that ran.

import type { SpecResult } from "./critest.ts";
import type { Skip } from "./skips.ts";

export interface SpecRun {
  readonly title: string;
  readonly results: readonly SpecResult[];
}

/** Prints it. True when nothing failed, something passed, and nothing skipped itself unnamed. */
export function report(runs: readonly SpecRun[], named: readonly Skip[]): boolean {
  const isNamed = ({ name }: SpecResult): boolean => named.some(({ spec }) => spec === name);
  const results = runs.flatMap(({ title, results: own }) => own.map((result) => ({ ...result, title })));
  const failed = results.filter(({ outcome }) => outcome === "failed");
  const unnamed = results.filter((result) => result.outcome === "skipped" && result.message !== "" && !isNamed(result));
  for (const { title, name, seconds, message } of failed) {
    console.log(`FAILED (${title}, ${seconds.toFixed(1)} s) ${name}\n    ${message}`);
  }
  for (const { name, message } of unnamed) console.log(`FAILED (skipped itself: ${message}) ${name}`);
  for (const { spec, reason } of named) console.log(`SKIPPED ${spec}: ${reason}`);
  for (const { title, results: own } of runs)
    console.log(`${title}: ${own.filter(({ outcome }) => outcome === "passed").length} passed`);
  const passed = results.filter(({ outcome }) => outcome === "passed");
  const counts = [passed.length, failed.length + unnamed.length, named.length];
  console.log(`conformance: ${counts[0]} passed, ${counts[1]} failed, ${counts[2]} skipped`);
  return counts[1] === 0 && passed.length > 0;
}
