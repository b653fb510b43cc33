// Clients of exec and port-forward, many at once, each with some traffic, for as long as stdin is open. Says "open" when all are.

import { once } from "node:events";
import { TRANSPORTS, type Transport } from "../test/fakes/command-client.ts";
import { SpdyClient } from "../test/fakes/spdy-client.ts";
import { connectCri } from "../test/node/cri-client.ts";

const [socketPath = "", podId = "", containerId = "", execs, forwards] = process.argv.slice(2);
const EVERY_MS = 1_000;
const signal = AbortSignal.timeout(600_000);
const wanted = { stdin: true, stdout: true, stderr: false, tty: false };
using cri = connectCri(socketPath);

const beats: (() => void)[] = [];
await Promise.all([
  ...Array.from({ length: Number(execs) }, async () => {
    const { url } = await cri.runtime.exec({ ...wanted, containerId, cmd: ["cat"] }, signal);
    const client = await (TRANSPORTS[0] as Transport).connect(url, wanted);
    client.stdout.resume();
    client.stdin.write("here\n");
    await once(client.stdout, "data", { signal });
    beats.push(() => client.stdin.write("typed\n"));
  }),
  ...Array.from({ length: Number(forwards) }, async () => {
    const { url } = await cri.runtime.portForward({ podSandboxId: podId, port: [] }, signal);
    const client = await SpdyClient.connect(url, "portforward.k8s.io");
    let requestId = 0;
    beats.push(() => {
      const headers = { port: "80", requestID: `${(requestId += 1)}` };
      client
        .open({ ...headers, streamType: "error" })
        .resume()
        .end();
      client
        .open({ ...headers, streamType: "data" })
        .resume()
        .write("GET / HTTP/1.0\r\n\r\n");
    });
  }),
]);
const timers = beats.map((beat, index) =>
  setTimeout(() => setInterval(beat, EVERY_MS), (index * EVERY_MS) / beats.length),
);
process.stdout.write("open\n");
process.stdin.resume();
await once(process.stdin, "end");
for (const timer of timers) clearTimeout(timer);
process.exit(0);
