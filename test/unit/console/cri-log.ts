// Reads a CRI log as the kubelet does. Bytes as latin1, so that none is lost.

const LINE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z stdout ([PF] [^\n]*)$/s;

/** `<tag> <content>` of each line; throws on a line that is none. */
export function linesOf(log: Buffer): string[] {
  const text = log.toString("latin1");
  if (text === "") return [];
  if (!text.endsWith("\n")) throw new Error(`log ends inside a line: ${JSON.stringify(text.slice(-80))}`);
  return text
    .slice(0, -1)
    .split("\n")
    .map((line) => {
      const tagged = LINE.exec(line)?.[1];
      if (tagged === undefined) throw new Error(`not a CRI log line: ${JSON.stringify(line)}`);
      return tagged;
    });
}

/** What the guest printed: P lines joined to what follows. */
export function contentOf(log: Buffer): string {
  return linesOf(log)
    .map((line) => line.slice(2) + (line.startsWith("F") ? "\n" : ""))
    .join("");
}
