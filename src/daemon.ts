// Composition root: builds every part in order, disposes in reverse.

import type { Config } from "./config/schema.ts";
import { VmletError } from "./model/failure.ts";
import type { Logger } from "./ports/logger.ts";

export async function startDaemon(_config: Config, _log: Logger, _signal: AbortSignal): Promise<AsyncDisposable> {
  throw new VmletError({ code: "NOT_IMPLEMENTED", rpc: "serve" }, "serve: the parts are not composed yet");
}
