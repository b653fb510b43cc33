import { expect, test } from "vitest";
import { RedirectGuard, type ResolveAll } from "../../../src/images/private-address.ts";

const names: Readonly<Record<string, string>> = {
  "public.example": "203.0.113.5",
  "other.example": "2001:db8::5",
  "inner.example": "10.1.2.3",
  "inner6.example": "fd00::1",
  "meta.example": "169.254.169.254",
  "mapped.example": "::ffff:192.168.0.1",
  "self.example": "127.0.0.1",
};
const resolve: ResolveAll = (host, done) => {
  const address = names[host];
  if (address === undefined) return done(Object.assign(new Error("no"), { code: "ENOTFOUND" }), []);
  return done(null, [{ address, family: address.includes(":") ? 6 : 4 }]);
};

/** What connecting to each host in turn comes to. */
function connect(first: string, ...hosts: readonly string[]): readonly string[] {
  const guard = new RedirectGuard(new URL(`https://${first}/`), resolve);
  return [first, ...hosts].map((host) => {
    let outcome = "";
    guard.lookup(host, {}, (error, address) => {
      outcome = error === null && typeof address === "string" ? address : "refused";
    });
    return outcome;
  });
}

test("from a public server no redirect leads to a private address, whatever its name", () => {
  const inwards = ["inner.example", "inner6.example", "meta.example", "mapped.example", "self.example"];
  expect(connect("public.example", ...inwards).slice(1)).toEqual(inwards.map(() => "refused"));
  expect(connect("public.example", "other.example")).toEqual(["203.0.113.5", "2001:db8::5"]);
});

test("private servers may redirect to each other, but not to link-local addresses", () => {
  expect(connect("inner.example", "self.example", "inner6.example", "meta.example")).toEqual([
    "10.1.2.3",
    "127.0.0.1",
    "fd00::1",
    "refused",
  ]);
});

test("a public server's name may not lead inwards later, nor make itself private by a second address", () => {
  let answers = ["203.0.113.5"];
  const guard = new RedirectGuard(new URL("http://turning.example/"), (_host, done) =>
    done(
      null,
      answers.map((address) => ({ address, family: 4 })),
    ),
  );
  const connected = (host: string): boolean => {
    let isConnected = false;
    guard.lookup(host, {}, (error) => {
      isConnected = error === null;
    });
    return isConnected;
  };
  expect(connected("turning.example")).toBe(true);
  answers = ["10.0.0.5"];
  expect(connected("turning.example")).toBe(false);
  answers = ["203.0.113.5", "127.0.0.1"];
  expect(connected("turning.example")).toBe(false);
  answers = ["203.0.113.9", "203.0.113.5"];
  expect(connected("turning.example")).toBe(true);

  const mixed = new RedirectGuard(new URL("http://mixed.example/"), (host, done) =>
    done(null, [
      { address: host === "mixed.example" ? "203.0.113.5" : "10.0.0.1", family: 4 },
      { address: "10.0.0.1", family: 4 },
    ]),
  );
  mixed.lookup("mixed.example", {}, (error) => expect(error).toBeNull());
  mixed.lookup("inner.example", {}, (error) => expect(String(error)).toContain("leads into a private network"));
});

test("addresses in place of names are judged without a lookup", () => {
  const guard = new RedirectGuard(new URL("https://203.0.113.5/"), resolve);
  for (const host of ["10.0.0.1", "[::1]", "169.254.169.254", "[::ffff:10.0.0.1]"]) {
    expect(() => guard.check(new URL(`https://${host}/`))).toThrow("leads into a private network");
  }
  expect(() => guard.check(new URL("https://198.51.100.7/"))).not.toThrow();
});

test("a name that nobody knows is told as such", () => {
  expect(connect("public.example", "nobody.example")[1]).toBe("refused");
});
