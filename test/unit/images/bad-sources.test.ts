// Every way in which a source can fail a pull: the failure says what, and the store is as it was.

import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import type { Finished, Run } from "../../../src/lib/spawn.ts";
import { qcow2, raw } from "../../fakes/disk-image.ts";
import { agreeingQemuImg, type DiskStoreFixture, openDiskStore } from "../../fakes/disk-image-store.ts";
import type { Answer } from "../../fakes/web-server.ts";

const signal = AbortSignal.timeout(60_000);
const MIB = 1024 * 1024;
const good = qcow2();
const goodHex = createHash("sha256").update(good).digest("hex");
const zeros = "0".repeat(64);

const send =
  (bytes: Uint8Array, headers: Readonly<Record<string, string>> = {}): Answer =>
  (_request, response) => {
    response.writeHead(200, { "content-length": String(bytes.length), ...headers });
    response.end(bytes);
  };
const status =
  (code: number, headers: Readonly<Record<string, string>> = {}): Answer =>
  (_request, response) => {
    response.writeHead(code, headers);
    response.end("no image");
  };

interface BadSource {
  readonly what: string;
  readonly answer: Answer;
  readonly failure: object;
  readonly message: RegExp;
  /** Behind the name. */
  readonly suffix?: string;
  readonly images?: Readonly<Record<string, unknown>>;
}

const sources: readonly BadSource[] = [
  {
    what: "a web page",
    answer: send(Buffer.from("<!DOCTYPE html><html><body>Please log in</body></html>")),
    failure: { code: "IMAGE_REFUSED" },
    message: /the file is a text or web page; only qcow2 and raw disks are taken/,
  },
  {
    what: "a plain text",
    answer: send(Buffer.from("hello\n".repeat(1000))),
    failure: { code: "IMAGE_REFUSED" },
    message: /neither qcow2 nor a raw disk/,
  },
  { what: "nothing", answer: send(Buffer.alloc(0)), failure: { code: "IMAGE_REFUSED" }, message: /is empty/ },
  {
    what: "a qcow2 with a backing file",
    answer: send(qcow2({ backingOffset: 512n, backingSize: 11 })),
    failure: { code: "IMAGE_REFUSED" },
    message: /backing file.*flatten it with qemu-img convert/,
  },
  {
    what: "a qcow2 with an external data file",
    answer: send(qcow2({ incompatible: 4n })),
    failure: { code: "IMAGE_REFUSED" },
    message: /external file/,
  },
  {
    what: "a VHD whose footer only the end shows",
    answer: send(Buffer.concat([raw(200), Buffer.from("conectix".padEnd(512, "\0"))])),
    failure: { code: "IMAGE_REFUSED" },
    message: /VHD/,
  },
  {
    what: "more than its limit, as announced",
    answer: send(good),
    images: { maxImageBytes: 1000 },
    failure: { code: "IMAGE_REFUSED" },
    message: /maxImageBytes/,
  },
  {
    what: "more than its limit, without an announcement",
    answer: (_request, response) => response.end(good),
    images: { maxImageBytes: 100_000 },
    failure: { code: "IMAGE_REFUSED" },
    message: /maxImageBytes/,
  },
  {
    what: "a download that is cut",
    answer: (_request, response) => {
      response.writeHead(200, { "content-length": String(good.length) });
      response.write(good.subarray(0, 100_000), () => response.destroy());
    },
    failure: { code: "IMAGE_SOURCE_UNAVAILABLE" },
    message: /was cut off.*try again/,
  },
  {
    what: "a chunked download that is cut",
    answer: (_request, response) => {
      response.writeHead(200);
      response.write(good.subarray(0, 100_000), () => response.destroy());
    },
    failure: { code: "IMAGE_SOURCE_UNAVAILABLE" },
    message: /was cut off/,
  },
  {
    what: "a body whose end nothing tells",
    answer: (_request, response) => {
      response.removeHeader("transfer-encoding");
      response.useChunkedEncodingByDefault = false;
      response.writeHead(200, { connection: "close" });
      response.end(good);
    },
    failure: { code: "IMAGE_SOURCE_REFUSED", status: 200 },
    message: /tells no length/,
  },
  {
    what: "a compressed transfer",
    answer: send(good, { "content-encoding": "gzip" }),
    failure: { code: "IMAGE_SOURCE_REFUSED", status: 200 },
    message: /compressed/,
  },
  {
    what: "other bytes than the name pins",
    answer: send(good),
    suffix: `@sha256:${zeros}`,
    failure: { code: "IMAGE_DIGEST_MISMATCH", wanted: `sha256:${zeros}`, found: `sha256:${goodHex}` },
    message: /hash to sha256:[0-9a-f]{64}, not to sha256:0{64}/,
  },
  { what: "404", answer: status(404), failure: { code: "IMAGE_NOT_FOUND" }, message: /answers 404.*check the name/ },
  { what: "410", answer: status(410), failure: { code: "IMAGE_NOT_FOUND" }, message: /answers 410/ },
  { what: "401", answer: status(401), failure: { code: "IMAGE_SOURCE_REFUSED", status: 401 }, message: /credentials/ },
  { what: "403", answer: status(403), failure: { code: "IMAGE_SOURCE_REFUSED", status: 403 }, message: /credentials/ },
  { what: "418", answer: status(418), failure: { code: "IMAGE_SOURCE_REFUSED", status: 418 }, message: /answers 418/ },
  { what: "204", answer: status(204), failure: { code: "IMAGE_SOURCE_REFUSED", status: 204 }, message: /answers 204/ },
  { what: "304 unasked", answer: status(304), failure: { code: "IMAGE_SOURCE_REFUSED" }, message: /answers 304/ },
  { what: "429", answer: status(429), failure: { code: "IMAGE_SOURCE_UNAVAILABLE" }, message: /try again later/ },
  { what: "503", answer: status(503), failure: { code: "IMAGE_SOURCE_UNAVAILABLE" }, message: /answers 503/ },
  {
    what: "a redirect loop",
    answer: status(302, { location: "/image" }),
    failure: { code: "IMAGE_SOURCE_REFUSED", status: 302 },
    message: /redirects more than 5 times \(maxRedirects\)/,
  },
  {
    what: "a redirect to a file of the node",
    answer: status(302, { location: "file:///etc/shadow" }),
    failure: { code: "IMAGE_SOURCE_REFUSED", status: 302 },
    message: /not http/,
  },
  {
    what: "a redirect to nowhere",
    answer: status(301),
    failure: { code: "IMAGE_SOURCE_REFUSED", status: 301 },
    message: /redirects to nowhere/,
  },
  {
    what: "no answer in time",
    answer: () => {},
    images: { profiles: { default: { headersTimeoutMs: 50 } } },
    failure: { code: "IMAGE_SOURCE_UNAVAILABLE" },
    message: /headersTimeoutMs/,
  },
  {
    what: "a body that stands still",
    answer: (_request, response) => {
      response.writeHead(200, { "content-length": String(good.length) });
      response.write(good.subarray(0, 1000));
    },
    images: { profiles: { default: { idleTimeoutMs: 50 } } },
    failure: { code: "IMAGE_SOURCE_UNAVAILABLE" },
    message: /idleTimeoutMs/,
  },
  {
    what: "a body that drips",
    answer: (_request, response) => {
      response.writeHead(200, { "content-length": String(good.length) });
      const dripping = setInterval(() => response.write("x"), 10);
      response.once("close", () => clearInterval(dripping));
    },
    images: { profiles: { default: { idleTimeoutMs: 500 } } },
    failure: { code: "IMAGE_SOURCE_UNAVAILABLE" },
    message: /idleMinBytes/,
  },
  {
    what: "a redirect to where clouds keep credentials",
    answer: status(302, { location: "http://169.254.169.254/latest/meta-data" }),
    failure: { code: "IMAGE_SOURCE_REFUSED" },
    message: /private network \(169\.254\.169\.254\); allow that with allowPrivateRedirects/,
  },
  {
    what: "a body in crumbs",
    answer: (request) => {
      const { socket } = request;
      socket.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
      const crumbs = "1\r\nQ\r\n".repeat(1000);
      const more = () => {
        while (!socket.destroyed && socket.write(crumbs));
      };
      socket.on("drain", more);
      more();
    },
    failure: { code: "IMAGE_SOURCE_REFUSED" },
    message: /sends its bytes in crumbs, 4097 for 4097 bytes/,
  },
  {
    what: "announcements without end",
    answer: ({ socket }) => {
      const announcing = setInterval(() => socket.write("HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n"), 5);
      socket.once("close", () => clearInterval(announcing));
    },
    failure: { code: "IMAGE_SOURCE_REFUSED", status: 103 },
    message: /answers 103 again and again/,
  },
  {
    what: "more than it announces, and no disk in what it announces",
    answer: ({ socket }) => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${good.length - 100_000}\r\n\r\n`);
      socket.write(good);
    },
    failure: { code: "IMAGE_REFUSED" },
    message: /cut short/,
  },
  {
    what: "two lengths",
    answer: ({ socket }) => {
      socket.write("HTTP/1.1 200 OK\r\ncontent-length: 262144\r\ncontent-length: 5\r\n\r\n");
      socket.write(good);
    },
    failure: { code: "IMAGE_SOURCE_UNAVAILABLE" },
    message: /cut off|valid HTTP/,
  },
  {
    what: "headers without end",
    answer: ({ socket }) => {
      socket.write("HTTP/1.1 200 OK\r\n");
      const more = () => {
        while (!socket.destroyed && socket.write(`x-more: ${"x".repeat(1000)}\r\n`));
      };
      socket.on("drain", more);
      more();
    },
    failure: { code: "IMAGE_SOURCE_UNAVAILABLE" },
    message: /valid HTTP/,
  },
  {
    what: "headers that drip",
    answer: ({ socket }) => {
      socket.write("HTTP/1.1 200 OK\r\n");
      const dripping = setInterval(() => socket.write("x-more: x\r\n"), 10);
      socket.once("close", () => clearInterval(dripping));
    },
    images: { profiles: { default: { headersTimeoutMs: 300 } } },
    failure: { code: "IMAGE_SOURCE_UNAVAILABLE" },
    message: /headersTimeoutMs/,
  },
  {
    what: "a chunk whose beginning never ends",
    answer: ({ socket }) => {
      socket.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;");
      const dripping = setInterval(() => socket.write("x".repeat(1000)), 5);
      socket.once("close", () => clearInterval(dripping));
    },
    images: { profiles: { default: { idleTimeoutMs: 300 } } },
    failure: { code: "IMAGE_SOURCE_UNAVAILABLE" },
    message: /idleTimeoutMs/,
  },
  {
    what: "a body without end",
    answer: (_request, response) => {
      response.writeHead(200);
      response.write(raw(16).subarray(0, 512));
      const more = () => {
        while (!response.destroyed && response.write(Buffer.alloc(65_536, 1)));
      };
      response.on("drain", more);
      more();
    },
    images: { maxImageBytes: 8 * MIB },
    failure: { code: "IMAGE_REFUSED" },
    message: /larger than 8388608 bytes \(maxImageBytes\)/,
  },
  {
    what: "something that is not HTTP",
    answer: (request) => void request.socket.end("SSH-2.0-OpenSSH\r\n"),
    failure: { code: "IMAGE_SOURCE_UNAVAILABLE" },
    message: /valid HTTP/,
  },
];

test.each(sources)("$what: fails as such, names the image or URL, and leaves nothing", async (source) => {
  await using under = await openDiskStore({ run: agreeingQemuImg(64 * MIB), images: source.images ?? {} });
  under.server.on("/image", source.answer);
  await expectFailure(under, under.server.nameOf("/image") + (source.suffix ?? ""), source);
});

test("a host that nobody knows is unavailable, not unknown to us", async () => {
  await using under = await openDiskStore({ run: agreeingQemuImg(64 * MIB) });
  await expectFailure(under, "vmlet.dev/https/no-such-host.invalid/a.qcow2", {
    failure: { code: "IMAGE_SOURCE_UNAVAILABLE", url: "https://no-such-host.invalid/a.qcow2" },
    message: /^https:\/\/no-such-host\.invalid\/a\.qcow2 /,
  });
});

test("a port where nothing listens is unavailable", async () => {
  await using under = await openDiskStore({ run: agreeingQemuImg(64 * MIB) });
  const name = under.server.nameOf("/a");
  await under.server[Symbol.asyncDispose]();
  await expectFailure(under, name, { failure: { code: "IMAGE_SOURCE_UNAVAILABLE" }, message: /connection refused/ });
});

test("more than the disk has free is refused before the download, with both figures", async () => {
  await using under = await openDiskStore({ run: agreeingQemuImg(64 * MIB), images: { maxImageBytes: 2 ** 50 } });
  under.server.on("/image", (_request, response) => {
    response.writeHead(200, { "content-length": String(2 ** 49) });
    response.write(good);
  });
  await expectFailure(under, under.server.nameOf("/image"), {
    failure: { code: "DISK_FULL", path: under.rootPath, neededBytes: 2 ** 49, freeBytes: expect.any(Number) },
    message: /562949953421312 bytes are needed and \d+ are free/,
  });
});

test.each([
  ["another format", { format: "vmdk", "virtual-size": 64 * MIB }],
  ["another size", { format: "qcow2", "virtual-size": 65 * MIB }],
  ["a backing file", { format: "qcow2", "virtual-size": 64 * MIB, "backing-filename": "/etc/shadow" }],
  ["a data file", { format: "qcow2", "virtual-size": 64 * MIB, "format-specific": { data: { "data-file": "x" } } }],
  ["nonsense", { a: 1 }],
])("a file in which qemu-img sees %s is refused", async (_, info) => {
  const stdout = Buffer.from(JSON.stringify(info));
  const run = async () => ({ exitCode: 0, signalName: null, stdout, stderr: "", truncated: false });
  await using under = await openDiskStore({ run });
  under.server.serve("/image", good);
  await expectFailure(under, under.server.nameOf("/image"), {
    failure: { code: "IMAGE_REFUSED" },
    message: /the file/,
  });
});

test.each<[string, Partial<Finished>]>([
  ["errors", { exitCode: 2, stdout: Buffer.from('{"check-errors":0,"corruptions":3}') }],
  ["more errors than it may tell", { exitCode: null, truncated: true }],
  ["what it cannot read", { exitCode: 0, stdout: Buffer.from('{"check-errors":1}') }],
  ["too much to look at", { exitCode: 137 }],
  ["nonsense", { exitCode: 0, stdout: Buffer.from("{}") }],
])("a file in whose tables qemu-img finds %s is refused", async (_, told) => {
  const agree = agreeingQemuImg(64 * MIB);
  const run: Run = async (file, args, options, inner) => {
    const agreed = await agree(file, args, options, inner);
    return args.includes("check") ? { ...agreed, stdout: Buffer.alloc(0), ...told } : agreed;
  };
  await using under = await openDiskStore({ run });
  under.server.serve("/image", good);
  await expectFailure(under, under.server.nameOf("/image"), {
    failure: { code: "IMAGE_REFUSED" },
    message: /the file (has (\d|countless) errors in its tables|cannot be checked by qemu-img)/,
  });
});

const ended = { signalName: null, stdout: Buffer.alloc(0), truncated: false };

test.each<[string, Run]>([
  ["qemu-img", async () => ({ ...ended, exitCode: 127, stderr: "setpriv: failed to execute qemu-img" })],
  ["bubblewrap", async () => Promise.reject(new Error("spawn bwrap ENOENT"))],
  ["a right to mount", async () => ({ ...ended, exitCode: 1, stderr: "bwrap: No permissions to make a namespace" })],
])("a node without %s is told what to install; the image is not blamed", async (_, run) => {
  await using under = await openDiskStore({ run });
  under.server.serve("/image", good);
  const message = /qemu-img cannot be run \(.+\); install qemu-utils, bubblewrap and util-linux/;
  const expected = { failure: { code: "TOOL_FAILED", tool: "qemu-img" }, message };
  await expectFailure(under, under.server.nameOf("/image"), expected);
});

async function expectFailure(
  under: DiskStoreFixture,
  name: string,
  expected: { readonly failure: object; readonly message: RegExp },
): Promise<void> {
  const before = await under.files();
  const pulling = under.store.pull(name, signal);
  await expect(pulling).rejects.toMatchObject({
    failure: expected.failure,
    message: expect.stringMatching(expected.message),
  });
  expect(await under.files()).toEqual(before);
  expect(under.store.list()).toEqual([]);
}
