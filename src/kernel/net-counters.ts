// Counters of network interfaces, as /proc/<pid>/net/dev shows them.

import type { InterfaceUsage } from "../model/usage.ts";

/** All but loopback; empty for what is no such file. */
export function interfacesIn(text: string): readonly InterfaceUsage[] {
  return text.split("\n").flatMap((line) => {
    const [, name = "", rest = ""] = /^\s*([^\s:]+):\s*(.*)$/.exec(line) ?? [];
    const numbers = rest.split(/\s+/).map(Number);
    if (name === "" || name === "lo" || numbers.length < 11 || numbers.some(Number.isNaN)) return [];
    const [rxBytes = 0, , rxErrors = 0, , , , , , txBytes = 0, , txErrors = 0] = numbers;
    return [{ name, rxBytes, rxErrors, txBytes, txErrors }];
  });
}
