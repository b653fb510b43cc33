// Storage that a web server sends us to by a URL that is good for some minutes.

import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { httpSource } from "../../../src/images/http-source.ts";
import { PROFILE_DEFAULTS } from "../../../src/images/options.ts";
import { RangeServer } from "../../fakes/range-server.ts";
import { WebServer } from "../../fakes/web-server.ts";

const signal = AbortSignal.timeout(60_000);
const bytes = randomBytes(1024 * 1024);

test("a range is asked for where the file is named when the URL that led to it has ended", async () => {
  await using server = await WebServer.listen();
  const file = new RangeServer({ bytes, headers: { etag: '"v1"' } });
  let isEnded = false;
  server.on("/disk", (_request, response) => {
    response.writeHead(302, { location: isEnded ? "/signed-again" : "/signed" }).end();
  });
  for (const path of ["/signed", "/signed-again"]) {
    server.on(path, (request, response) => {
      if (isEnded && path === "/signed") response.writeHead(403).end();
      else file.answer(request, response);
    });
  }
  const source = httpSource({ image: "disk", url: new URL(server.urlOf("/disk")), profile: PROFILE_DEFAULTS });
  const read = await source.withDownload(
    undefined,
    async (download) => {
      if (download.kind !== "body" || download.readRange === undefined) throw new Error("no ranges");
      isEnded = true;
      const parts: Uint8Array[] = [];
      for (const from of [1000, 2000]) {
        for await (const chunk of download.readRange(from, from + 1000, signal)) parts.push(chunk);
      }
      return Buffer.concat(parts);
    },
    signal,
  );
  expect(read.equals(bytes.subarray(1000, 3000))).toBe(true);
  expect(server.requests.filter((path) => path === "/disk")).toHaveLength(2); // not for each range again
});
