import { readFileSync } from "node:fs";
import { Command } from "commander";
import { expect, test } from "vitest";
import { addCommands } from "../../src/cli/commands.ts";
import { terminalIo } from "../../src/cli/io.ts";
import { runCli } from "../unit/cli/run.ts";

const page = readFileSync("docs/cli.md", "utf8");
const blocks = [...page.matchAll(/```sh\n([^`]+)```/g)].flatMap(([, text = ""]) => text.trim().split("\n"));
const commands = blocks.flatMap((line) => line.split(" | ")).filter((command) => command.startsWith("vmlet "));

test("docs/cli.md is about every command for people, and no other", () => {
  const named = [...page.matchAll(/^## vmlet (\S+)$/gm)].map(([, name]) => name);
  const program = new Command();
  addCommands(program, "0", terminalIo());
  const there = program.commands.map((command) => command.name());
  expect(named.toSorted()).toEqual(there.toSorted());
  expect(commands.length).toBeGreaterThanOrEqual(named.length);
});

test.each(commands)("%s is a command line that vmlet takes", async (command) => {
  const [, ...argv] = command.split(" ");
  const where = argv[0] === "doctor" ? "--config" : "--socket"; // the one command that asks no daemon
  const { error } = await runCli([...argv, where, "/nonexistent"], { stdin: "me:secret" });
  // It came as far as the file or the socket, which is not there.
  expect(error).toMatchObject({ name: where === "--config" ? "VmletError" : "CliFailure" });
});

test("no example has a password in a command line", () => expect(page).not.toMatch(/--creds[ =](?!file)/));
