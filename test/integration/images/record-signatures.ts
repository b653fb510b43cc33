// Signs the test's image with a real cosign, and keeps what that leaves in the registry, for signatures.test.ts.
// cosign takes ten minutes to build, so this is run by hand when there is a new one:
//   go install github.com/sigstore/cosign/v3/cmd/cosign@latest
//   npx node test/integration/images/record-signatures.ts ~/go/bin/cosign
// The private keys are not kept.

import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "../../../src/lib/spawn.ts";
import { DockerRegistry } from "./docker-registry.ts";
import { INDEX, MANIFEST, type Pushed, pushImage } from "./signed-image.ts";

const [cosignPath = "cosign"] = process.argv.slice(2);
const signal = AbortSignal.timeout(300_000);
await using stack = new AsyncDisposableStack();
const folder = await mkdtemp(join(tmpdir(), "vmlet-record-"));
stack.defer(async () => rm(folder, { recursive: true, force: true }));
const registry = stack.use(await DockerRegistry.start({ isTls: false }, signal));

const cosign = async (...args: readonly string[]): Promise<string> => {
  const env = { COSIGN_PASSWORD: "", HOME: folder };
  const { exitCode, stdout, stderr } = await run(cosignPath, args, { env, cwd: folder }, signal);
  if (exitCode !== 0) throw new Error(stderr);
  return stdout.toString();
};

const KEYS = {
  ecdsa: () => generateKeyPairSync("ec", { namedCurve: "prime256v1" }),
  rsa: () => generateKeyPairSync("rsa", { modulusLength: 2048 }),
  ed25519: () => generateKeyPairSync("ed25519"),
};
const keys: Record<string, string> = {};
for (const [kind, make] of Object.entries(KEYS)) {
  await writeFile(join(folder, "pem"), make().privateKey.export({ type: "pkcs8", format: "pem" }));
  await cosign("import-key-pair", "--key", "pem", "--output-key-prefix", kind);
  keys[kind] = await readFile(join(folder, `${kind}.pub`), "utf8");
}

const repositories: Record<string, readonly Pushed[]> = {};
for (const kind of Object.keys(keys)) {
  for (const format of ["message", "bundle"]) {
    for (const what of ["manifest", "index"] as const) {
      const repository = `${kind}-${format}-${what}`;
      const digests = await pushImage(registry.host, repository);
      const flags = ["--use-signing-config=false", "--tlog-upload=false", `--new-bundle-format=${format === "bundle"}`];
      const target = `${registry.host}/${repository}@${digests[what]}`;
      await cosign("sign", "--yes", "--allow-http-registry", "--key", `${kind}.key`, ...flags, target);
      repositories[repository] = await attachedIn(repository);
    }
  }
}

const version = /GitVersion:\s*(\S+)/.exec(await cosign("version"))?.[1];
const path = join(import.meta.dirname, "recorded-signatures.json");
await writeFile(path, `${JSON.stringify({ cosign: version, keys, repositories }, undefined, 2)}\n`);

/** What is under the tags that cosign made, blobs before what names them. */
async function attachedIn(repository: string): Promise<readonly Pushed[]> {
  const { tags }: { readonly tags: readonly string[] } = JSON.parse(await textOf(`${repository}/tags/list`));
  const documents = await Promise.all(
    tags.filter((tag) => tag.startsWith("sha256-")).map(async (tag) => withParts(repository, tag)),
  );
  return documents.flat();
}

async function withParts(repository: string, name: string): Promise<readonly Pushed[]> {
  const content = await textOf(`${repository}/manifests/${name}`);
  const { mediaType: type, config, layers = [], manifests = [] } = JSON.parse(content);
  const blobs = [...(config === undefined ? [] : [config]), ...layers].map(async ({ digest }): Promise<Pushed> => {
    const blob = await textOf(`${repository}/blobs/${digest}`);
    return { kind: "blob", name: digest, type: "", content: blob };
  });
  const parts = manifests.map(async ({ digest }: { digest: string }) => withParts(repository, digest));
  return [
    ...(await Promise.all(blobs)),
    ...(await Promise.all(parts)).flat(),
    { kind: "manifest", name, type, content },
  ];
}

async function textOf(path: string): Promise<string> {
  const headers = { accept: `${MANIFEST}, ${INDEX}` };
  return (await fetch(`http://${registry.host}/v2/${path}`, { headers, signal })).text();
}
