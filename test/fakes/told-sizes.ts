// The sizes of a terminal whose user is a test.

import type { TerminalSize, TerminalSizes } from "../../src/ports/guest-exec.ts";

export class ToldSizes implements TerminalSizes {
  latest: TerminalSize | undefined;
  #listener: (size: TerminalSize) => void = () => {};

  constructor(latest?: TerminalSize) {
    this.latest = latest;
  }

  listen(listener: (size: TerminalSize) => void): void {
    this.#listener = listener;
  }

  tell(size: TerminalSize): void {
    this.latest = size;
    this.#listener(size);
  }
}
