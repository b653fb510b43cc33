// The first line that a command's errors begin with, written by what starts it: by which session it can be killed.

/** A control character that no terminal's echo begins with, then words. */
export const MARK_SCRIPT = `read -r stat </proc/self/stat
mark() { printf '\\036vmlet %s\\n' "$4" >&2; }
mark \${stat##*) }`;

const PREFIX = "\u001evmlet ";
const LINE = /^(\d{1,10})\r?\n/;
const MAX_BYTES = 64;

export class SessionMark {
  readonly #found = Promise.withResolvers<string | undefined>();
  #held: Buffer | undefined = Buffer.alloc(0);

  /** The session's id; undefined when the command's output began otherwise. Settles with the first bytes or `end`. */
  get session(): Promise<string | undefined> {
    return this.#found.promise;
  }

  /** What of a piece of output is the command's own. */
  strip(chunk: Buffer): Buffer {
    if (this.#held === undefined) return chunk;
    const all = Buffer.concat([this.#held, chunk]);
    const text = all.subarray(0, MAX_BYTES).toString("latin1");
    const isMark = text.startsWith(PREFIX.slice(0, text.length));
    const line = isMark ? LINE.exec(text.slice(PREFIX.length)) : null;
    if (isMark && line === null && text.length < MAX_BYTES) {
      this.#held = all;
      return Buffer.alloc(0);
    }
    this.#held = undefined;
    this.#found.resolve(line?.[1]);
    return line === null ? all : all.subarray(PREFIX.length + line[0].length);
  }

  /** No more output: what was held back is the command's after all. */
  end(): Buffer {
    const rest = this.#held ?? Buffer.alloc(0);
    this.#held = undefined;
    this.#found.resolve(undefined);
    return rest;
  }
}
