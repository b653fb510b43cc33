// Who gets to see which credentials, and what becomes of tokens.

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { qcow2 } from "../../../fakes/disk-image.ts";
import { type Hook, OCI_LAYER, OciRegistry } from "../../../fakes/oci-registry.ts";
import { openOciStore } from "../../../fakes/oci-store.ts";
import { tar } from "../../../fakes/tar-archive.ts";

const signal = AbortSignal.timeout(60_000);
const MIB = 1024 * 1024;
const layers = [
  { mediaType: OCI_LAYER, bytes: tar([{ path: "disk/d", bytes: qcow2({ virtualSizeBytes: BigInt(MIB) }) }]) },
];
const basic = (user: string, password: string) => `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;

/** Everything but `/token` wants this header. */
const wants =
  (header: string, challenge: string): Hook =>
  (request, response, url) => {
    if (url.pathname === "/token" || request.headers.authorization === header) return false;
    response.writeHead(401, { "www-authenticate": challenge }).end();
    return true;
  };

/** Gives tokens at `/token` as `issue` says; undefined: 401. */
const tokens =
  (
    registry: OciRegistry,
    issue: (asked: { method: string; query: URLSearchParams; body: string; authorization?: string }) => object | number,
    isGood: (authorization: string | undefined, path: string) => boolean,
  ): Hook =>
  (request, response, url) => {
    const { authorization } = request.headers;
    if (url.pathname !== "/token") {
      if (isGood(authorization, url.pathname)) return false;
      const challenge = `Bearer realm="${registry.url}/token",service="the, \\"service\\"",scope="repository:vm:pull"`;
      response.writeHead(401, { "www-authenticate": challenge }).end();
      return true;
    }
    let body = "";
    request.on("data", (chunk) => {
      body += String(chunk);
    });
    request.on("end", () => {
      const asked = { method: request.method ?? "", query: url.searchParams, body };
      const answer = issue({ ...asked, ...(authorization === undefined ? {} : { authorization }) });
      if (typeof answer === "number") response.writeHead(answer).end();
      else response.writeHead(200).end(JSON.stringify(answer));
    });
    return true;
  };

describe("Basic", () => {
  test("the caller's user and password are shown once they are asked for", async () => {
    await using fixture = await openOciStore();
    const { registry, under } = fixture;
    registry.push("vm", layers);
    registry.hook = wants(basic("me", "pass:word"), 'Basic realm="x"');
    await under.store.pull(registry.nameOf("vm"), signal, { username: "me", password: "pass:word" });
    expect(registry.requests[0]?.headers.authorization).toBeUndefined();
  });

  test("wrong ones are refused without trying them again and again, and not shown in the message", async () => {
    await using fixture = await openOciStore();
    const { registry, under } = fixture;
    registry.hook = wants(basic("me", "right"), 'Basic realm="x"');
    const pulling = under.store.pull(registry.nameOf("vm"), signal, { username: "me", password: "wrong" });
    await expect(pulling).rejects.toMatchObject({ failure: { code: "IMAGE_SOURCE_REFUSED", status: 401 } });
    await expect(pulling).rejects.toThrow(/credentials for 127\.0\.0\.1:\d+ do not open it/);
    await expect(pulling).rejects.not.toThrow("wrong");
    expect(registry.requests).toHaveLength(2);
  });

  test("pulls with different credentials are not one pull", async () => {
    await using fixture = await openOciStore();
    const { registry, under } = fixture;
    registry.push("vm", layers);
    registry.hook = wants(basic("me", "right"), 'Basic realm="x"');
    const name = registry.nameOf("vm");
    const outcomes = await Promise.allSettled([
      under.store.pull(name, signal),
      under.store.pull(name, signal, { username: "me", password: "right" }),
      under.store.pull(name, signal, { username: "me", password: "wrong" }),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "fulfilled", "rejected"]);
    await expect(under.store.pull(name, signal)).rejects.toThrow("no credentials"); // although it is here
  });
});

describe("tokens", () => {
  test("one is fetched with user and password, for this repository, and used for all that follows", async () => {
    await using fixture = await openOciStore();
    const { registry, under } = fixture;
    registry.push("vm", layers);
    const asked: string[] = [];
    registry.hook = tokens(
      registry,
      ({ query, authorization }) => {
        asked.push(`${query.get("service")}|${query.get("scope")}|${query.get("client_id")}|${authorization}`);
        return { token: "T", expires_in: 300 };
      },
      (authorization) => authorization === "Bearer T",
    );
    await under.store.pull(registry.nameOf("vm"), signal, { username: "me", password: "secret" });
    expect(asked).toEqual([`the, "service"|repository:vm:pull|vmlet|${basic("me", "secret")}`]);
  });

  test("without credentials a token is asked for all the same", async () => {
    await using fixture = await openOciStore();
    const { registry, under } = fixture;
    registry.push("vm", layers);
    registry.hook = tokens(
      registry,
      ({ authorization }) => (authorization === undefined ? { access_token: "anonymous" } : 401),
      (authorization) => authorization === "Bearer anonymous",
    );
    await under.store.pull(registry.nameOf("vm"), signal);
  });

  test("one that ends during a pull is fetched anew", async () => {
    await using fixture = await openOciStore();
    const { registry, under } = fixture;
    registry.push("vm", layers);
    let issued = 0;
    registry.hook = tokens(
      registry,
      () => ({ token: `T${++issued}` }),
      (authorization, path) => authorization === (path.includes("/blobs/") ? "Bearer T2" : "Bearer T1"),
    );
    await under.store.pull(registry.nameOf("vm"), signal);
    expect(issued).toBe(2);
  });

  test("an identity token is exchanged by POST, or by GET where the server knows no OAuth 2", async () => {
    for (const knowsOAuth of [true, false]) {
      await using fixture = await openOciStore();
      const { registry, under } = fixture;
      registry.push("vm", layers);
      const asked: string[] = [];
      registry.hook = tokens(
        registry,
        ({ method, body }) => {
          asked.push(
            `${method} ${new URLSearchParams(body).get("grant_type")} ${new URLSearchParams(body).get("refresh_token")}`,
          );
          return method === "POST" && !knowsOAuth ? 404 : { access_token: "T" };
        },
        (authorization) => authorization === "Bearer T",
      );
      await under.store.pull(registry.nameOf("vm"), signal, { identityToken: "id" });
      expect(asked).toEqual(["POST refresh_token id", ...(knowsOAuth ? [] : ["GET null null"])]);
    }
  });

  test("a registry token is sent as it is, and nothing else is tried", async () => {
    await using fixture = await openOciStore();
    const { registry, under } = fixture;
    registry.push("vm", layers);
    registry.hook = tokens(
      registry,
      () => ({ token: "T" }),
      (authorization) => authorization === "Bearer given",
    );
    await under.store.pull(registry.nameOf("vm"), signal, { registryToken: "given" });
    await expect(under.store.pull(registry.nameOf("vm"), signal, { registryToken: "other" })).rejects.toThrow("401");
    expect(registry.paths()).not.toContain("/token");
  });

  test.each(["a\r\nx-more: 1", "\u00e9", "a b"])(
    "a registry token that no header can carry is refused: %j",
    async (registryToken) => {
      await using fixture = await openOciStore();
      const { registry, under } = fixture;
      const pulling = under.store.pull(registry.nameOf("vm"), signal, { registryToken });
      await expect(pulling).rejects.toMatchObject({ failure: { code: "IMAGE_SOURCE_REFUSED", status: 401 } });
      await expect(pulling).rejects.toThrow("the registry token given for it is not one");
      expect(registry.requests).toEqual([]);
    },
  );

  test.each<[string, string | number | object, string]>([
    ["no token server", 401, "credentials"],
    ["a broken one", 500, "try again later"],
    ["no token in the answer", { expires_in: 1 }, "without a token"],
    ["a token that ends the header", { token: "a\r\nhost: b" }, "without a token"],
  ])("%s fails the pull", async (_what, answer, message) => {
    await using fixture = await openOciStore();
    const { registry, under } = fixture;
    registry.hook = tokens(
      registry,
      () => answer as object,
      () => false,
    );
    await expect(under.store.pull(registry.nameOf("vm"), signal)).rejects.toThrow(message);
  });

  test.each(["file:///etc/passwd", "https://me:you@host/", "nothing", ""])(
    "a realm %j is not followed",
    async (realm) => {
      await using fixture = await openOciStore();
      const { registry, under } = fixture;
      registry.hook = wants("never", `Bearer realm="${realm}"`);
      await expect(under.store.pull(registry.nameOf("vm"), signal)).rejects.toMatchObject({
        failure: { code: "IMAGE_SOURCE_REFUSED", status: 401 },
      });
    },
  );
});

describe("a redirect", () => {
  test("to another host carries no authorization, and the bytes from there are verified as ever", async () => {
    await using fixture = await openOciStore();
    await using storage = await OciRegistry.listen();
    const { registry, under } = fixture;
    registry.push("vm", layers);
    storage.push("vm", layers);
    const asked = wants(basic("me", "secret"), 'Basic realm="x"');
    registry.hook = (request, response, url) => {
      if (asked(request, response, url)) return true;
      if (!url.pathname.includes("/blobs/")) return false;
      response.writeHead(307, { location: `${storage.url}${url.pathname}?signed=1` }).end();
      return true;
    };
    await under.store.pull(registry.nameOf("vm"), signal, { username: "me", password: "secret" });
    expect(storage.requests.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });

  test("on the same host keeps it; one in a circle ends", async () => {
    await using fixture = await openOciStore();
    const { registry, under } = fixture;
    registry.push("vm", layers);
    const asked = wants(basic("me", "secret"), 'Basic realm="x"');
    registry.hook = (request, response, url) => {
      if (asked(request, response, url)) return true;
      if (url.searchParams.has("there") || !url.pathname.includes("/blobs/")) return false;
      response.writeHead(302, { location: `${url.pathname}?there` }).end();
      return true;
    };
    const credentials = { username: "me", password: "secret" };
    await under.store.pull(registry.nameOf("vm"), signal, credentials);
    registry.hook = (_request, response, url) => {
      response.writeHead(302, { location: url.href }).end();
      return true;
    };
    await expect(under.store.pull(registry.nameOf("vm"), signal, credentials)).rejects.toThrow("maxRedirects");
  });
});

describe("inwards", () => {
  const inward = "http://[fe80::1]:9/";
  const ways: readonly (readonly [string, Hook])[] = [
    [
      "a redirect",
      (_request, response) => {
        response.writeHead(307, { location: `${inward}v2/vm/manifests/latest` }).end();
        return true;
      },
    ],
    ["the name of a token server", wants("never", `Bearer realm="${inward}token"`)],
  ];

  test.each(ways)(
    "%s is not followed to where clouds keep credentials, unless that is allowed",
    async (_what, hook) => {
      for (const allowPrivateRedirects of [false, true]) {
        await using fixture = await openOciStore({
          profiles: { default: { allowPrivateRedirects, connectTimeoutMs: 1000 } },
        });
        fixture.registry.hook = hook;
        const pulling = fixture.under.store.pull(fixture.registry.nameOf("vm"), signal);
        const expected = allowPrivateRedirects
          ? { failure: { code: "IMAGE_SOURCE_UNAVAILABLE" } }
          : {
              failure: { code: "IMAGE_SOURCE_REFUSED" },
              message: expect.stringMatching(/private network \(fe80::1\)/),
            };
        await expect(pulling).rejects.toMatchObject(expected);
      }
    },
  );
});

describe("too many requests", () => {
  test("are waited out for as long as the server says", async () => {
    await using fixture = await openOciStore();
    const { registry, under } = fixture;
    registry.push("vm", layers);
    let refusals = 0;
    registry.hook = (_request, response) => {
      if (++refusals > 3) return false;
      response.writeHead(429, { "retry-after": "0" }).end();
      return true;
    };
    await under.store.pull(registry.nameOf("vm"), signal);
    expect(registry.requests).toHaveLength(5);
  });

  test.each(["0", "3600"])("fail the pull in the end, or at once if the wait is long: %s s", async (seconds) => {
    await using fixture = await openOciStore();
    const { registry, under } = fixture;
    registry.hook = (_request, response) => {
      response.writeHead(429, { "retry-after": seconds }).end();
      return true;
    };
    await expect(under.store.pull(registry.nameOf("vm"), signal)).rejects.toMatchObject({
      failure: { code: "IMAGE_SOURCE_UNAVAILABLE" },
      message: expect.stringContaining("answers 429"),
    });
    expect(registry.requests).toHaveLength(seconds === "0" ? 5 : 1);
  });
});

describe("the node's own credentials", () => {
  test("are used for their host, where the caller has none for it", async () => {
    await using fixture = await openOciStore();
    const { registry, under, authPath } = fixture;
    registry.push("vm", layers);
    registry.hook = wants(basic("node", "secret"), "Basic");
    const auth = Buffer.from("node:secret").toString("base64");
    await writeFile(
      authPath,
      JSON.stringify({ auths: { [`https://${registry.host}/v1/`]: { auth } }, credsStore: "x" }),
    );
    await under.store.pull(registry.nameOf("vm"), signal);
    const others = { username: "me", password: "x", serverAddress: "https://other.example" };
    await under.store.pull(registry.nameOf("vm"), signal, others);
    await expect(under.store.pull(registry.nameOf("vm"), signal, { username: "me" })).rejects.toThrow("401");
  });

  test("for a part of a registry are shown for that part alone", async () => {
    await using fixture = await openOciStore();
    const { registry, under, authPath } = fixture;
    const entry = (user: string) => ({ username: user, password: "secret" });
    const auths = { [`${registry.host}/team`]: entry("team"), [`https://${registry.host}/team/sub/`]: entry("sub") };
    await writeFile(authPath, JSON.stringify({ auths: { ...auths, [`${registry.host}/v2/`]: entry("all") } }));
    registry.hook = wants("never", "Basic");
    const shown = async (repository: string) => {
      registry.requests.length = 0;
      await expect(under.store.pull(registry.nameOf(repository), signal)).rejects.toThrow("401");
      return registry.requests.map(({ headers }) => headers.authorization);
    };
    expect(await shown("team/vm")).toEqual([undefined, basic("team", "secret")]);
    expect(await shown("team/sub/vm")).toEqual([undefined, basic("sub", "secret")]);
    expect(await shown("teamwork/vm")).toEqual([undefined, basic("all", "secret")]);
    await writeFile(authPath, JSON.stringify({ auths }));
    expect(await shown("teamwork/vm")).toEqual([undefined]);
  });

  test("in a file that cannot be read are a wrong setting, without a word of what is in it", async () => {
    await using fixture = await openOciStore();
    await writeFile(fixture.authPath, '{"auths": {"a": {"auth": "c2VjcmV0"}}, secret');
    const pulling = fixture.under.store.pull(fixture.registry.nameOf("vm"), signal);
    await expect(pulling).rejects.toMatchObject({ failure: { code: "CONFIG_INVALID", path: fixture.authPath } });
    await expect(pulling).rejects.not.toThrow("ecret");
  });
});

describe("mirrors", () => {
  test("are asked first, told of whom, and get no credentials but their own", async () => {
    await using fixture = await openOciStore();
    await using mirror = await OciRegistry.listen();
    const { registry, under, hostsFolderPath } = fixture;
    await registry.writeHosts(
      hostsFolderPath,
      `server = "${registry.url}"\n[host."${mirror.url}/cache"]\n[host."${mirror.url}/cache".header]\nx-who = "node"\n`,
    );
    mirror.push("vm", layers);
    const credentials = { username: "me", password: "secret" };
    await expect(under.store.pull(registry.nameOf("vm"), signal, credentials)).rejects.toThrow(/404.*before that.*404/);
    const [first] = mirror.requests;
    expect(first?.path).toBe(`/cache/v2/vm/manifests/latest?ns=${encodeURIComponent(registry.host)}`);
    expect(first?.headers["x-who"]).toBe("node");
    await registry.writeHosts(hostsFolderPath, `server = "${registry.url}"\n[host."${mirror.url}"]\n`);
    await under.store.pull(registry.nameOf("vm"), signal, credentials);
    mirror.hook = wants("never", "Basic");
    registry.push("vm", layers);
    await under.store.pull(registry.nameOf("vm"), signal, credentials);
    expect(mirror.requests.map(({ headers }) => headers.authorization).filter(Boolean)).toEqual([]);
  });

  test("that may only give bytes are not asked what a tag means; their bad bytes are not taken", async () => {
    await using fixture = await openOciStore();
    await using mirror = await OciRegistry.listen();
    const { registry, under, hostsFolderPath } = fixture;
    const only = 'capabilities = ["pull"]\n';
    await registry.writeHosts(hostsFolderPath, `server = "${registry.url}"\n[host."${mirror.url}"]\n${only}`);
    registry.push("vm", layers);
    mirror.push("vm", layers);
    await under.store.pull(registry.nameOf("vm"), signal);
    expect(mirror.paths().filter((path) => path.includes("manifests"))).toEqual([]);
    expect(mirror.paths().filter((path) => path.includes("blobs"))).toHaveLength(1);
    expect(registry.paths().filter((path) => path.includes("blobs"))).toEqual([]);
  });

  test.each([
    ["broken TOML", "server = "],
    ["a wrong kind", "skip_verify = 1"],
    ["no URL", 'server = "ftp://x"'],
    ["a header that ends itself", '[header]\nx-who = "a\\r\\nx-more: 1"'],
    ["an authority that is not there", 'server = "https://127.0.0.1:1"\nca = "none.pem"'],
  ])("in a hosts.toml that cannot be used are a wrong setting: %s", async (_what, toml) => {
    await using fixture = await openOciStore();
    await fixture.registry.writeHosts(fixture.hostsFolderPath, toml);
    await expect(fixture.under.store.pull(fixture.registry.nameOf("vm"), signal)).rejects.toMatchObject({
      failure: { code: "CONFIG_INVALID", field: "images.registry.hostsFolderPath" },
    });
  });

  test("for all registries come from _default, and host_port_ is a host's folder too", async () => {
    await using fixture = await openOciStore();
    await using mirror = await OciRegistry.listen();
    mirror.push("vm", layers);
    for (const folder of ["_default", "registry.example_5000_"]) {
      await mkdir(join(fixture.hostsFolderPath, folder), { recursive: true });
      await writeFile(join(fixture.hostsFolderPath, folder, "hosts.toml"), `[host."${mirror.url}"]\n`);
      const name = folder === "_default" ? "else.example" : "registry.example__5000";
      await fixture.under.store.pull(`vmlet.dev/oci/${name}/vm`, signal);
    }
    expect(mirror.requests.map(({ path }) => new URL(path, mirror.url).searchParams.get("ns"))).toContain(
      "else.example",
    );
  });
});
