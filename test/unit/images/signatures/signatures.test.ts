// Which signatures make an image trusted, and which do not; and that nothing of it is fetched before.

import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { raw } from "../../../fakes/disk-image.ts";
import {
  attachBundles,
  attachMessages,
  BUNDLE,
  ImageSigner,
  type KeyKind,
  MESSAGE_LAYER,
  referrersTo,
} from "../../../fakes/image-signer.ts";
import { OCI_INDEX, OCI_LAYER, OCI_MANIFEST, send } from "../../../fakes/oci-registry.ts";
import { type OciStoreFixture, openOciStore } from "../../../fakes/oci-store.ts";
import { tar } from "../../../fakes/tar-archive.ts";

const signal = AbortSignal.timeout(60_000);
const disk = raw();
const layers = [{ mediaType: OCI_LAYER, bytes: tar([{ path: "disk/d.img", bytes: disk }]) }];
const other = `sha256:${"0".repeat(64)}`;
const arch = process.arch === "x64" ? "amd64" : process.arch;
const kinds: readonly KeyKind[] = ["ecdsa", "ed25519", "rsa"];

const signer = new ImageSigner();
const stranger = new ImageSigner();
let folder = "";
let wanted = {};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmlet-keys-"));
  wanted = demanding(await signer.writeKey(folder));
});
afterAll(async () => rm(folder, { recursive: true, force: true }));

const demanding = (...keyPaths: readonly string[]) => ({ signatures: { rules: [{ prefix: "", keyPaths }] } });

/** One image `vm:latest`, and whatever `attach` does about it. */
async function pullOf(
  images: object,
  attach: (fixture: OciStoreFixture, digest: string) => void,
): Promise<{ readonly digest: string; readonly diskReads: number }> {
  await using fixture = await openOciStore({ ...images });
  const digest = fixture.registry.push("vm", layers);
  attach(fixture, digest);
  const diskDigest = `sha256:${createHash("sha256")
    .update(layers[0]?.bytes ?? "")
    .digest("hex")}`;
  const reads = () => fixture.registry.paths().filter((path) => path.endsWith(`/blobs/${diskDigest}`)).length;
  try {
    const pulled = await fixture.under.store.pull(fixture.registry.nameOf("vm"), signal);
    return { digest: pulled.digest, diskReads: reads() };
  } catch (error) {
    expect(reads()).toBe(0);
    expect(fixture.under.store.list()).toEqual([]);
    throw error;
  }
}

const taken = { digest: `sha256:${createHash("sha256").update(disk).digest("hex")}`, diskReads: 1 };

async function refusalOf(images: object, attach: Parameters<typeof pullOf>[1]): Promise<string> {
  const pulling = pullOf(images, attach);
  await expect(pulling).rejects.toMatchObject({ failure: { code: "IMAGE_UNTRUSTED" } });
  return pulling.then(
    () => "",
    (error: unknown) => String(error),
  );
}

describe("taken", () => {
  test.each(kinds)("a message and a bundle signed by an %s key", async (kind) => {
    const own = new ImageSigner(kind);
    const images = demanding(await own.writeKey(folder, `${kind}.pub`));
    const message = pullOf(images, ({ registry }, digest) =>
      attachMessages(registry, "vm", digest, [own.message(digest)]),
    );
    expect(await message).toEqual(taken);
    const bundle = pullOf(images, ({ registry }, digest) =>
      attachBundles(registry, "vm", digest, [own.bundle(digest)]),
    );
    expect(await bundle).toEqual(taken);
  });

  test("either of two keys, as in a rotation", async () => {
    const images = demanding(await stranger.writeKey(folder, "old.pub"), await signer.writeKey(folder));
    for (const own of [signer, stranger]) {
      const pulling = pullOf(images, ({ registry }, digest) =>
        attachMessages(registry, "vm", digest, [own.message(digest)]),
      );
      expect(await pulling).toEqual(taken);
    }
  });

  test("a good signature behind bad ones, of either kind", async () => {
    const bad = (digest: string) => [
      { payload: Buffer.from("no JSON"), signature: "AAAA" },
      stranger.message(digest),
      signer.message(other),
    ];
    const messages = pullOf(wanted, ({ registry }, digest) =>
      attachMessages(registry, "vm", digest, [...bad(digest), signer.message(digest)]),
    );
    expect(await messages).toEqual(taken);
    const mixed = pullOf(wanted, ({ registry }, digest) => {
      attachMessages(registry, "vm", digest, bad(digest));
      const bundles = [Buffer.from("no JSON"), stranger.bundle(digest), {}, signer.bundle(digest)];
      attachBundles(registry, "vm", digest, bundles);
    });
    expect(await mixed).toEqual(taken);
  });

  test("a bundle in the list of referrers that the registry itself keeps", async () => {
    const pulling = pullOf(wanted, ({ registry }, digest) => {
      const list = Buffer.from(JSON.stringify(referrersTo(registry, "vm", [signer.bundle(digest)])));
      registry.hook = (request, response, url) => {
        if (url.pathname !== `/v2/vm/referrers/${digest}`) return false;
        send(request, response, list, { "content-type": OCI_INDEX });
        return true;
      };
    });
    expect(await pulling).toEqual(taken);
  });

  test("a bundle on a later page of that list, wherever the registry says that it is", async () => {
    const asked: string[] = [];
    const pulling = pullOf(wanted, ({ registry }, digest) => {
      const pages = [[stranger.bundle(digest)], [signer.bundle(digest)]].map((own) => referrersTo(registry, "vm", own));
      registry.hook = (request, response, url) => {
        if (url.pathname !== `/v2/vm/referrers/${digest}`) return false;
        asked.push(url.search);
        const link = { link: '<http://evil.example/?last=a%20b&n=1#x>; rel="next"' };
        const [body, headers] = url.search === "" ? [pages[0], link] : [pages[1], {}];
        send(request, response, Buffer.from(JSON.stringify(body)), { "content-type": OCI_INDEX, ...headers });
        return true;
      };
    });
    expect(await pulling).toEqual(taken);
    expect(asked).toEqual(["", "?last=a%20b&n=1"]);
  });

  test("a bundle beside a message that the registry does not give", async () => {
    const pulling = pullOf(wanted, ({ registry }, digest) => {
      attachBundles(registry, "vm", digest, [signer.bundle(digest)]);
      registry.hook = (_request, response, url) => {
        if (!url.pathname.endsWith(".sig")) return false;
        response.writeHead(401).end();
        return true;
      };
    });
    expect(await pulling).toEqual(taken);
  });

  test("a bundle where the registry refuses to know referrers", async () => {
    const pulling = pullOf(wanted, ({ registry }, digest) => {
      attachBundles(registry, "vm", digest, [signer.bundle(digest)]);
      registry.hook = (_request, response, url) => {
        if (!url.pathname.includes("/referrers/")) return false;
        response.writeHead(405).end();
        return true;
      };
    });
    expect(await pulling).toEqual(taken);
  });

  test.each(["index", "manifest"])("an image with several platforms whose %s is signed", async (which) => {
    const pulling = pullOf(wanted, ({ registry }, manifest) => {
      const manifests = [
        { mediaType: OCI_MANIFEST, digest: manifest, size: 1, platform: { os: "linux", architecture: arch } },
      ];
      const index = registry.manifest("vm", "latest", OCI_INDEX, { manifests });
      const digest = which === "index" ? index : manifest;
      attachBundles(registry, "vm", digest, [signer.bundle(digest)]);
    });
    expect(await pulling).toEqual(taken);
  });

  test("a signature that the registry has and its mirror has not", async () => {
    await using mirror = await openOciStore();
    mirror.registry.push("vm", layers);
    const port = mirror.registry.port;
    await using fixture = await openOciStore(wanted);
    const digest = fixture.registry.push("vm", layers);
    attachMessages(fixture.registry, "vm", digest, [signer.message(digest)]);
    const toml = `server = "${fixture.registry.url}"\n[host."http://127.0.0.1:${port}"]\n`;
    await fixture.registry.writeHosts(fixture.hostsFolderPath, toml);
    await fixture.under.store.pull(fixture.registry.nameOf("vm"), signal);
    expect(mirror.registry.paths()).toContain(`/v2/vm/manifests/sha256-${digest.slice(7)}.sig`);
  });

  test.each([
    ["no rule", {}],
    [
      "a rule that accepts",
      {
        rules: [
          { prefix: "vmlet.dev/", action: "reject" },
          { prefix: "", action: "accept" },
        ],
        default: "reject",
      },
    ],
  ])("an unsigned one under %s, and nobody looks for a signature", async (_what, signatures) => {
    await using fixture = await openOciStore({ signatures });
    fixture.registry.push("vm", layers);
    await fixture.under.store.pull(fixture.registry.nameOf("vm"), signal);
    expect(fixture.registry.paths().filter((path) => /sha256-|referrers/.test(path))).toEqual([]);
  });
});

describe("refused before its disk is asked for", () => {
  test("an unsigned image: the message names the rule, the digest and the remedy", async () => {
    let wantedDigest = "";
    const message = await refusalOf(wanted, (_fixture, digest) => void (wantedDigest = digest));
    expect(message).toMatch(
      /^VmletError: image vmlet\.dev\/oci\/127\.0\.0\.1__\d+\/vm:latest: images\.signatures\.rules\[0\] /,
    );
    expect(message).toContain(`wants a signature of ${wantedDigest}; there is none in its registry (cosign sign --key`);
  });

  type Message = ReturnType<ImageSigner["message"]>;
  test.each<readonly [string, (digest: string) => Message, string]>([
    ["another key's", (digest) => stranger.message(digest), "not of a key that is trusted"],
    ["one of another image", () => signer.message(other), "of another image"],
    ["one of another thing", (digest) => signer.message(digest, "atomic container signature"), "of something else"],
    [
      "one whose payload was changed",
      (digest) => ({ ...signer.message(other), payload: signer.message(digest).payload }),
      "not of a key that is trusted",
    ],
    ["one that is not base64", (digest) => ({ ...signer.message(digest), signature: "%%%" }), "is not base64"],
    ["an empty one", (digest) => ({ ...signer.message(digest), signature: "" }), "is not base64"],
    ["a large one", () => ({ payload: Buffer.alloc(131_073), signature: "AAAA" }), "is larger than"],
  ])("with a message: %s", async (_what, messageOf, finding) => {
    const attach: Parameters<typeof pullOf>[1] = ({ registry }, digest) =>
      attachMessages(registry, "vm", digest, [messageOf(digest)]);
    expect(await refusalOf(wanted, attach)).toContain(finding);
  });

  const attested = "https://cosign.sigstore.dev/attestation/vuln/v1";
  test.each<readonly [string, (digest: string) => object | Buffer, string]>([
    ["another key's", (digest) => stranger.bundle(digest), "not of a key that is trusted"],
    ["one of another image", () => signer.bundle(other), "of another image"],
    ["an attestation", (digest) => signer.bundle(digest, { predicateType: attested }), "of something else"],
    ["one of another payload", (digest) => signer.bundle(digest, { payloadType: "text/plain" }), "payloadType"],
    ["garbage", () => Buffer.from([0xff, 0x7b]), "no bundle"],
    ["JSON of another kind", () => Buffer.from("[[]]"), "no bundle"],
    ["deep JSON", () => Buffer.from("[".repeat(100_000)), "no bundle"],
    [
      "an older version",
      (digest) => signer.bundle(digest, { more: { mediaType: `${BUNDLE};version=0.1` } }),
      "mediaType",
    ],
    [
      "one by certificate",
      (digest) => signer.bundle(digest, { more: { verificationMaterial: { certificate: { rawBytes: "AAAA" } } } }),
      "verificationMaterial.publicKey",
    ],
    [
      "one with a message instead of an envelope",
      (digest) => signer.bundle(digest, { more: { dsseEnvelope: undefined, messageSignature: {} } }),
      "dsseEnvelope",
    ],
  ])("with a bundle: %s", async (_what, bundleOf, finding) => {
    const attach: Parameters<typeof pullOf>[1] = ({ registry }, digest) =>
      attachBundles(registry, "vm", digest, [bundleOf(digest)]);
    expect(await refusalOf(wanted, attach)).toContain(finding);
  });

  test("with a bundle whose statement was changed under its signature", async () => {
    const attach: Parameters<typeof pullOf>[1] = ({ registry }, digest) => {
      const good = JSON.stringify(signer.bundle(digest));
      const payload = Buffer.from('{"_type":"https://in-toto.io/Statement/v1","subject":[]}').toString("base64");
      attachBundles(registry, "vm", digest, [Buffer.from(good.replace(/"payload":"[^"]+"/, `"payload":"${payload}"`))]);
    };
    expect(await refusalOf(wanted, attach)).toContain("not of a key that is trusted");
  });

  test("with things attached that are no signatures", async () => {
    const attach: Parameters<typeof pullOf>[1] = ({ registry }, digest) => {
      const config = { mediaType: "a/b", ...registry.blob(Buffer.from("{}")) };
      const nothing = [null, 1, {}, { mediaType: MESSAGE_LAYER }, { mediaType: MESSAGE_LAYER, digest: "x", size: -1 }];
      registry.manifest("vm", `sha256-${digest.slice(7)}.sig`, OCI_MANIFEST, { config, layers: nothing });
      registry.manifest("vm", `sha256-${digest.slice(7)}`, OCI_INDEX, { manifests: nothing });
    };
    expect(await refusalOf(wanted, attach)).toContain("there is none in its registry");
  });

  test("with more attached than anyone needs: what is read has an end", async () => {
    const count = 1000;
    let reads = 0;
    const attach: Parameters<typeof pullOf>[1] = ({ registry }, digest) => {
      const messages = Array.from({ length: count }, () => stranger.message(digest));
      attachMessages(registry, "vm", digest, messages);
      registry.hook = (_request, _response, url) => {
        if (url.pathname.includes("/blobs/")) reads++;
        return false;
      };
    };
    expect(await refusalOf(wanted, attach)).toContain("more than 200 things are attached");
    expect(reads).toBe(200);
  });

  test("with a list of referrers that has no end", async () => {
    let pages = 0;
    const attach: Parameters<typeof pullOf>[1] = ({ registry }, digest) => {
      registry.hook = (request, response, url) => {
        if (!url.pathname.startsWith("/v2/vm/referrers/")) return false;
        const list = Buffer.from(JSON.stringify(referrersTo(registry, "vm", [stranger.bundle(digest)])));
        send(request, response, list, { link: `<?n=${++pages}>; rel="next"` });
        return true;
      };
    };
    expect(await refusalOf(wanted, attach)).toContain("not of a key that is trusted");
    expect(pages).toBe(5);
  });

  test("a signed one whose signature the registry does not give", async () => {
    const attach: Parameters<typeof pullOf>[1] = ({ registry }, digest) => {
      attachMessages(registry, "vm", digest, [signer.message(digest)]);
      registry.hook = (_request, response, url) => {
        if (!url.pathname.endsWith(".sig")) return false;
        response.writeHead(403).end();
        return true;
      };
    };
    expect(await refusalOf(wanted, attach)).toContain("answers 403");
  });
});

test("a registry that does not answer about signatures is unavailable, not the image bad", async () => {
  const pulling = pullOf(wanted, ({ registry }) => {
    registry.hook = (_request, response, url) => {
      if (!url.pathname.includes("/referrers/")) return false;
      response.writeHead(503, { "retry-after": "0" }).end();
      return true;
    };
  });
  await expect(pulling).rejects.toMatchObject({ failure: { code: "IMAGE_SOURCE_UNAVAILABLE" } });
});

test("an image over HTTP, which nothing can be attached to, is refused where a signature is wanted", async () => {
  await using fixture = await openOciStore(wanted);
  const { server, store } = fixture.under;
  server.serve("/d.img", disk);
  const pulling = store.pull(server.nameOf("/d.img"), signal);
  await expect(pulling).rejects.toMatchObject({ failure: { code: "IMAGE_UNTRUSTED" } });
  await expect(pulling).rejects.toThrow("only an image in an OCI registry can have");
  expect(server.requests).toEqual([]);
});

test("a name that is rejected is not asked for", async () => {
  await using fixture = await openOciStore({ signatures: { default: "reject" } });
  const pulling = fixture.under.store.pull(fixture.registry.nameOf("vm"), signal);
  await expect(pulling).rejects.toMatchObject({ failure: { code: "IMAGE_UNTRUSTED" } });
  await expect(pulling).rejects.toThrow("images.signatures.default rejects images of this name");
  expect(fixture.registry.requests).toEqual([]);
});
