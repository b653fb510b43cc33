import { expect, test } from "vitest";
import { parseConfig } from "../../../src/config/load.ts";
import { CONSOLE_DEFAULTS } from "../../../src/console/options.ts";
import { PROFILE_DEFAULTS } from "../../../src/images/options.ts";
import { CLIENT_DEFAULTS } from "../../../src/libvirt/client/client.ts";

// Adapters that also work without the daemon have defaults of their own; docs/config.md must not say other ones.

const { libvirt, console: consoles, images } = parseConfig("images: {profiles: {p: {}}}", "c.yaml", []);

test("the limits of libvirt calls are the client's", () => expect(libvirt.limitMs).toEqual(CLIENT_DEFAULTS.limitMs));

test("what is said of consoles is what they do", () => expect(CONSOLE_DEFAULTS).toMatchObject(consoles));

test("an empty profile is the one that is used where there is none", () =>
  expect(images.profiles["p"]).toEqual(PROFILE_DEFAULTS));
