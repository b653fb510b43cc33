// The newest size of a client's terminal, told as it changes.

import type { TerminalSize } from "../../ports/guest-exec.ts";

const USUAL: TerminalSize = { columns: 80, rows: 24 };

export class TerminalSizes implements Disposable {
  readonly #sizes: AsyncIterator<TerminalSize> | undefined;
  #latest = USUAL;
  #listener: (size: TerminalSize) => void = () => {};
  #isOver = false;

  constructor(sizes: AsyncIterable<TerminalSize> | undefined) {
    this.#sizes = sizes?.[Symbol.asyncIterator]();
    void this.#follow();
  }

  get latest(): TerminalSize {
    return this.#latest;
  }

  listen(listener: (size: TerminalSize) => void): void {
    this.#listener = listener;
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    this.#sizes?.return?.()?.catch(() => {});
  }

  /** Never rejects: a client that went away has no size. */
  async #follow(): Promise<void> {
    try {
      for (let next = await this.#sizes?.next(); next?.done === false; next = await this.#sizes?.next()) {
        if (this.#isOver) return;
        this.#latest = next.value;
        this.#listener(next.value);
      }
    } catch {
      // No more sizes.
    }
  }
}
