import { mkdtempDisposable, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ssh2 from "ssh2";
import { expect, test } from "vitest";
import { ensureExecKeys } from "../../../../src/guest/exec/keys.ts";
import { newOpensshKeyPair } from "../../../../src/guest/exec/openssh-key.ts";

test.each(["", "a", "ab", "abc", "a comment of ours"])(
  "a key pair is one that another program reads: the halves fit each other, whatever the comment (%j)",
  (comment) => {
    const { privateKey, publicKey } = newOpensshKeyPair(comment);
    const [secret, open] = [ssh2.utils.parseKey(privateKey), ssh2.utils.parseKey(publicKey)];
    if (secret instanceof Error || open instanceof Error) throw new Error("not read", { cause: [secret, open] });
    expect(secret).toMatchObject({ type: "ssh-ed25519", comment });
    expect(secret.getPublicSSH().equals(open.getPublicSSH())).toBe(true);
    expect(open.verify("text", secret.sign("text"))).toBe(true);
  },
);

test("a machine's keys are made once, are two, and nobody else reads them", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "vmlet-"));
  const path = join(folder.path, "ssh");
  const first = await ensureExecKeys(path);
  expect(await ensureExecKeys(path)).toEqual(first);
  expect(first.host.publicKey.split(" ")[1]).not.toBe(first.client.publicKey.split(" ")[1]);
  const names = await readdir(path);
  expect(names.toSorted()).toEqual(["client_key", "client_key.pub", "host_key", "host_key.pub"]);
  for (const name of names) expect((await stat(join(path, name))).mode & 0o777).toBe(0o600);
  expect((await stat(path)).mode & 0o777).toBe(0o700);
});

test("a pair that a crash left half made is made anew", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "vmlet-"));
  const first = await ensureExecKeys(folder.path);
  await rm(join(folder.path, "host_key.pub"));
  const second = await ensureExecKeys(folder.path);
  expect(second.client).toEqual(first.client);
  expect(second.host.privateKey).not.toBe(first.host.privateKey);
});
