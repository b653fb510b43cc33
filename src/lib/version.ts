// Which vmlet this is.

import { readFileSync } from "node:fs";

/** From package.json. */
export function vmletVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
    readonly version: string;
  };
  return version;
}
