import { expect, test } from "vitest";
import { criImageOf } from "../../../src/cri/convert-image.ts";
import type { ImageDigest } from "../../../src/model/ids.ts";

const image = (user: string) =>
  criImageOf({
    digest: `sha256:${"a".repeat(64)}` as ImageDigest,
    format: "qcow2",
    sizeBytes: 1,
    virtualSizeBytes: 1,
    repoTags: [],
    repoDigests: [],
    user,
    isPinned: false,
  });

test.each([
  ["", 0n, ""],
  ["1002", 1002n, ""],
  ["1003:users", 1003n, ""],
  ["www-data", undefined, "www-data"],
  ["www-data:100", undefined, "www-data"],
])("the kubelet hears of the user %j as uid %s or name %j", (user, uid, username) => {
  expect(image(user)).toMatchObject({ uid: uid === undefined ? undefined : { value: uid }, username });
});
