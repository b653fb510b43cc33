// Text from elsewhere (a guest, a registry, a pod's author) made fit for a terminal or for one line.

// C1 controls, which a terminal may obey; line separators; marks that turn writing round.
const INVISIBLE = /[\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;
const CONTROL = /\p{Cc}/gu;

/** What JSON leaves as it is and a reader does not see becomes `\uXXXX`: JSON stays JSON, and the same value. */
export function escapeInvisible(json: string): string {
  return json.replace(INVISIBLE, escaped);
}

/** One line in which nothing moves the cursor, colours anything, or reads backwards. */
export function printable(text: string): string {
  return escapeInvisible(text.replace(CONTROL, (char) => NAMED.get(char) ?? escaped(char)).toWellFormed());
}

const NAMED: ReadonlyMap<string, string> = new Map([
  ["\n", "\\n"],
  ["\r", "\\r"],
  ["\t", "\\t"],
]);

const escaped = (char: string): string => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
