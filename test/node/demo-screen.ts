// What the demo prints: steps with the time since the start; colour and a moving line only for a terminal.

const startedMs = performance.now();
const isTerminal = process.stdout.isTTY && process.env["NO_COLOR"] === undefined;
const paint = (code: number, text: string): string => (isTerminal ? `\x1b[${code}m${text}\x1b[0m` : text);
let lastProgressMs = 0;

export const elapsed = (): string => `${((performance.now() - startedMs) / 1000).toFixed(1)} s`;
export const dim = (text: string): string => paint(2, text);

export function step(text: string): void {
  clear();
  console.log(`\n${paint(36, `[${elapsed().padStart(7)}]`)} ${paint(1, text)}`);
}

export function ok(text: string): void {
  clear();
  console.log(`${" ".repeat(10)}${paint(32, text)}`);
}

export function line(text: string): void {
  clear();
  console.log(`${" ".repeat(10)}${text}`);
}

/** Long work: on a terminal a line that changes, otherwise one line every ten seconds. */
export function progress(text: string): void {
  if (isTerminal) {
    const width = (process.stdout.columns ?? 80) - 22;
    process.stdout.write(`\r\x1b[K          ${dim(`${elapsed()}  ${text.slice(0, width)}`)}`);
  } else if (performance.now() - lastProgressMs > 10_000) {
    lastProgressMs = performance.now();
    console.log(`${" ".repeat(10)}${elapsed()} ... ${text.slice(0, 90)}`);
  }
}

function clear(): void {
  if (isTerminal) process.stdout.write("\r\x1b[K");
}
