// What a WWW-Authenticate header says.

import { expect, test } from "vitest";
import { parseChallenges } from "../../../../src/images/oci/challenge.ts";

test.each([
  ['Bearer realm="a b",service=x', [{ scheme: "bearer", params: { realm: "a b", service: "x" } }]],
  [
    'Negotiate, Basic realm="q\\"uote"',
    [
      { scheme: "negotiate", params: {} },
      { scheme: "basic", params: { realm: 'q"uote' } },
    ],
  ],
  ["Negotiate abc==", [{ scheme: "negotiate", params: {} }]],
  ["", []],
  ['"', []],
  ["Bearer __proto__=x", [{ scheme: "bearer", params: Object.assign(Object.create(null), { ["__proto__"]: "x" }) }]],
])("the challenge %j is read", (header, challenges) => {
  expect(JSON.parse(JSON.stringify(parseChallenges(header)))).toEqual(JSON.parse(JSON.stringify(challenges)));
});
