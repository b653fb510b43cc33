// Columns of text, as docker and crictl print them.

import { printable } from "../lib/printable.ts";

const GAP = "   ";

/** Lines with their ends. Cells may come from anywhere. */
export function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [heads, ...rows].map((cells) => cells.map(printable));
  const widths = heads.map((_, column) => Math.max(...lines.map((cells) => cells[column]?.length ?? 0)));
  return lines.map((cells) => `${padded(cells, widths).join(GAP).trimEnd()}\n`).join("");
}

const padded = (cells: readonly string[], widths: readonly number[]): string[] =>
  cells.map((cell, column) => cell.padEnd(widths[column] ?? 0));
