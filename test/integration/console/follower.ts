// A daemon that does nothing but follow one console, to be killed: `node follower.ts '<request as JSON>' '<options>'`.

import { createConsoleLogs } from "../../../src/console/adapter.ts";
import type { Logger } from "../../../src/ports/logger.ts";

const [, , request = "", options = "{}"] = process.argv;
const say = (message: string, fields?: unknown): void => console.error(message, fields);
const log: Logger = { error: say, warn: say, info: say, debug() {}, child: () => log };
const logs = createConsoleLogs(JSON.parse(options), { clock: { nowMs: () => Date.now() }, log });
await logs.follow(JSON.parse(request), new AbortController().signal);
console.log("following");
setInterval(() => {}, 1 << 30);
