import fc from "fast-check";
import { expect, test } from "vitest";
import { failsWith } from "../../../src/model/failure.ts";
import { formatReference, parseReference, sourceUrlOf } from "../../../src/model/image-reference.ts";

const hex = "0123456789abcdef".repeat(4);

test.each([
  ["debian", "docker.io/library/debian:latest"],
  ["debian:12", "docker.io/library/debian:12"],
  ["library/debian", "docker.io/library/debian:latest"],
  ["me/thing", "docker.io/me/thing:latest"],
  ["index.docker.io/debian", "docker.io/library/debian:latest"],
  ["docker.io/debian", "docker.io/library/debian:latest"],
  ["localhost/thing", "localhost/thing:latest"],
  ["localhost:5000/thing:v1", "localhost:5000/thing:v1"],
  ["host.example/a/b__c/d-e.f", "host.example/a/b__c/d-e.f:latest"],
  ["[::1]:5000/thing", "[::1]:5000/thing:latest"],
  ["UPPER/thing", "UPPER/thing:latest"],
  ["vmlet.dev/https/host__8443/p.qcow2", "vmlet.dev/https/host__8443/p.qcow2:latest"],
  [`debian@sha256:${hex}`, `docker.io/library/debian@sha256:${hex}`],
  [`debian:12@sha256:${hex}`, `docker.io/library/debian@sha256:${hex}`],
  ["debian:Tag_1.0-x", "docker.io/library/debian:Tag_1.0-x"],
])("%s is %s", (text, normalised) => {
  expect(formatReference(parseReference(text))).toBe(normalised);
});

test("a digest keeps its tag for the rules, which may need it", () => {
  expect(parseReference(`debian:12@sha256:${hex}`)).toMatchObject({ tag: "12", digest: `sha256:${hex}` });
  expect(parseReference(`debian@sha256:${hex}`)).not.toHaveProperty("tag");
});

test.each([
  ["", "empty"],
  [hex, "not a name"],
  ["https://host/p.qcow2", "vmlet.dev/https/"],
  ["vmlet.dev/https/host/Upper.qcow2", "lower case"],
  ["vmlet.dev/https/host/a b", "not a part"],
  ["vmlet.dev/https/host//b", "not a part"],
  ["vmlet.dev/https/host/../b", "not a part"],
  ["vmlet.dev/https/host/b/", "not a part"],
  ["vmlet.dev/https/host/b?x=1", "not a part"],
  ["vmlet.dev/https/host/%2e%2e", "not a part"],
  ["vmlet.dev/https/host/a___b", "not a part"],
  ["vmlet.dev/https/host/_a", "not a part"],
  ["-host.example/thing", "not a host"],
  ["host.example:port/thing", "not a host"],
  ["debian:", "not a tag"],
  [`debian:${"x".repeat(129)}`, "not a tag"],
  ["debian@sha256:abc", "not a digest"],
  [`debian@sha512:${hex}${hex}`, "not a digest"],
  [`debian@sha256:${hex.toUpperCase()}`, "not a digest"],
  [`host.example/${"x".repeat(256)}`, "255"],
  ["x".repeat(10_000), "720"],
  ["deb\u0000ian", "not a part"],
])("%s is no name and the message says why", (text, why) => {
  const parse = () => parseReference(text);
  expect(parse).toThrow(why);
  expect(parse).toThrow(
    expect.objectContaining({ failure: expect.objectContaining({ code: "IMAGE_REFERENCE_INVALID" }) }),
  );
});

test("any text is a name or IMAGE_REFERENCE_INVALID, and a name means itself", () => {
  const part = fc.stringMatching(/^[a-z0-9._:@/-]{0,12}$/);
  const nearName = fc.array(part, { maxLength: 5 }).map((parts) => parts.join("/"));
  fc.assert(
    fc.property(fc.oneof(fc.string({ maxLength: 60 }), nearName), (text) => {
      try {
        const normalised = formatReference(parseReference(text));
        expect(formatReference(parseReference(normalised))).toBe(normalised);
      } catch (error) {
        if (!failsWith(error, "IMAGE_REFERENCE_INVALID")) throw error;
      }
    }),
    { numRuns: 2000 },
  );
});

const urlOf = (text: string, allowHttp = false) => sourceUrlOf(parseReference(text), { allowHttp })?.href;

test.each([
  ["vmlet.dev/https/host.example/a/b.qcow2", "https://host.example/a/b.qcow2"],
  ["vmlet.dev/https/host__8443/b.qcow2:v3", "https://host:8443/b.qcow2"],
  [`vmlet.dev/https/10.0.0.1__80/b@sha256:${hex}`, "https://10.0.0.1:80/b"],
])("%s stands for %s", (text, url) => expect(urlOf(text)).toBe(url));

test("a name of another kind stands for no URL", () => {
  for (const text of ["debian", "vmlet.dev/oci/quay.io/x/y", "vmlet.dev/httpsx/host/y", "evil.example/https/host/y"]) {
    expect(urlOf(text)).toBeUndefined();
  }
});

test("plain http is refused until it is allowed", () => {
  expect(() => urlOf("vmlet.dev/http/host/a")).toThrow("images.allowHttp");
  expect(urlOf("vmlet.dev/http/host/a", true)).toBe("http://host/a");
});

test.each([
  "vmlet.dev/https",
  "vmlet.dev/https/host",
  "vmlet.dev/https/host__0/a",
  "vmlet.dev/https/host__99999/a",
  "vmlet.dev/https/host__x/a",
  "vmlet.dev/https/ho_st/a",
  "vmlet.dev/https/host__1__2/a",
  "vmlet.dev/https/127.1/a",
  "vmlet.dev/https/0x7f.1/a",
  "vmlet.dev/https/2130706433/a",
  "vmlet.dev/https/256.256.256.256/a",
])("%s stands for nothing and says so", (text) => {
  expect(() => urlOf(text)).toThrow(
    expect.objectContaining({ failure: expect.objectContaining({ code: "IMAGE_REFERENCE_INVALID" }) }),
  );
});

test("whatever the name, the URL has its host and path and nothing else", () => {
  const letter = fc.stringMatching(/^[a-z0-9._%?#@:\\-]{1,20}$/);
  fc.assert(
    fc.property(letter, fc.array(letter, { minLength: 1, maxLength: 4 }), (host, parts) => {
      let url: URL | undefined;
      try {
        url = sourceUrlOf(parseReference(`vmlet.dev/https/${host}/${parts.join("/")}`), { allowHttp: false });
      } catch (error) {
        if (failsWith(error, "IMAGE_REFERENCE_INVALID")) return;
        throw error;
      }
      if (url === undefined) throw new Error("a name under vmlet.dev/https/ has a URL or fails");
      expect(url).toMatchObject({ protocol: "https:", username: "", password: "", search: "", hash: "" });
      expect(url.href).not.toContain("..");
      expect(url.host).toBe(host.replace("__", ":"));
    }),
    { numRuns: 2000 },
  );
});
