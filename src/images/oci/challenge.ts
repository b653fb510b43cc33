// WWW-Authenticate: what a server wants to see before it answers (RFC 9110, section 11.6.1).

export interface Challenge {
  /** Lower case. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly params: Readonly<Record<string, string>>;
}

const MAX_CHARS = 8192;
const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const SCHEME = new RegExp(`^(${TOKEN})(?=[ \\t,]|$)[ \\t]*`);
const PARAM = new RegExp(`^(${TOKEN})[ \\t]*=[ \\t]*(?:"((?:[^"\\\\]|\\\\.)*)"|(${TOKEN}))[ \\t]*`);

/** Every challenge in the header, in order; what cannot be read ends the list. */
export function parseChallenges(header: string): readonly Challenge[] {
  const challenges: { scheme: string; params: Record<string, string> }[] = [];
  let rest = header.slice(0, MAX_CHARS).trimStart();
  while (rest !== "") {
    const param = PARAM.exec(rest);
    const scheme = param === null ? SCHEME.exec(rest) : null;
    const [whole] = param ?? scheme ?? [];
    if (whole === undefined) break;
    if (scheme?.[1] !== undefined) challenges.push({ scheme: scheme[1].toLowerCase(), params: Object.create(null) });
    const last = challenges.at(-1);
    if (param?.[1] !== undefined && last !== undefined) {
      last.params[param[1].toLowerCase()] = param[2]?.replace(/\\(.)/g, "$1") ?? param[3] ?? "";
    }
    rest = rest.slice(whole.length).replace(/^[ \t,]+/, "");
  }
  return challenges;
}
