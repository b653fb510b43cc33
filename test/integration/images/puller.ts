// A process with an image store that pulls one image and says its digest: to be killed in the middle.

import { parseConfig } from "../../../src/config/load.ts";
import { openImageStore } from "../../../src/images/store.ts";
import { run } from "../../../src/lib/spawn.ts";
import { keptLog } from "../../fakes/kept-log.ts";

const [rootPath = "", name = "", hostsFolderPath = "/nonexistent"] = process.argv.slice(2);
const images = { allowHttp: true, registry: { hostsFolderPath, authPath: "/nonexistent" } };
const config = parseConfig(JSON.stringify({ images }), "puller", []);
const signal = AbortSignal.timeout(100_000);
const clock = { nowMs: () => Date.now() };
await using store = await openImageStore({ ...config.images, rootPath }, { run, clock, log: keptLog() }, signal);
const { digest } = await store.pull(name, signal);
process.stdout.write(digest);
